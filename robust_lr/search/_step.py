"""The decision of a search: which learning rate to try next, or why it is over."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .._text import listed
from ._proposals import Proposal, propose
from ._result import Stop
from ._state import SearchState

# Stop as noise-limited if more than this many further trials would be needed.
_MOST_AGAINST_NOISE = 6
_MOST_FAILURES = 3
_ABOUT_ZERO = 1e-3


@dataclass(frozen=True)
class Ask:
    """Try this learning rate next; None: wait for what is in flight."""

    lr: float | None


@dataclass(frozen=True)
class End:
    """The search is over."""

    stop: Stop
    reason: str


def step(state: SearchState, in_flight: Sequence[float] = ()) -> Ask | End:
    """Return the next step, given the state and the learning rates in flight."""
    most = state.settings.options.max_trials
    n_known = len(state.results)
    if most is not None and n_known >= most:
        more = "" if n_known == most else f" ({n_known} results are known)"
        return End("max_trials", f"all {most} trials are used{more}")
    taken = [math.log(lr) for lr in (*in_flight, *state.failed)]
    proposal = propose(state, taken)
    if end := _end_by_results(state, taken, proposal):
        return end
    has_room = most is None or n_known + len(state.failed) + len(in_flight) < most
    lr = None if proposal.x is None or not has_room else state.lr_at(proposal.x)
    if state.failed and (len(state.failed) >= _MOST_FAILURES or (lr is None and not in_flight)):
        is_proved = proposal.x is None and state.data.assumption_violation is None and _has_proof(state)
        return _end_in_valley(state) if is_proved else End("failures", _failures(state, has_room=has_room))
    return Ask(lr)


def _end_by_results(state: SearchState, taken: Sequence[float], proposal: Proposal) -> End | None:
    """The end that the results call for, whatever is in flight or has failed."""
    from_noise = _is_mostly_noise(state)
    if proposal.x is not None and not from_noise and len(state.failed) < _MOST_FAILURES:
        return None  # a proposal that helps beside taken trials also helps without them
    alone = propose(state, ()) if taken else proposal
    noise_limited = from_noise and _trials_left(state, alone) > _MOST_AGAINST_NOISE
    if alone.x is not None and not noise_limited:
        return None
    if state.data.assumption_violation is not None:
        tried = "the search tried the coarse grid, then the valley around the best"
        return End("assumption-violation", f"{state.data.assumption_violation}; {tried}")
    if noise_limited:
        return End("noise-limited", _noise(state, _trials_left(state, alone)))
    if state.valley is None:
        return End("diverged", "every learning rate diverged")
    return _end_in_valley(state)


def _has_proof(state: SearchState) -> bool:
    return state.valley is not None and state.valley.excess_bound <= state.tolerance


def _end_in_valley(state: SearchState) -> End:
    if _has_proof(state):
        end = f"; the best lies on its {state.edge} end" if state.edge else ""
        return End("tolerance", f"nothing in the range is better by more than the tolerance{end}")
    if state.edge:
        return End("edge", f"the loss still falls at the {state.edge} end of the range: widen it")
    losses = list(state.data.means.values())
    if state.settings.tolerance.relative and abs(min(losses)) < _ABOUT_ZERO * (max(losses) - min(losses)):
        return End("resolution", "the best loss is about 0, and a share of 0 is not a tolerance: give a number instead")
    return End("resolution", "any better learning rate is too close to one already tried to tell them apart")


def _is_mostly_noise(state: SearchState) -> bool:
    valley = state.valley
    if valley is None or not state.tolerance < valley.excess_bound < math.inf:
        return False
    return valley.excess_bound > 2 * valley.bound_without_errors


def _trials_left(state: SearchState, proposal: Proposal) -> float:
    """How many trials it takes to reach the tolerance if each lowers the log of the excess bound as the next one does.

    0 during the first look at the range.
    """
    if state.valley is None or proposal.score is None:
        return 0.0
    now = math.log(state.valley.excess_bound / state.tolerance)
    return now / (now - proposal.score) if proposal.score < now else math.inf


def _noise(state: SearchState, trials_left: float) -> str:
    assert state.valley is not None  # noqa: S101
    points, std = state.valley.points, state.data.seed_std
    best = points[state.valley.best]
    close = [lr for lr, p in zip(state.valley_lrs, points, strict=True) if p.loss - p.error <= best.loss + best.error]
    noise = f"seeds differ by about {std:.2g}" if std else f"the loss fluctuates by {state.data.noise_margin:.2g}"
    hidden = f"{close[0]:.2g} to {close[-1]:.2g} cannot be told apart" if len(close) > 1 else "no more can be seen"
    more = "many" if trials_left == math.inf else f"about {math.ceil(trials_left)}"
    return f"{noise}, so {hidden}; {more} more trials would be needed"


def _failures(state: SearchState, *, has_room: bool) -> str:
    failed = f"trials at lr = {listed(f'{lr:.4g}' for lr in state.failed)} failed"
    if len(state.failed) >= _MOST_FAILURES:
        return f"{failed}; {_MOST_FAILURES} failures end a search"
    if not has_room:
        return f"{failed}, and max_trials = {state.settings.options.max_trials} allows no more"
    return f"{failed}, and no other learning rate is left to try"
