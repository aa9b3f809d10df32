"""The decision of a search: which learning rate to try next, or why it is over."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .._text import listed
from ._noise import is_noise_limited, trials_against_noise
from ._proposals import propose
from ._result import MOST_TRIALS_NEEDED, Stop
from ._state import SearchState

_MOST_FAILURES = 3


@dataclass(frozen=True)
class Ask:
    """Try this learning rate next; None: wait for what is in flight."""

    lr: float | None


@dataclass(frozen=True)
class End:
    """The search is over."""

    stop: Stop
    reason: str
    by_prior: bool = False
    trials_needed: int | None = None


def step(state: SearchState, in_flight: Sequence[float] = ()) -> Ask | End:
    """Return the next step, given the state and the learning rates in flight."""
    most = state.settings.options.max_trials
    n_known = len(state.results)
    if most is not None and n_known >= most:
        more = "" if n_known == most else f" ({n_known} results are known)"
        return End("max_trials", f"all {most} trials are used{more}")
    taken = [math.log(lr) for lr in (*in_flight, *state.failed)]
    if (end := _end_by_prior(state)) and not state.failed:
        return end
    proposal = propose(state, taken)
    if end := _end_by_results(state, taken, proposal):
        return end
    has_room = most is None or n_known + len(state.failed) + len(in_flight) < most
    lr = None if proposal is None or not has_room else state.lr_at(proposal)
    if state.failed and (len(state.failed) >= _MOST_FAILURES or (lr is None and not in_flight)):
        is_proved = proposal is None and state.data.assumption_violation is None and _has_proof(state)
        return _end_in_valley(state) if is_proved else End("failures", _failures(state, has_room=has_room))
    return Ask(lr)


def _end_by_results(state: SearchState, taken: Sequence[float], proposal: float | None) -> End | None:
    """The end that the results call for, whatever is in flight or has failed."""
    noise_limited = is_noise_limited(state)
    if proposal is not None and not noise_limited and len(state.failed) < _MOST_FAILURES:
        return None  # a proposal that helps beside taken trials also helps without them
    alone = propose(state, ()) if taken else proposal
    if alone is not None and not noise_limited:
        return None
    if state.data.assumption_violation is not None:
        tried = "the search tried the coarse grid, then the valley around the best"
        return End("assumption-violation", f"{state.data.assumption_violation}; {tried}")
    if noise_limited:
        return _end_in_noise(state)
    if state.valley is None:
        return End("diverged", "every learning rate diverged")
    return _end_in_valley(state)


def _end_by_prior(state: SearchState) -> End | None:
    """The end that earlier sweeps allow, unless the bound proves it already."""
    if state.guide is None or not state.guide.carries or _has_proof(state):
        return None
    reason = "by what earlier sweeps show, nothing is better by more than the tolerance (true in 95% of such sweeps)"
    return End("tolerance", reason, by_prior=True)


def _has_proof(state: SearchState) -> bool:
    return state.excess_bound <= state.tolerance


def _end_in_valley(state: SearchState) -> End:
    if state.steps is not None:
        return End("steps", "the trials are as close as a smooth loss would need; one that moves in steps has no bound")
    if _has_proof(state):
        end = f"; the best lies on its {state.edge} end" if state.edge else ""
        return End("tolerance", f"nothing in the range is better by more than the tolerance{end}")
    if state.edge:
        return End("edge", f"the loss still falls at the {state.edge} end of the range: widen it")
    return End("resolution", "any better learning rate is too close to one already tried to tell them apart")


def _end_in_noise(state: SearchState) -> End:
    trials = math.ceil(min(trials_against_noise(state), float(MOST_TRIALS_NEEDED)))
    trials = trials if trials < 100 else round(trials, -1)
    std = state.data.seed_std or state.data.noise_margin
    more = f"over {trials}" if trials == MOST_TRIALS_NEEDED else f"about {trials}"
    reason = f"seeds differ by about {std:.2g}; it would take {more} more trials to bring the bound to the tolerance"
    return End("noise-limited", reason, trials_needed=trials)


def _failures(state: SearchState, *, has_room: bool) -> str:
    failed = f"trials at lr = {listed(f'{lr:.4g}' for lr in state.failed)} failed"
    if len(state.failed) >= _MOST_FAILURES:
        return f"{failed}; {_MOST_FAILURES} failures end a search"
    if not has_room:
        return f"{failed}, and max_trials = {state.settings.options.max_trials} allows no more"
    return f"{failed}, and no other learning rate is left to try"
