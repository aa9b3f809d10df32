"""Open the journal of a training function, under a label that identifies the function."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from .._labels import has_text, is_vague, label_of, spec_text
from ..exceptions import JournalError, OptionError
from ..schedules import Schedule
from ..trials import TrainFunction
from .journal import Journal


def open_journal(
    path: str | os.PathLike[str] | None,
    train: TrainFunction,
    schedules: Mapping[str, Schedule],
    *,
    label: str | None = None,
    learning_rates: Sequence[float] = (),
    seeds: Sequence[int] = (),
) -> Journal | None:
    """Return the journal at a path, open for writing; None if there is no path.

    Args:
        path: the file, or None.
        train: the training function.
        schedules: the schedules by name.
        label: name of the training function; by default that of `label_of`.
        learning_rates, seeds: those known in advance.

    Raises:
        OptionError: when the path is not a path.
        JournalError: when the name of the training function or the text of a schedule does not identify it, or the
            journal cannot be opened; see `Journal.open`.
    """
    if path is None:
        return None
    if not isinstance(path, (str, os.PathLike)):
        raise OptionError(f"journal must be the path of a file, got {path!r}")
    label = _journal_label(train) if label is None else label
    for name, schedule in schedules.items():
        if not has_text(schedule) or is_vague(str(schedule)):
            raise JournalError(
                f"the journal cannot identify schedule {name!r} by its text, {spec_text(schedule)}: define its "
                "function at module level, or give its class a __str__ that shows its parameters"
            )
    specs = {name: spec_text(schedule) for name, schedule in schedules.items()}
    return Journal.open(path, learning_rates=learning_rates, schedules=specs, seeds=seeds, train=label)


def _journal_label(train: TrainFunction) -> str:
    label = label_of(train)
    if is_vague(label):
        raise JournalError(
            f"the journal cannot identify train by its name, {label}: give it a label that you change with the "
            "experiment (label=, or --label on the command line), or define it at module level, without lambdas; "
            "a class needs a __repr__ with its parameters"
        )
    return label
