"""What several threads want at the same time is answered by one call."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from synctalk.threads import Together


class Doubling:
    """Doubles, and lets nobody through its first call until told."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.begun, self.go_on = threading.Event(), threading.Event()

    def __call__(self, items: list[int]) -> list[int]:
        self.calls.append(items)
        self.begun.set()
        assert self.go_on.wait(30)
        if 13 in items:
            raise ValueError("thirteen")
        return [2 * item for item in items]


def asked(together: Together[int, int], work: Doubling, items: list[int]) -> list[object]:
    """Answers and errors of all items, all but the first asked for while that is worked on."""

    def ask(item: int) -> object:
        try:
            return together(item)
        except ValueError as error:
            return str(error)

    with ThreadPoolExecutor(len(items)) as pool:
        first = pool.submit(ask, items[0])
        assert work.begun.wait(30)
        others = [pool.submit(ask, item) for item in items[1:]]
        while len(together._waiting) < len(others):
            assert not any(each.done() for each in others)
        work.go_on.set()
        return [first.result(30), *(each.result(30) for each in others)]


def test_who_comes_during_a_call_is_answered_by_the_next_and_each_by_its_own() -> None:
    work = Doubling()
    assert asked(Together(work, 8), work, [1, 2, 3, 4, 5]) == [2, 4, 6, 8, 10]
    assert [len(call) for call in work.calls] == [1, 4]


def test_no_call_has_more_than_the_most() -> None:
    work = Doubling()
    assert asked(Together(work, 2), work, [1, 2, 3, 4, 5, 6]) == [2, 4, 6, 8, 10, 12]
    assert [len(call) for call in work.calls] == [1, 2, 2, 1]


def test_an_error_is_told_to_all_whom_it_hit_and_to_nobody_else() -> None:
    work = Doubling()
    together = Together(work, 8)
    assert asked(together, work, [1, 13, 3]) == [2, "thirteen", "thirteen"]
    assert together(4) == 8


def test_answers_that_are_too_few_are_an_error() -> None:
    def none(items: list[int]) -> list[int]:
        return items[1:]

    with pytest.raises(ValueError, match="zip"):
        Together(none, 4)(1)
