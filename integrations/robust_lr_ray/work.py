"""What a worker of the cluster needs to know to run any trial of a sweep."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import ray
from ray import cloudpickle

from robust_lr import RobustLRError, Schedule, TrainFunction, TrialResult, TrialSpec, parse_schedule
from robust_lr._labels import is_vague, label_of
from robust_lr.runners import evaluate_trial

from .cells import cell_digest, schedule_text
from .checkpoints import checkpointing


@dataclass(frozen=True)
class Work:
    """A training function and its schedules.

    Attributes:
        train: the training function.
        texts: the text of each schedule by its name; schedules travel as texts.
        label: what tells this experiment from another in the folder of checkpoints. It is made once, since the text
            of an object may be another in another process.
        checkpoints: folder for the checkpoints of trials that are not finished, None for none.
    """

    train: TrainFunction
    texts: Mapping[str, str]
    label: str = ""
    checkpoints: str | None = None

    @classmethod
    def of(
        cls,
        train: TrainFunction,
        schedules: Mapping[str, Schedule],
        *,
        label: str | None = None,
        checkpoints: str | None = None,
    ) -> Work:
        """Return the work of a sweep; without a label it is that of the training function.

        Raises:
            ScheduleError: when a schedule has no text that another process could read it from.
            RobustLRError: when there are to be checkpoints and nothing tells them from those of another experiment.
        """
        texts = {name: schedule_text(schedule) for name, schedule in schedules.items()}
        if label is None:
            label = label_of(train).replace("__main__:", f"{Path(sys.argv[0]).absolute()}:", 1)
            if checkpoints is not None and is_vague(label):
                raise RobustLRError(
                    f"checkpoints of train cannot be told from those of another function by its name, {label}: give it "
                    "a label that you change with the experiment (run_sweep label=, robust-lr run --label)"
                )
        return cls(train, texts, label, checkpoints)

    @cached_property
    def schedules(self) -> dict[str, Schedule]:
        """The schedules by name."""
        return {name: parse_schedule(text) for name, text in self.texts.items()}

    def digest(self, spec: TrialSpec) -> str:
        """Return the short name of a trial; see `cell_digest`."""
        return cell_digest(spec, self.schedules[spec.schedule], self.label)

    def evaluate(self, spec: TrialSpec) -> TrialResult:
        """Run one trial here, from its last checkpoint if it has one."""
        with checkpointing(self.checkpoints, self.digest(spec)) as checkpoint:
            result = evaluate_trial(self.train, spec, self.schedules[spec.schedule])
            if result.is_final:
                checkpoint.remove()
        return result

    def stored(self) -> ray.ObjectRef[bytes]:
        """Put it where every node gets it from, as bytes, so that what cannot be loaded there can be said.

        Raises:
            RobustLRError: when the training function does not pickle.
        """
        try:
            return ray.put(cloudpickle.dumps(self))  # type: ignore[no-untyped-call]
        except Exception as error:
            raise RobustLRError(
                "train must pickle to travel to the cluster: put it into a module that the nodes can import, and open "
                f"files, locks and connections in it; pickle says: {error}"
            ) from None
