"""The driver's side of a sweep on a cluster: it fills the seats, hands out trials, and replaces what is lost."""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import ray
from robust_lr.runners.evaluators import Retries, halved, take_left

from robust_lr import RobustLRError, TrialResult, TrialSpec
from robust_lr.runners import failed_trial
from robust_lr.trials import Status

from .seats import Seat, SeatLost

_EARLY_LOSSES_ALLOWED = 3
_NODE_LOSSES_ALLOWED = 10  # of one trial: it may be what kills them
_SECONDS_TO_LOOK = 5.0  # between two looks at how many seats there may be
_SECONDS_TO_COMPLAIN = 30.0

_log = logging.getLogger("robust_lr")


@dataclass
class _Post:
    """The place of one seat at a time, and what the lost ones have left: trials that no other seat gets to see."""

    capacity: int
    seat: Seat | None = None
    suspects: deque[TrialSpec] = field(default_factory=deque)

    @property
    def n_in_flight(self) -> int:
        return len(self.seat.in_flight) if self.seat else 0


class Pool:
    """The seats of one sweep.

    A trial that failed, or whose seat was lost under it, is run again before those that wait, up to `max_failures`
    times. A node that is lost is no failure of its trials. What was in flight together when a seat was lost is run
    again half as many at a time, until the trial that is to blame is alone.

    Args:
        make_seat: starts a seat for at most so many trials at a time.
        trials: distinct trials.
        n_seats: how many seats there may be; asked again every few seconds, as nodes come and go.
        capacity: trials that a seat runs together.
        max_failures: how often a trial is run again, at least 0.
        asked_for: what a seat takes of the cluster, in words.
    """

    def __init__(
        self,
        make_seat: Callable[[int], Seat],
        trials: Sequence[TrialSpec],
        *,
        n_seats: Callable[[], int],
        capacity: int,
        max_failures: int,
        asked_for: str,
    ) -> None:
        self._make_seat, self._ask_n_seats, self._capacity, self._asked_for = make_seat, n_seats, capacity, asked_for
        self._waiting, self._posts = deque(trials), list[_Post]()
        self._again, self._again_elsewhere = Retries(max_failures), Retries(_NODE_LOSSES_ALLOWED)
        self._early_losses, self._n_seats, self._looked, self._complained = 0, 0, -math.inf, math.inf

    def results(self) -> Iterator[TrialResult]:
        """Yield each result as it comes. Closing the iterator gives everything back."""
        try:
            self._employ()
            while self._waiting or any(post.suspects or post.n_in_flight for post in self._posts):
                ready = self._wait()
                for post in self._posts:
                    yield from self._attend(post, ready)
                self._employ()
        finally:
            for post in self._posts:
                self._dismiss(post)

    def _wait(self) -> set[object]:
        refs = [ref for post in self._posts if post.seat for ref in post.seat.refs()]
        if not refs:
            time.sleep(0.1)
            return set()
        # The limit is for what tells by silence: a seat that waits for one of its workers, a cluster without room.
        ready, _ = ray.wait(refs, num_returns=1, timeout=1.0)
        if ready and len(refs) > 1:
            ready, _ = ray.wait(refs, num_returns=len(refs), timeout=0)
        return set(ready)

    def _employ(self) -> None:
        """Start seats while there are trials for them, give each its share, and let go the idle ones."""
        self._look()
        self._posts += [_Post(self._capacity) for _ in range(self._n_seats - len(self._posts))]
        starting = [post for post in self._posts if post.seat and not post.seat.is_up and not post.suspects]
        share = min(self._capacity, math.ceil(len(self._waiting) / self._n_seats))
        n_unseated = len(self._waiting) - share * len(starting)
        for post in sorted(self._posts, key=lambda post: not post.suspects):
            if post.seat is None and (post.suspects or n_unseated > 0) and self._n_employed < self._n_seats:
                post.seat = self._make_seat(post.capacity)
                n_unseated -= 0 if post.suspects else share
        share = self._fair_share()
        for post in self._posts:
            if post.seat is None:
                continue
            limit = post.capacity if post.suspects else min(share, post.capacity)
            if self._capacity == 1 and not post.suspects:
                limit = 2  # the next one may be there already when a short one ends
            room = min(post.seat.room, limit - post.n_in_flight)
            trials = take_left(post.suspects or self._waiting, max(room, 0))
            if trials:
                post.seat.submit(tuple(trials))
            elif not post.n_in_flight and not post.suspects and not self._waiting:
                self._dismiss(post)

    @property
    def _n_employed(self) -> int:
        return sum(post.seat is not None for post in self._posts)

    def _fair_share(self) -> int:
        """Return how many trials each seat may have in flight, so that none idles while another has all the rest."""
        left = len(self._waiting) + sum(post.n_in_flight for post in self._posts)
        return max(1, math.ceil(left / max(1, self._n_employed)))

    def _look(self) -> None:
        """See how many seats there may be, and say so when none of them has come up for long."""
        now = time.monotonic()
        if now - self._looked < _SECONDS_TO_LOOK:
            return
        self._looked, self._n_seats = now, max(1, self._ask_n_seats())
        if any(post.seat and post.seat.is_up for post in self._posts) or not self._n_employed:
            self._complained = math.inf
        elif self._complained == math.inf:
            self._complained = now
        elif now - self._complained > _SECONDS_TO_COMPLAIN:
            self._complained = now
            _log.warning("waiting for a place on the cluster: a trial takes %s, and nothing is free", self._asked_for)

    def _attend(self, post: _Post, ready: set[object]) -> list[TrialResult]:
        if post.seat is None:
            return []
        was_up = post.seat.is_up
        try:
            results = post.seat.attend(ready)
        except SeatLost as loss:
            return self._replace(post, post.seat, loss)
        if post.seat.is_up and not was_up:
            self._early_losses = 0
        return [r for result in results for r in self._settle(result, self._waiting)]

    def _settle(self, result: TrialResult, queue: deque[TrialSpec]) -> list[TrialResult]:
        """Put a trial that is to be tried again in front of the queue; return the result of any other."""
        if self._again.grants(result):
            queue.appendleft(result.spec)
            return []
        return [result]

    def _replace(self, post: _Post, seat: Seat, loss: SeatLost) -> list[TrialResult]:
        """Free a post whose seat is lost, and decide what becomes of its trials."""
        trials = list(seat.in_flight)
        self._dismiss(post)
        self._looked = -math.inf  # a node may have gone
        if not seat.is_up:
            self._count_early_loss(loss)
        if len(trials) > 1 and not loss.node_lost:
            # Of two in an actor that runs one at a time, the first may have ended without a word: neither is to blame.
            if self._capacity > 1:
                post.capacity = halved(len(trials), loss.cause.strip().splitlines()[-1])
            post.suspects.extendleft(reversed(trials))
            return []
        finished = list[TrialResult]()
        status: Status = "out_of_memory" if loss.out_of_memory else "failed"
        for spec in reversed(trials):
            result = failed_trial(spec, loss.cause, status=status)
            if loss.node_lost and self._again_elsewhere.grants(result):
                self._waiting.appendleft(spec)
            else:
                finished += self._settle(result, post.suspects)
        if finished:
            post.capacity = self._capacity  # it was this one, and not that there were many
        return finished

    def _count_early_loss(self, loss: SeatLost) -> None:
        if loss.node_lost:
            return
        self._early_losses += 1
        if self._early_losses > _EARLY_LOSSES_ALLOWED:
            raise RobustLRError(
                f"{self._early_losses} workers in a row ended before they were ready: "
                f"{loss.cause.strip().splitlines()[-1]}"
            )

    def _dismiss(self, post: _Post) -> None:
        if post.seat is not None:
            seat, post.seat = post.seat, None
            with contextlib.suppress(Exception):  # of a cluster that is gone there is nothing to give back to
                seat.close()
