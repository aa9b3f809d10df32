"""How a run ended, in the words of trackers and of people."""

from __future__ import annotations

_ENDED = "finished finish complete completed done ok success succeeded successful terminated"
_UNFINISHED = (
    "running pending queued scheduled waiting starting stopping created crashed crash failed failure fail killed "
    "pruned preempted preempting stopped aborted canceled cancelled error errored interrupted timeout oom unfinished "
    "incomplete"
)
_HAS_ENDED = dict.fromkeys(_ENDED.split(), True) | dict.fromkeys(_UNFINISHED.split(), False)


def is_known(state: str) -> bool:
    """Return whether the text is the state of a run."""
    return _plain(state) in _HAS_ENDED


def is_unfinished(state: str) -> bool:
    """Return whether a run in this state has no final loss; an unknown or blank state does not say so.

    Example:
        >>> is_unfinished("Crashed"), is_unfinished("TrialState.PRUNED"), is_unfinished("finished")
        (True, True, False)
    """
    return not _HAS_ENDED.get(_plain(state), True)


def _plain(state: str) -> str:
    return state.lower().rpartition(".")[2].strip()
