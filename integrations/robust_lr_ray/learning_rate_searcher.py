"""A searcher for Ray Tune that looks for a learning rate, and ends the experiment when it knows enough."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ray.tune.search import Searcher
from ray.tune.search.sample import Domain

from robust_lr import DataError, LearningRateSearch, RobustLRError, Schedule, SearchResult, TrialSpec, parse_schedule

from .cells import result_of, schedule_text

_FORMAT = 1


class LearningRateSearcher(Searcher):
    """Hands out the learning rates that a `robust_lr.LearningRateSearch` asks for, and ends when that is done.

    For ``tune.TuneConfig(search_alg=LearningRateSearcher(...), num_samples=-1, max_concurrent_trials=...)``; by default
    Tune runs one sample. The trainable reads the learning rate, ``config["seed"]`` (0, and 1 and so on where the search
    asks for a learning rate again), and ``config["schedule"]`` where a schedule was given, a text for
    `robust_lr.parse_schedule`. `param_space` may hold further constants.

    A trial that reports NaN or infinity at its end diverged. One that Tune gave up has no result: its learning rate is
    asked for once more, and then the search goes without it. `Tuner.restore` continues a search where it was saved;
    Tune saves every ten seconds at most, or as often as TUNE_GLOBAL_CHECKPOINT_S says.

    Args:
        lr_min, lr_max: the range, 0 < lr_min < lr_max.
        tolerance: by how much the loss may exceed the least in the range, > 0.
        name: of the learning rate in the config.
        metric: name of the final loss in what the trainable reports.
        mode: "min", or "max" where more is better.
        schedule: the schedule that the trials train under, or its spec.
        options: further ones of `robust_lr.LearningRateSearch`: ratio, start, max_trials, relative, extend, noise.

    Raises:
        RobustLRError: when an argument is wrong.

    Example:
        >>> searcher = LearningRateSearcher(1e-3, 0.1, tolerance=0.005)
        >>> searcher.suggest("first")
        {'lr': 0.01, 'seed': 0}
        >>> searcher.on_trial_complete("first", {"loss": 0.5})
        >>> searcher.result.n_trials
        1
    """

    def __init__(
        self,
        lr_min: float,
        lr_max: float,
        *,
        tolerance: float,
        name: str = "lr",
        metric: str = "loss",
        mode: str = "min",
        schedule: str | Schedule | None = None,
        **options: Any,
    ) -> None:
        for what, value in (("metric", metric), ("name", name)):
            if not isinstance(value, str) or not value:
                raise RobustLRError(f"{what} must be a name, got {value!r}")
        if mode not in ("min", "max"):
            raise RobustLRError(f"mode must be 'min' or 'max', got {mode!r}")
        super().__init__(metric=metric, mode=mode)
        self._search = LearningRateSearch(lr_min, lr_max, tolerance=tolerance, schedule=schedule, **options)
        self._name, self._text = name, None if schedule is None else schedule_text(parse_schedule(schedule))
        self._in_flight = dict[str, float]()
        self._failures, self._n_begun = Counter[float](), Counter[float]()

    @property
    def result(self) -> SearchResult:
        """What the search knows so far."""
        return self._search.result

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:
        """Check that what `TuneConfig` and `param_space` say goes with this; called by Tune where they say anything.

        Raises:
            RobustLRError: when they name another metric or mode, or `param_space` holds more than constants.
        """
        for what, given, own in (("metric", metric, self.metric), ("mode", mode, self.mode)):
            if given not in (None, own):
                raise RobustLRError(
                    f"TuneConfig has {what}={given!r} and LearningRateSearcher {what}={own!r}: say the same in both"
                )
        for key, value in config.items():
            if key in (self._name, "seed") or (key == "schedule" and self._text is not None):
                raise RobustLRError(f"param_space must leave {key!r} to LearningRateSearcher, which sets it")
            if isinstance(value, Domain) or (isinstance(value, Mapping) and "grid_search" in value):
                raise RobustLRError(
                    f"param_space may hold only constants beside LearningRateSearcher, got {key!r}: {value}"
                )
        return True

    def suggest(self, trial_id: str) -> Any:
        """Return the config of the next trial; None while all depends on those that run, `FINISHED` at the end."""
        asked = self._search.ask()
        if not asked:
            return None if self._in_flight else self.FINISHED
        lr = self._in_flight[trial_id] = asked[0]
        config: dict[str, Any] = {self._name: lr, "seed": self._n_begun[lr]}
        self._n_begun[lr] += 1
        return config if self._text is None else config | {"schedule": self._text}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Tell the search what came of a trial."""
        lr = self._in_flight.pop(trial_id, None)
        if lr is None:
            return
        ended = None
        if result and not error and self.metric in result:
            spec = TrialSpec("", lr, 0)
            ended = result_of(spec, result, loss=self.metric, maximize=self.mode == "max")
        if ended is not None and ended.is_final:
            self._search.tell(lr, ended.loss, status="ok" if ended.status == "ok" else "diverged")
            return
        self._failures[lr] += 1
        if self._failures[lr] == 1:
            self._search.forget(lr)  # it may be asked for again; a second time it stays in flight for good
            self._n_begun[lr] -= 1

    def save(self, checkpoint_path: str) -> None:
        """Write the state of the search to a file, as JSON."""
        state = {
            "robust_lr.learning_rate_searcher": _FORMAT,
            "search": self._search.to_dict(),
            "in_flight": self._in_flight,
            "failures": list(self._failures.items()),
            "n_begun": list(self._n_begun.items()),
        }
        Path(checkpoint_path).write_text(json.dumps(state), encoding="utf-8")

    def restore(self, checkpoint_path: str) -> None:
        """Take over the state from a file that `save` wrote.

        Raises:
            DataError: when the file cannot be read.
        """
        try:
            state = json.loads(Path(checkpoint_path).read_text(encoding="utf-8"))
            if state["robust_lr.learning_rate_searcher"] != _FORMAT:
                raise ValueError(f"its format is not {_FORMAT}")
            search = LearningRateSearch.from_dict(state["search"])
            in_flight = {str(trial): float(lr) for trial, lr in state["in_flight"].items()}
            failures, n_begun = (Counter(dict(state[key])) for key in ("failures", "n_begun"))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"{checkpoint_path} cannot be read as the state of a LearningRateSearcher: {error}"
            ) from None
        self._search, self._in_flight, self._failures, self._n_begun = search, in_flight, failures, n_begun
