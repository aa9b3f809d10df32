"""The journal's format: records as lines of JSON. `robust_lr.journal.journal` describes it."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_args

from .._text import count_of
from ..exceptions import JournalError
from ..trials import Status, TrialResult, TrialSpec, expand_trials

FORMAT = 1
OF_A_SEARCH = (
    "a search chose these learning rates one after the other, so they are no grid, and what follows about "
    "coarser grids is a guess: the command of the search prints its answer again, without training"
)
_OPENING = b'{"record": "sweep", "format": '


@dataclass(frozen=True)
class SweepHeader:
    """A journal's description of its sweep.

    Attributes:
        learning_rates: all of them, in the order of the sweep.
        schedules: spec of each schedule by its name.
        seeds: all of them.
        train: label of the training function, None if it has none.
        created: when the line was written, ISO 8601 in UTC.
        library: the version of robust-lr that wrote it.
        fingerprint: digest of each part of the training function, empty if unknown; it holds for the results from this
            line to the next that has another.
        requested: the learning rates, schedules and seeds that the last sweep asked for; of a search, none.
        further: trials that it asked for later, because of the results.
        prior: digest of the prior of a search, empty without one.
    """

    learning_rates: tuple[float, ...]
    schedules: Mapping[str, str]
    seeds: tuple[int, ...]
    train: str | None = None
    created: str = ""
    library: str = ""
    fingerprint: Mapping[str, str] = field(default_factory=dict)
    requested: tuple[Sequence[float], Sequence[str], Sequence[int]] = ((), (), ())
    further: tuple[TrialSpec, ...] = ()
    prior: str = ""


@dataclass(frozen=True)
class JournalContents:
    """What a journal holds under one label: the last that was opened.

    Attributes:
        header: the sweep, as described by the last "sweep" line.
        results: one per trial that was run, failed ones included, in order of completion; a trial's last line
            counts.
        others: what the journal holds under other labels.
    """

    header: SweepHeader
    results: tuple[TrialResult, ...]
    others: Mapping[str | None, JournalContents] = field(default_factory=dict)

    @property
    def n_left(self) -> int:
        """The number of trials that the sweep asked for and that have not run."""
        return len(self._asked - {result.spec for result in self.results})

    @property
    def _asked(self) -> set[TrialSpec]:
        lrs, schedules, seeds = self.header.requested
        return {*expand_trials(schedules, lrs, seeds), *self.header.further}

    @property
    def notes(self) -> list[str]:
        """What the results do not show: missing trials of a sweep, that a search ran them, and other labels."""
        n_asked, n_left = len(self._asked), self.n_left
        unfinished = [f"{n_asked - n_left} of {n_asked} results: the sweep is unfinished"] if n_left else []
        if not self.header.requested[0] and self.results:
            unfinished = [OF_A_SEARCH]
        return unfinished + [
            f"{count_of(len(other.results), 'result')} left out: the journal has them under the label {label}"
            for label, other in self.others.items()
        ]


_ByLabel = dict[str | None, tuple[SweepHeader, dict[TrialSpec, TrialResult]]]


def parse_journal(path: Path, data: bytes) -> tuple[JournalContents | None, int]:
    """Return the contents, None if no sweep was begun, and the number of valid bytes."""
    *lines, torn = data.split(b"\n")
    if not lines and (_OPENING.startswith(torn) or torn.startswith(_OPENING)):
        return None, 0
    header: SweepHeader | None = None
    by_label: _ByLabel = {}
    results: dict[TrialSpec, TrialResult] = {}
    n_good_bytes = 0
    for number, line in enumerate(lines, 1):
        record = load_record(line)
        if header is None and (record is None or record.get("record") != "sweep"):
            break
        if record is None and number == len(lines) and not torn:
            break  # an incomplete last line
        with _naming_the_line(path, number):
            if record is not None and record["record"] == "sweep":
                header, results = _read_header(path, record, by_label)
                by_label[header.train] = header, results
            else:
                result = read_trial(record or {})
                results.pop(result.spec, None)
                results[result.spec] = result
        n_good_bytes += len(line) + 1
    if header is None:
        raise JournalError(f"{path} is not a journal of robust-lr; it was left unchanged")
    others = {
        label: JournalContents(its_header, tuple(its_results.values()))
        for label, (its_header, its_results) in by_label.items()
        if label != header.train
    }
    return JournalContents(header, tuple(results.values()), others), n_good_bytes


@contextlib.contextmanager
def _naming_the_line(path: Path, number: int) -> Iterator[None]:
    try:
        yield
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError):
        raise JournalError(f"line {number} of the journal {path} cannot be read; restore it or remove it") from None


def load_record(line: bytes) -> dict[str, Any] | None:
    """Return the record of a line; None if it holds none."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):  # no JSON, a number of thousands of digits, or nested too deeply
        return None
    return record if isinstance(record, dict) else None


