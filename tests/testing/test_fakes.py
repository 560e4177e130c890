"""What tests make up is what the real thing is."""

from twisted_lb.api import IServer
from twisted_lb.testing import FakeServer, make_facts, make_record


def test_the_fake_server_is_a_server() -> None:
    assert IServer.providedBy(FakeServer("a"))


def test_facts_and_records_have_what_the_test_asks_for() -> None:
    facts = make_facts("::1", 7, frontend="games", learnt={"tls.sni": "a.example"})
    assert (str(facts.source), facts.frontend, facts.learnt) == ("[::1]:7", "games", {"tls.sni": "a.example"})
    assert make_record(retries=3).retries == 3
