"""How a run ended, in the words of trackers and of people."""

from __future__ import annotations

import re
from typing import Literal

_ENDED = "finished finish complete completed done ok success succeeded successful"
_UNFINISHED = (
    "not running progress pending queued scheduled waiting starting stopping created crashed crash failed failure fail "
    "killed pruned preempted preempting stopped aborted canceled cancelled error errored interrupted timeout timed oom "
    "memory paused suspended lost unfinished incomplete"
)
_ENDINGS: dict[str, Literal["ended", "unfinished", "diverged"]] = {
    **dict.fromkeys(_ENDED.split(), "ended"),
    **dict.fromkeys(_UNFINISHED.split(), "unfinished"),
    "diverged": "diverged",
}
_TRUE, _FALSE = frozenset(("true", "1", "1.0", "yes", "t", "y")), frozenset(("false", "0", "0.0", "no", "f", "n"))


def ending(state: str) -> Literal["ended", "unfinished", "diverged"] | None:
    """Return how a run in this state ended; None if the text is blank or unknown.

    Example:
        >>> [ending(text) for text in ("Crashed (OOM)", "TrialState.PRUNED", "InProgress", "finished", "best")]
        ['unfinished', 'unfinished', 'unfinished', 'ended', None]
    """
    each = re.findall("[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", state).lower())
    return next((_ENDINGS[word] for word in each if word in _ENDINGS), None)


def is_flag(text: str) -> bool:
    """Return whether the text is "true" or "false", however it is written."""
    return text.lower() in _TRUE | _FALSE


def state_of_flag(word: str, text: str) -> str:
    """Return the state that a flag tells, as "failed" if `failed` is true and "not ok" if `ok` is false, or else ""."""
    says_ended = _ENDINGS[word] == "ended"
    if text.lower() not in (_FALSE if says_ended else _TRUE):
        return ""
    return f"not {word}" if says_ended else word
