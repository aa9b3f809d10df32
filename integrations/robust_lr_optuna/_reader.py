"""Optuna's studies in files, for `robust_lr.readers`: all studies of an SQLite file or a journal."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from robust_lr._text import listed
from robust_lr.exceptions import DataError, OptionError
from robust_lr.readers.reader import ReadOptions, find_lr, one_each
from robust_lr.readers.sqlite import start_of, tables_of

if TYPE_CHECKING:
    from optuna.study import Study

    from robust_lr import SweepResult

_JOURNAL = re.compile(rb'\{"op_code":')
_TABLES = {"studies", "trials", "trial_params"}


class StudyReader:
    """Reads each study by itself; it is chosen by what the file holds, not by its name."""

    name = "Optuna's studies"
    looks_for = "an SQLite file or journal of Optuna"

    def recognizes(self, path: Path) -> bool:
        return path.is_file() and (_JOURNAL.match(start_of(path)) is not None or tables_of(path) >= _TABLES)

    def read(self, paths: Sequence[Path], root: Path, options: ReadOptions) -> dict[str, SweepResult]:
        return one_each(paths, root, lambda path: self._studies(path, options))

    def _studies(self, path: Path, options: ReadOptions) -> dict[str, SweepResult]:
        of_studies = all(text.partition("=")[0].rstrip("! ") == "study" for text in options.where)
        options.refuse(
            ("group_by",) if of_studies else ("group_by", "where"),
            path,
            "a study; --schedule-name takes any parameter of a trial",
        )
        try:
            import optuna

            from ._storages import open_to_read
            from .results import sweep_from_study
        except ImportError as error:
            raise OptionError(f"{path} holds studies, which need: pip install 'robust-lr[optuna]' ({error})") from None
        storage = open_to_read(str(path) if _JOURNAL.match(start_of(path)) else f"sqlite:///{path.absolute()}")
        studies = [
            optuna.load_study(study_name=name, storage=storage) for name in sorted(optuna.get_all_study_names(storage))
        ]
        found = {}
        for study in _chosen(path, studies, options.where):
            params = {name for trial in study.get_trials(deepcopy=False) for name in trial.params}
            metric = "0" if options.metric in (None, "loss") else options.metric
            found[study.study_name] = sweep_from_study(
                study,
                lr_name=options.lr_name or find_lr(params) or "lr",
                schedule_name=options.schedule_name,
                seed_name=options.seed_name,
                metric=int(metric) if metric.isdecimal() else metric,
                direction=options.direction,
            )
        return found if len(found) != 1 else {"": found.popitem()[1]}


def _chosen(path: Path, studies: Sequence[Study], where: Sequence[str]) -> Sequence[Study]:
    """The studies that meet conditions such as "study=a" and "study!=b"."""
    asked = [text.partition("=") for text in where]
    wanted = {value.strip() for name, _, value in asked if not name.endswith("!")}
    unwanted = {value.strip() for name, _, value in asked if name.endswith("!")}
    names = {study.study_name for study in studies}
    kept = [study for study in studies if study.study_name in (wanted or names) - unwanted]
    if not kept:
        raise DataError(f"{path} holds no study that is asked for; it holds {listed(sorted(names))}")
    return kept


STUDIES = StudyReader()
