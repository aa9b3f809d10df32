"""Open the journal of a training function, under a label and a fingerprint that identify the function."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from .._checks import check_flag
from .._fingerprint import fingerprint_of
from .._labels import has_text, is_vague, label_of, spec_text
from .._text import count_of
from ..exceptions import JournalError, OptionError
from ..schedules import Schedule
from ..trials import TrainFunction
from .journal import Journal
from .outbox import Outbox

_logger = logging.getLogger("robust_lr")


def open_journal(
    path: str | os.PathLike[str] | None,
    train: TrainFunction,
    schedules: Mapping[str, Schedule],
    *,
    label: str | None = None,
    keep_results: bool = False,
    learning_rates: Sequence[float] = (),
    seeds: Sequence[int] = (),
    prior: str = "",
    results_uri: str | os.PathLike[str] | None = None,
) -> Journal | None:
    """Return the journal at a path, open for writing; None if there is no path.

    Args:
        path: the file, or None.
        train: the training function.
        schedules: the schedules by name.
        label: name of the training function; by default that of `label_of`. A new one begins its own results.
        keep_results: whether the results in the journal stay valid although the training function has changed.
        learning_rates, seeds: those known in advance.
        prior: digest of the prior of a search, empty without one.
        results_uri: folder in which workers leave their results, a path or any URI that fsspec knows; by default
            FILE.results beside the journal.

    Raises:
        OptionError: when the path is not a path, or `results_uri` has no journal or cannot be written.
        JournalError: when the name of the training function or the text of a schedule does not identify it, or the
            journal cannot be opened; see `Journal.open`.
    """
    if path is None:
        if results_uri is not None:
            raise OptionError("results_uri is for a sweep with a journal: name one (journal=)")
        return None
    if not isinstance(path, (str, os.PathLike)):
        raise OptionError(f"journal must be the path of a file, got {path!r}")
    keep_results, has_label = check_flag("keep_results", keep_results), label is not None
    label = _journal_label(train) if label is None else label
    for name, schedule in schedules.items():
        if not has_text(schedule) or is_vague(str(schedule)):
            raise JournalError(
                f"the journal cannot identify schedule {name!r} by its text, {spec_text(schedule)}: define its "
                "function at module level, or give its class a __str__ that shows its parameters"
            )
    specs = {name: spec_text(schedule) for name, schedule in schedules.items()}
    fingerprint = fingerprint_of(train)
    return Journal.open(
        path, learning_rates=learning_rates, schedules=specs, seeds=seeds, train=label, fingerprint=fingerprint,
        keep_results=keep_results, new_label=has_label, prior=prior,
        outbox=_outbox(Path(path).absolute(), results_uri, label, fingerprint),
    )  # fmt: skip


def _outbox(
    journal: Path, uri: str | os.PathLike[str] | None, label: str, fingerprint: Mapping[str, str]
) -> Outbox:  # fmt: skip
    if uri is None:
        return Outbox(f"{journal}.results", label, fingerprint, beside=str(journal))
    if not isinstance(uri, (str, os.PathLike)) or not os.fspath(uri):
        raise OptionError(f"results_uri must be a folder or the URI of one, got {uri!r}")
    uri = os.fspath(uri)
    outbox = Outbox(uri if "://" in uri else str(Path(uri).absolute()), label, fingerprint, str(journal))
    outbox.check()
    return outbox


def report_counts(journal: Journal, *, n_old: int, n_new: int, n_other: int = 0, show: bool | None) -> None:
    """Say how many results came from a journal, such as "21 results from sweep.jsonl, 6 new", in the log.

    Args:
        journal: the journal.
        n_old: results that it had and this run uses.
        n_new: results that this run adds.
        n_other: results in the journal that this run does not use.
        show: whether to write to stderr if nobody reads the log; None does so only on a terminal.
    """
    text = f"{count_of(n_old, 'result')} from {journal.path}, {n_new} new"
    if n_other:
        text += f"; {n_other} more in it are not in this sweep"
    if n_old and journal.has_results_of_unknown_code:
        text += " (the old ones have no fingerprint of the code, so an edit since then cannot be noticed)"
    if n_old and journal.has_results_of_another_prior:
        text += " (the old ones were chosen by another prior, or without one; they count all the same)"
    tell(text, show=show)


def tell(text: str, *, show: bool | None) -> None:
    """Say something in the log, and on stderr if nobody reads the log; None says it there on a terminal only."""
    if not _logger.isEnabledFor(logging.INFO) and (sys.stderr.isatty() if show is None else show):
        print(text, file=sys.stderr)  # noqa: T201
    _logger.info(text)


def _journal_label(train: TrainFunction) -> str:
    label = label_of(train)
    if is_vague(label):
        raise JournalError(
            f"the journal cannot identify train by its name, {label}: give it a label that you change with the "
            "experiment (label=, or --label on the command line), or define it at module level, without lambdas; "
            "a class needs a __repr__ with its parameters"
        )
    return label
