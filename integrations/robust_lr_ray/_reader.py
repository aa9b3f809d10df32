"""Ray Tune's experiments, for `robust_lr.readers`: folders that are read without Ray."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from robust_lr.readers.reader import ReadOptions, find_lr, one_each

if TYPE_CHECKING:
    from robust_lr import SweepResult


class ExperimentReader:
    """Reads each experiment by itself."""

    name = "Ray Tune's experiments"
    looks_for = "folders of Ray Tune's experiments"

    def recognizes(self, path: Path) -> bool:
        from ._experiment import STATES

        return path.is_dir() and next(path.glob(STATES), None) is not None

    def read(self, paths: Sequence[Path], root: Path, options: ReadOptions) -> dict[str, SweepResult]:
        return one_each(paths, root, lambda path: self._experiment(path, options))

    def _experiment(self, path: Path, options: ReadOptions) -> dict[str, SweepResult]:
        from ._experiment import read_experiment
        from .results import sweep_from_experiment

        options.refuse(("group_by", "where"), path, "an experiment; --schedule-name takes any parameter of a trial")
        settings = {name for trial in read_experiment(path)[1] for name in trial.config}
        sweep = sweep_from_experiment(
            path,
            lr_name=options.lr_name or ("lr" if "lr" in settings else find_lr(settings)) or "lr",
            metric=options.metric or "loss",
            schedule_name=options.schedule_name,
            seed_name=options.seed_name,
            direction=options.direction or "minimize",
        )
        return {"": sweep}


EXPERIMENTS = ExperimentReader()
