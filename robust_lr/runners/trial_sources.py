"""Trial sources: a plain list of trials, and the queue of a worker that another process fills."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from queue import SimpleQueue

from ..trials import TrialSpec


class TrialList:
    """A `TrialSource` over a fixed list of trials, handed out once each, in order.

    Example:
        >>> trials = TrialList([TrialSpec("constant", lr, 0) for lr in (0.1, 0.2, 0.3)])
        >>> [len(trials.take(2)) for _ in range(3)]
        [2, 1, 0]
    """

    def __init__(self, trials: Iterable[TrialSpec], *, label: str | None = None) -> None:
        self.label, self._waiting = label, deque(trials)

    @property
    def waiting(self) -> Sequence[TrialSpec]:
        """The trials not yet taken."""
        return self._waiting

    def take(self, n: int = 1, *, wait: bool = False) -> list[TrialSpec]:
        """Hand out the next trials, at most n; never blocks."""
        return take_left(self._waiting, n)

    def give_back(self, trials: Sequence[TrialSpec]) -> None:
        """Take trials back; they come first."""
        self._waiting.extendleft(reversed(trials))


class TrialQueue(TrialList):
    """The `TrialSource` of a worker: the trials sent to it. It requests no more than there is room for.

    Trials are sent on request, not one for each result, so that slots which end together are filled together.

    Args:
        request: tells the owner of the trials that there is room for so many more; they arrive by `put`, from another
            thread, in one list per request.
    """

    def __init__(self, request: Callable[[int], None]) -> None:
        super().__init__([])
        self._request = request
        self._messages = SimpleQueue[list[TrialSpec] | None]()
        self._n_requested = 0
        self._is_open = True

    def put(self, message: list[TrialSpec] | None) -> None:
        """Add trials; None means that no more will come."""
        self._messages.put(message)

    def take(self, n: int = 1, *, wait: bool = False) -> list[TrialSpec]:
        """Hand out the next trials, at most n; see `TrialSource.take`."""
        while self._is_open and not self._messages.empty():
            self._read()
        n_missing = n - len(self._waiting) - self._n_requested
        if self._is_open and n_missing > 0:
            self._n_requested += n_missing
            self._request(n_missing)
        while self._is_open and wait and not self._waiting:
            self._read()
        return super().take(n)

    def _read(self) -> None:
        message = self._messages.get()
        self._is_open = message is not None
        self._waiting += message or ()
        self._n_requested -= len(message or ())


def take_left(trials: deque[TrialSpec], n: int) -> list[TrialSpec]:
    """Remove the first trials, at most n, and return them."""
    return [trials.popleft() for _ in range(min(n, len(trials)))]
