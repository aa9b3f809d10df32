"""The near end of what a worker process is sent to do."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from queue import SimpleQueue

from ..trials import TrialSpec
from .evaluators import take_left


class Inbox:
    """The `TrialSource` of a worker: what it was sent. It asks for no more than there is room for.

    Asked for, and not sent as results come in, the trials for all the slots that end together arrive together.

    Args:
        ask: sends word to whoever has the trials that there is room for so many more; they come by `put`, from
            another thread, in one list for each time that was asked.
    """

    def __init__(self, ask: Callable[[int], None]) -> None:
        self._ask = ask
        self._messages = SimpleQueue[list[TrialSpec] | None]()
        self._waiting = deque[TrialSpec]()
        self._n_asked = 0
        self._is_open = True

    def put(self, message: list[TrialSpec] | None) -> None:
        """Add trials; None says that there will never be another."""
        self._messages.put(message)

    def take(self, n: int, *, wait: bool) -> list[TrialSpec]:
        """Return the next trials, at most n; see `TrialSource.take`."""
        while self._is_open and not self._messages.empty():
            self._read()
        n_missing = n - len(self._waiting) - self._n_asked
        if self._is_open and n_missing > 0:
            self._n_asked += n_missing
            self._ask(n_missing)
        while self._is_open and wait and not self._waiting:
            self._read()
        return take_left(self._waiting, n)

    def _read(self) -> None:
        message = self._messages.get()
        self._is_open = message is not None
        self._waiting += message or ()
        self._n_asked -= len(message or ())
