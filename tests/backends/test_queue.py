"""The queue of a backend: first come, first served, and whoever leaves costs the others nothing."""

import pytest

from twisted_lb.backends.queue import Queue


class Client:
    """Counts how often it is compared with another."""

    compared = 0

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        Client.compared += 1
        return self is other


def test_who_came_first_is_served_first() -> None:
    queue: Queue[str] = Queue()
    assert not queue
    for name in "abc":
        queue.append(name)
    assert (len(queue), "b" in queue, "d" in queue) == (3, True, False)
    assert [queue.popleft() for _ in "abc"] == ["a", "b", "c"]
    assert not queue


def test_who_leaves_is_not_served_and_comes_back_at_the_end() -> None:
    queue: Queue[str] = Queue()
    for name in "abc":
        queue.append(name)
    queue.remove("a")
    assert "a" not in queue
    queue.append("a")
    assert [queue.popleft() for _ in "bca"] == ["b", "c", "a"]


def test_nobody_leaves_an_empty_queue() -> None:
    queue: Queue[str] = Queue()
    with pytest.raises(KeyError):
        queue.remove("a")
    with pytest.raises(KeyError):
        queue.popleft()


def test_leaving_newest_first_looks_at_nobody_else() -> None:
    queue: Queue[Client] = Queue()
    clients = [Client() for _ in range(100)]
    for client in clients:
        queue.append(client)
    Client.compared = 0
    for client in reversed(clients):
        assert client in queue
        queue.remove(client)
    assert Client.compared == 0
