"""What a session is asked before it may go anywhere: by policies, once a PROXY header has said who the client is."""

from dataclasses import replace

from twisted_lb.endings import Cause, Stage
from twisted_lb.errors import PluginError, WireError
from twisted_lb.frontend import Refusal
from twisted_lb.net.stream import Stream
from twisted_lb.session_endings import SessionEndings
from twisted_lb.stages.answers import with_last_words
from twisted_lb.stages.policy import Questions, past_rules
from twisted_lb.stages.proxy_header import Trust
from twisted_lb.verdicts import Allow, Decision, Deny, NeedMore, Tarpit
from twisted_lb.walk import LATER, PASSED, Event

# Looking a member up on its Enum is a call of a Python function on 3.11.
_PROXY_HEADER, _POLICY = Stage.PROXY_HEADER, Stage.POLICY
_DIRECT, _REFUSED = Trust.DIRECT, Trust.REFUSED


class SessionPolicies(SessionEndings):
    """Admission, PROXY header, policy, and the tarpit."""

    __slots__ = ()

    def _enter_admission(self) -> Event | None:
        if self._reception is not None:
            return PASSED  # policies judge the client, and who that is only the header says
        return self._ask_policies(self.frontend.at_admission)

    def _enter_proxy_header(self) -> Event | None:
        reception = self._reception
        if reception is None:
            return PASSED
        trust = reception.expects(self.facts.source.host)
        if trust is _DIRECT:
            return self._ask_policies(self.frontend.at_admission)
        if trust is _REFUSED:
            return self._end(Cause.PROXY, "source is not in accept_proxy.from", reset=True)
        self._arm(reception.timeout_s)
        self.client.resumeProducing()
        return None

    def _look_for_header(self) -> None:
        """Let the reception look at what the client sent so far; a header is refused at its first wrong byte."""
        assert self._reception is not None
        try:
            verdict, used = self._reception.take(self._peeked, self.facts)
        except PluginError as error:
            self._end_blaming(error)
            return
        match verdict:
            case NeedMore():
                return
            case Deny(reason):
                self.process.complain(f"frontend {self.frontend.name}", f"{self.facts.peer}: {reason}")
                self._end(Cause.PROXY, reason, reset=True)
            case _:
                self._peeked = self._peeked[used:]
                self.client.pauseProducing()
                self.advance(self._ask_policies(self.frontend.at_admission))

    def _enter_policy(self) -> Event | None:
        frontend = self.frontend
        if frontend.policies:
            return self._ask_policies(len(frontend.policies))
        return self._route()

    def _route(self) -> Event | None:
        """Choose the backend: what a policy has set, what the routes say, or the frontend's own."""
        frontend = self.frontend
        routing = frontend.routing
        if routing is None or (routing.routes is None and self.facts.backend is None):
            return PASSED
        try:
            target = routing.target(self.facts, frontend.backend)
        except WireError as error:
            target = Refusal(error.reason, 400)
        if isinstance(target, Refusal):
            return self._turn_away(target)
        self.backend = target
        return PASSED

    def _turn_away(self, refusal: Refusal) -> Event | None:
        return self._end(Cause.PROXY, refusal.reason, verdict=with_last_words(Deny(refusal.reason), self.facts))

    def _ask_policies(self, until: int) -> Event | None:
        """Ask the policies before ``until``. ``_asked`` have let it on before there were ``_questions``."""
        if self._questions is None:
            asked = self._asked
            if asked < until:
                asked = self._asked = past_rules(self.frontend.policies, self.facts, asked)
            if asked >= until:
                return self._let_on()
            self._questions = self._ask_from(asked)
        try:
            outcome = self._questions.ask(until)
        except PluginError as error:
            return self._end_blaming(error)
        if outcome is None:
            self._arm(self.frontend.timers.policy)
            return None
        return self._judge(outcome)

    def _let_on(self) -> Event | None:
        return self._route() if self.stage is _POLICY else PASSED

    def _ask_from(self, first: int) -> Questions:
        frontend = self.frontend
        assert frontend.routing is not None
        return Questions(self, frontend.policies, self.facts, first, frontend.routing.backends)

    def _judge(self, outcome: Decision) -> Event | None:
        if isinstance(outcome, Allow):
            return self._let_on()
        assert self._questions is not None
        reason = self._questions.refusal(outcome)
        if isinstance(outcome, Tarpit):
            self._sentence = replace(outcome, reason=reason)
            return LATER
        assert isinstance(outcome, Deny)
        verdict = with_last_words(outcome, self.facts)
        return self._end(Cause.PROXY, reason, reset=self.stage <= Stage.PROXY_HEADER, verdict=verdict)

    def _enter_tarpit(self) -> Event | None:
        """Hold the connection. A stream of ours tells of a client that leaves also while nothing is read from it."""
        self._arm(self.frontend.timers.tarpit)
        if type(self.client) is not Stream:
            self.client.resumeProducing()
        return None

    def policies_answered(self, outcome: Decision | PluginError | None) -> None:
        """See ``PolicyOwner``."""
        if outcome is None:
            self._arm(self.frontend.timers.policy)
        elif isinstance(outcome, PluginError):
            self._end_blaming(outcome)
        else:
            self.advance(self._judge(outcome))

    def _reading_header(self) -> bool:
        # Policies are asked in this stage too, once the header has been taken.
        return self.stage is _PROXY_HEADER and self._questions is None

    def timer_due(self, now: float) -> None:
        """See ``Timed``."""
        if self.stage is Stage.TARPIT:
            self._end(Cause.PROXY, self._sentence.reason)
        elif self._reading_header():
            self._end(Cause.CLIENT_TIMEOUT, "no whole PROXY header within accept_proxy.timeout")
        else:
            assert self._questions is not None
            self._end_blaming(self._questions.overrun())
