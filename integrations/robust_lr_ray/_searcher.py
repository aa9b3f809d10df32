"""The base of both searchers for Ray Tune: it hands out the trials of a `TrialLedger`, and saves the results."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Set
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from ray.tune.search import Searcher
from ray.tune.search.sample import Domain

from robust_lr.exceptions import DataError, OptionError, RobustLRError
from robust_lr.journal import Journal
from robust_lr.runners import failed_trial
from robust_lr.sweep.ledger import TrialLedger, TrialPlan
from robust_lr.trials import TrialResult, TrialSpec

from ._cells import from_list, result_of, to_list

_FORMAT = 1  # of the state in a file
_MODES = {"minimize": "min", "maximize": "max"}  # Tune's words


class _OpenedForEach:
    """A journal that is open only briefly at each outcome, because an interrupted Tuner would keep it locked."""

    def __init__(self, open_it: Callable[[], Journal]) -> None:
        self._open = open_it

    def append(self, result: TrialResult) -> None:
        with self._open() as journal:
            if result.spec not in journal.finished:
                journal.append(result)


class _Plan(TrialPlan, Protocol):
    @property
    def finished(self) -> Set[TrialSpec]: ...


class LedgerSearcher(Searcher):
    """A searcher that takes trials, retries and outcomes from a `TrialLedger`.

    It sets the keys `lr_name` and `sets` in the config of each trial, which `param_space` must leave to it.
    """

    _plan: _Plan
    _ledger: TrialLedger
    _key: str  # of the format in a file of the state

    def __init__(
        self,
        metric: str,
        direction: str,
        journal: str | os.PathLike[str] | None,
        lr_name: str,
        sets: Iterable[str],
    ) -> None:
        if not isinstance(lr_name, str) or not lr_name or lr_name in sets:
            raise OptionError(f"lr_name must be the name of the learning rate in the config, got {lr_name!r}")
        if not isinstance(metric, str) or not metric:
            raise OptionError(f"metric must be the name of what the trainable reports, got {metric!r}")
        if direction not in _MODES:
            raise OptionError(f"direction must be 'minimize' or 'maximize', got {direction!r}")
        super().__init__(metric=metric, mode=_MODES[direction])
        self._lr_name, self._sets = lr_name, frozenset((lr_name, *sets))
        self._path = None if journal is None else Path(journal).absolute()
        self._in_flight = dict[str, TrialSpec]()

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:
        """Raise an OptionError if `TuneConfig` or `param_space` contradicts this searcher."""
        who = type(self).__name__
        for name, given, own in (("metric", metric, self.metric), ("mode", mode, self.mode)):
            if given not in (None, own):
                raise OptionError(f"TuneConfig has {name}={given!r}, but {who} has {own!r}: say the same in both")
        for key, value in config.items():
            if key in self._sets:
                raise OptionError(f"param_space must leave {key!r} to {who}, which sets it for each trial")
            if isinstance(value, Domain) or (isinstance(value, Mapping) and "grid_search" in value):
                raise OptionError(f"param_space may hold only constants beside {who}, got {key!r}: {value}")
        return True

    def suggest(self, trial_id: str) -> Any:
        """Return the config of the next trial; None while more may come, `FINISHED` at the end."""
        for spec in self._ledger.take(1):
            self._in_flight[trial_id] = spec
            return self._config(spec)
        return None if self._more_may_come() else self.FINISHED

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Take the outcome of a trial, and write it to the journal."""
        spec = self._in_flight.pop(trial_id, None) or self._spec_in(result or {})
        if spec is None or spec in self._plan.finished:
            return
        if error or not result or self.metric not in result:
            outcome = failed_trial(spec, f"Tune has no {self.metric!r} of this trial")
        else:
            outcome = result_of(spec, result, loss=self.metric, maximize=self.mode == "max")
        if spec not in self._ledger.in_flight:
            self._ledger.claim(spec)
        self._ledger.record(outcome)

    def save(self, checkpoint_path: str) -> None:
        """Write the state to a file, as JSON."""
        in_flight = {trial_id: to_list(spec) for trial_id, spec in self._in_flight.items()}
        state = {self._key: _FORMAT, **self._state(), "in_flight": in_flight}
        Path(checkpoint_path).write_text(json.dumps(state), encoding="utf-8")

    def restore(self, checkpoint_path: str) -> None:
        """Take the state from a file that `save` wrote, and later results from the journal.

        Raises:
            DataError: when the file cannot be read, or has a schedule of the same name with another spec.
            JournalError: when the journal cannot be read.
        """
        try:
            state = json.loads(Path(checkpoint_path).read_text(encoding="utf-8"))
            if state[self._key] != _FORMAT:
                raise ValueError(f"its format is {state[self._key]}, this reads {_FORMAT}")
            self._take(state, {trial_id: from_list(cell) for trial_id, cell in state["in_flight"].items()})
        except RobustLRError:
            raise
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise DataError(f"{checkpoint_path} is not the state of a {type(self).__name__}: {error}") from None

    def _follow(self, plan: _Plan, *, max_retries: int) -> None:
        log = None if self._path is None else _OpenedForEach(partial(self._open, self._path))
        self._plan, self._ledger = plan, TrialLedger(plan, journal=log, max_retries=max_retries)
        for spec in self._in_flight.values():
            if spec not in plan.finished:
                self._ledger.claim(spec)

    def _open(self, path: Path) -> Journal:
        raise NotImplementedError

    def _config(self, spec: TrialSpec) -> dict[str, Any]:
        raise NotImplementedError

    def _state(self) -> dict[str, Any]:
        raise NotImplementedError

    def _take(self, state: Mapping[str, Any], in_flight: dict[str, TrialSpec]) -> None:
        raise NotImplementedError

    def _more_may_come(self) -> bool:
        return False

    def _spec_in(self, result: Mapping[str, Any]) -> TrialSpec | None:
        return None
