"""The queue of a backend: first come, first served in each class, and whoever leaves costs the others nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

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


def test_lower_classes_come_first_and_each_is_in_turn() -> None:
    queue: Queue[str] = Queue()
    for name, priority in zip("abcdefg", (0, 5, 0, -3, 5, -3, 2047), strict=True):
        queue.append(name, priority)
    assert (len(queue), "g" in queue) == (7, True)
    assert "".join(queue.popleft() for _ in range(7)) == "dfacbeg"


def test_a_class_whose_members_have_left_is_passed_over_and_may_fill_again() -> None:
    queue: Queue[str] = Queue()
    queue.append("a", -1)
    queue.append("b", 1)
    queue.remove("a")
    assert queue.popleft() == "b"
    queue.append("c", 1)
    queue.append("d", -1)
    assert [queue.popleft(), queue.popleft()] == ["d", "c"]
    assert not queue
    with pytest.raises(KeyError):
        queue.popleft()


def test_classes_that_nobody_waits_in_are_forgotten() -> None:
    queue: Queue[int] = Queue()
    for number in range(1000):
        queue.append(number, number)
    for number in range(1000):
        queue.remove(number)
    queue.append(-1, 1000)
    assert queue.popleft() == -1
    assert len(queue._classes) == len(queue._lowest) == 1


@given(st.lists(st.tuples(st.sampled_from(["come", "leave", "serve"]), st.integers(-3, 3))))
def test_whatever_happens_it_is_as_a_sorted_list_would_be(steps: list[tuple[str, int]]) -> None:
    queue: Queue[int] = Queue()
    waiting: list[tuple[int, int]] = []
    for number, (step, priority) in enumerate(steps):
        if step == "come":
            queue.append(number, priority)
            waiting.append((priority, number))
            waiting.sort()
        elif waiting and step == "leave":
            queue.remove(waiting.pop(abs(priority) % len(waiting))[1])
        elif waiting:
            assert queue.popleft() == waiting.pop(0)[1]
        assert len(queue) == len(waiting)
    assert [queue.popleft() for _ in waiting] == [number for _, number in waiting]