def dump_record(record: Mapping[str, Any]) -> bytes:
    """Return a record as one line of strict JSON."""
    return (json.dumps(record, allow_nan=False) + "\n").encode()


def header_record(header: SweepHeader) -> dict[str, Any]:
    """Return the record of a sweep, with the fields that version 0.1.0 knows before the others."""
    lrs, schedules, seeds = header.requested
    requested = {"learning_rates": lrs, "schedules": schedules, "seeds": seeds} if lrs else {}
    trials = [(trial.schedule, trial.lr, trial.seed) for trial in header.further]
    further = {"fingerprint": dict(header.fingerprint), "requested": requested, "further": trials}
    further["prior"] = header.prior
    return {
        "record": "sweep",
        "format": FORMAT,
        "library": header.library,
        "learning_rates": header.learning_rates,
        "schedules": dict(header.schedules),
        "seeds": header.seeds,
        "train": header.train,
        "created": header.created,
        **{name: value for name, value in further.items() if value},
    }


def _read_header(
    path: Path, record: Mapping[str, Any], by_label: _ByLabel
) -> tuple[SweepHeader, dict[TrialSpec, TrialResult]]:
    if record["format"] > FORMAT:
        raise JournalError(
            f"{path} was written by a newer robust-lr: its journal format is {record['format']}, "
            f"this version reads {FORMAT}"
        )
    label, axes = record["train"], _read_axes(record)
    earlier, results = by_label.pop(label, None) or by_label.pop(None, None) or (None, {})
    requested = _read_axes(record["requested"]) if "requested" in record else earlier.requested if earlier else axes
    header = SweepHeader(
        axes[0],
        MappingProxyType({str(name): str(spec) for name, spec in dict(record["schedules"]).items()}),
        axes[2],
        _text_or_none(label),
        str(record["created"]),
        str(record["library"]),
        MappingProxyType(record.get("fingerprint") or dict(earlier.fingerprint if earlier else {})),
        requested,
        tuple(TrialSpec(str(name), float(lr), int(seed)) for name, lr, seed in record.get("further", ())),
        str(record.get("prior", "")),
    )
    return header, results


def _read_axes(record: Mapping[str, Any]) -> tuple[tuple[float, ...], tuple[str, ...], tuple[int, ...]]:
    lrs, seeds = tuple(map(float, record["learning_rates"])), tuple(map(int, record["seeds"]))
    return lrs, tuple(record["schedules"]), seeds


def trial_record(result: TrialResult) -> dict[str, Any]:
    """Return the record of a trial, with None for numbers that are not finite."""
    return {
        "record": "trial",
        "schedule": result.spec.schedule,
        "lr": float(result.spec.lr),
        "seed": int(result.spec.seed),
        "status": result.status,
        "loss": _finite(result.loss),
        "seconds": _finite(result.seconds),
        "metrics": {name: _finite(value) for name, value in result.metrics.items()},
        "error": result.error,
    }


def read_trial(record: Mapping[str, Any]) -> TrialResult:
    """Return the result of `trial_record`; raise a KeyError, TypeError or ValueError if the record holds none."""
    spec = TrialSpec(str(record["schedule"]), float(record["lr"]), int(record["seed"]))
    status = record["status"]
    if status not in get_args(Status):
        raise ValueError(status)
    loss = _number(record["loss"]) if status == "ok" else math.inf if status == "diverged" else math.nan
    metrics = {name: _number(value) for name, value in record["metrics"].items()}
    return TrialResult(spec, loss, status, _number(record["seconds"]), metrics, _text_or_none(record["error"]))


def _text_or_none(value: object) -> str | None:
    if value is not None and not isinstance(value, str):
        raise TypeError(value)
    return value


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
