"""What leaves a worker: each result goes to the outbox of the journal first, if there is one, then to the driver."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..journal.outbox import Outbox
from ..trials import TrialResult
from .base import Evaluator, TrialSource


@dataclass(frozen=True)
class SavingEvaluator:
    """An `Evaluator` that leaves each result in an outbox before it yields it."""

    evaluator: Evaluator
    outbox: Outbox

    def results(self, source: TrialSource) -> Iterator[TrialResult]:
        """Yield the results of the evaluator; see `Evaluator.results`."""
        for result in self.evaluator.results(source):
            self.outbox.put(result)
            yield result


def outbox_of(source: TrialSource) -> Outbox | None:
    """Return the outbox of a source for its workers; None if it has none, as a plain list of trials."""
    use = getattr(source, "use_outbox", None)
    outbox: Outbox | None = None if use is None else use()
    return outbox


def saving(evaluator: Evaluator, outbox: Outbox | None) -> Evaluator:
    """Return an evaluator that saves its results in an outbox, if there is one."""
    return evaluator if outbox is None else SavingEvaluator(evaluator, outbox)
