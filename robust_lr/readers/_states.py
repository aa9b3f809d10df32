"""How a run ended, in the words of trackers and of people."""

from __future__ import annotations

import re

_ENDED = "finished finish complete completed done ok success succeeded successful terminated"
_UNFINISHED = (
    "not running progress pending queued scheduled waiting starting stopping created crashed crash failed failure fail "
    "killed pruned preempted preempting stopped aborted canceled cancelled error errored interrupted timeout oom "
    "unfinished incomplete"
)
_HAS_ENDED = dict.fromkeys(_ENDED.split(), True) | dict.fromkeys(_UNFINISHED.split(), False)


def is_known(state: str) -> bool:
    """Return whether the text is the state of a run."""
    return _word(state) is not None


def is_unfinished(state: str) -> bool:
    """Return whether a run in this state has no final loss; an unknown or blank state does not say so.

    Example:
        >>> [is_unfinished(text) for text in ("Crashed (OOM)", "TrialState.PRUNED", "in progress", "finished")]
        [True, True, True, False]
    """
    word = _word(state)
    return word is not None and not _HAS_ENDED[word]


def _word(state: str) -> str | None:
    return next((word for word in re.findall("[a-z]+", state.lower()) if word in _HAS_ENDED), None)
