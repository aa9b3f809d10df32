"""The work item of a worker: the training function, the schedules, a folder for checkpoints."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import ray
from ray import cloudpickle

from robust_lr import Schedule, parse_schedule
from robust_lr._fingerprint import fingerprint_of
from robust_lr._labels import is_vague, label_of
from robust_lr._text import main_line
from robust_lr.exceptions import RobustLRError
from robust_lr.journal.outbox import Outbox
from robust_lr.runners import TrialSource, evaluate_trial
from robust_lr.trials import TrainFunction, TrialResult, TrialSpec

from ._cells import cell_digest, schedule_text
from ._checkpoints import TrialCheckpoint, checkpointing


@dataclass(frozen=True)
class Work:
    """A training function, the texts of its schedules by name, and the folder for its checkpoints.

    The driver makes the label that separates the checkpoints of experiments, because an object may print differently in
    another process.
    """

    train: TrainFunction
    texts: Mapping[str, str]
    label: str = ""
    checkpoints: str | None = None
    outbox: Outbox | None = None

    @classmethod
    def of(
        cls,
        train: TrainFunction,
        schedules: Mapping[str, Schedule],
        *,
        label: str | None = None,
        checkpoints: str | None = None,
        outbox: Outbox | None = None,
    ) -> Work:
        texts = {name: schedule_text(schedule) for name, schedule in schedules.items()}
        return cls(train, texts, checkpoint_label(train, checkpoints, label=label), checkpoints, outbox)

    @cached_property
    def schedules(self) -> dict[str, Schedule]:
        return {name: parse_schedule(text) for name, text in self.texts.items()}

    def digest(self, spec: TrialSpec) -> str:
        return cell_digest(spec, self.schedules[spec.schedule], self.label)

    def run(self, spec: TrialSpec) -> TrialResult:
        """Run one trial here, from its last checkpoint if it has one."""
        with checkpointing(self.checkpoints, self.digest(spec)):
            return evaluate_trial(self.train, spec, self.schedules[spec.schedule])

    def forget(self, spec: TrialSpec) -> None:
        TrialCheckpoint(self.checkpoints, self.digest(spec)).remove()

    def evaluate(self, spec: TrialSpec) -> TrialResult:
        result = self.run(spec)
        if result.is_final:
            self.save(result)
            self.forget(spec)
        return result

    def save(self, result: TrialResult) -> None:
        """Leave a result where the next driver finds it, should this one be killed."""
        if self.outbox is not None:
            self.outbox.put(result)

    def results(self, source: TrialSource) -> Iterator[TrialResult]:
        """Run one trial after the other, as an `Evaluator` does."""
        while trials := source.take(1, wait=True):
            yield from map(self.evaluate, trials)

    def stored(self) -> ray.ObjectRef[bytes]:
        # As bytes, so that a worker that cannot load it can report that.
        try:
            return ray.put(cloudpickle.dumps(self))  # type: ignore[no-untyped-call]
        except Exception as error:
            raise RobustLRError(
                "train must pickle to travel to the cluster: put it into a module that the nodes can import, and open "
                f"files, locks and connections in it; pickle says: {error}"
            ) from None


def checkpoint_label(train: TrainFunction, checkpoints: str | None, *, label: str | None = None) -> str:
    """Return what separates the checkpoints of experiments: the label of the training function, and its code."""
    if label is None:
        label = label_of(train).replace("__main__:", f"{Path(sys.argv[0]).absolute()}:", 1)
        if checkpoints is not None and is_vague(label):
            raise RobustLRError(
                f"checkpoints cannot identify train by its name, {label}: give it a label that you change with the "
                "experiment (run_sweep label=, robust-lr run --label)"
            )
    # An edited function must not continue what another one has half trained.
    return label if checkpoints is None else f"{label} {sorted(fingerprint_of(train).items())}"


def load_work(work: bytes) -> Work:
    try:
        loaded: Work = cloudpickle.loads(work)
        loaded.schedules  # noqa: B018  # a schedule that cannot be read here is reported now
    except Exception:
        raise RobustLRError(
            f"the workers of the cluster cannot load train: {main_line(traceback.format_exc())}; what is not installed "
            "on its nodes travels with `ray job submit --working-dir .` or runtime_env={'working_dir': '.'}"
        ) from None
    return loaded
