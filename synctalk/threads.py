"""How many threads torch uses for one operation, and one call for what several threads want."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Generic, TypeVar

import torch

Item = TypeVar("Item")
Answer = TypeVar("Answer")


@contextmanager
def one_thread_an_operation() -> Iterator[None]:
    """Operations so small that waking a second thread for each costs more than it saves."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class Together(Generic[Item, Answer]):
    """Calls of several threads at the same time, answered by one.

    Whoever comes while a call is under way waits for its end, and is then answered together with
    all who came meanwhile; nobody waits for others to come.

    Args:
        work: an answer for each item, in order.
        most: items in one call.
    """

    def __init__(self, work: Callable[[list[Item]], Sequence[Answer]], most: int) -> None:
        self._work, self._most = work, most
        self._waiting: list[_Call[Item, Answer]] = []
        self._queue, self._turn = threading.Lock(), threading.Lock()

    def __call__(self, item: Item) -> Answer:
        """The answer for ``item``; an error of the call that it was in is raised here."""
        call = _Call[Item, Answer](item)
        with self._queue:
            self._waiting.append(call)
        with self._turn:
            while not call.done:
                self._answer()
        if call.error is not None:
            raise call.error
        return call.answers[0]

    def _answer(self) -> None:
        with self._queue:
            calls, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
        try:
            for call, answer in zip(calls, self._work([c.item for c in calls]), strict=True):
                call.answers.append(answer)
        except Exception as error:
            for call in calls:
                call.error = error
        for call in calls:
            call.done = True


class _Call(Generic[Item, Answer]):
    def __init__(self, item: Item) -> None:
        self.item = item
        self.answers: list[Answer] = []
        self.error: Exception | None = None
        self.done = False
