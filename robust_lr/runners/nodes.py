"""What the nodes of a cluster do to trials: a node that fails trials which others finish gets no more of them."""

from __future__ import annotations

import logging
from collections.abc import Sequence, Set

from .._text import main_line
from ..trials import TrialResult, TrialSpec

_FAILURES_TO_BLAME = 3

_log = logging.getLogger("robust_lr")


class NodeRecords:
    """Which trials failed on which node, and finished on another. Workers without a node's name are left out.

    Example:
        >>> records = NodeRecords()
        >>> trials = [TrialSpec("cosine", lr, 0) for lr in (0.1, 0.2, 0.3)]
        >>> for trial in trials:
        ...     records.note("bad", TrialResult(trial, float("nan"), "failed", error="no disk"))
        ...     records.note("good", TrialResult(trial, 0.5, "ok"))
        >>> records.takes("bad", TrialSpec("cosine", 0.4, 0), {"good", "bad"})
        False
    """

    def __init__(self) -> None:
        self._failed = dict[str, dict[TrialSpec, None]]()  # since the node last finished a trial
        self._finished_elsewhere = dict[str, set[TrialSpec]]()
        self._blamed = set[str]()
        self._has_finished = False  # any trial, anywhere

    def note(self, node: str, result: TrialResult) -> None:
        """Take the result of an attempt on a node."""
        if not node:
            return
        failed = self._failed.setdefault(node, {})
        if not result.is_final:
            failed[result.spec] = None
            self._reason = main_line(result.error)
            return
        self._has_finished = True
        failed.clear()
        self._finished_elsewhere.pop(node, None)
        self._blamed.discard(node)
        for other, trials in self._failed.items():
            if result.spec in trials:
                self._blame(other, result.spec)

    def _blame(self, node: str, spec: TrialSpec) -> None:
        finished = self._finished_elsewhere.setdefault(node, set())
        finished.add(spec)
        if len(finished) >= _FAILURES_TO_BLAME and node not in self._blamed:
            self._blamed.add(node)
            _log.warning(
                "%s fails trials that other nodes finish (%s): it gets no more, and its trials run elsewhere",
                node, self._reason,
            )  # fmt: skip

    def takes(self, node: str, spec: TrialSpec, nodes: Set[str]) -> bool:
        """Return whether a node should run a trial, if these are the nodes with workers."""
        others = nodes - self._blamed - {node}
        if not (node and others):
            return True
        failed_at = {each for each in nodes if spec in self._failed.get(each, ())}
        if not self._has_finished:
            # If all fail alike it is the code, and retries at once show it soonest.
            n_here = len(self._failed.get(node, ()))
            return all(map(self._failed.get, nodes)) or (n_here < _FAILURES_TO_BLAME and node not in failed_at)
        return node not in self._blamed and (node not in failed_at or not others - failed_at)

    def split(self, node: str, trials: Sequence[TrialSpec], nodes: Set[str]) -> tuple[list[TrialSpec], list[TrialSpec]]:
        """Return the trials that a node should run, and the others."""
        mine = [spec for spec in trials if self.takes(node, spec, nodes)]
        return mine, [spec for spec in trials if spec not in mine]
