"""Contract tests for runners and schedules: a plug-in inherits them to check its own.

In a test file of your own, with pytest:

    from robust_lr.testing import RunnerContract, ScheduleContract

    class TestMyRunner(RunnerContract):
        @pytest.fixture
        def runner(self):
            return MyRunner()

    class TestMySchedule(ScheduleContract):
        @pytest.fixture(params=[MySchedule(), MySchedule(floor=0.1)], ids=str)
        def schedule(self, request):
            return request.param

The training functions are at module level, so that they pickle; your own tests may use them too.
"""
# ruff: noqa: S101

from __future__ import annotations

import functools
import math
import multiprocessing
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from .exceptions import TrialDiverged, TrialError
from .runners import Runner, TrialList
from .schedules import Constant, CosineDecay, Schedule, parse_schedule
from .sweep.ledger import TrialLedger
from .trials import TrainFunction, TrialResult, TrialSpec, expand_trials

SCHEDULES: Mapping[str, Schedule] = {"constant": Constant(), "cosine": CosineDecay()}
LEARNING_RATES = (0.125, 0.25, 0.5, 1.0)


def train_quadratic(*, lr: float, schedule: Schedule, seed: int) -> dict[str, float]:
    """Gradient descent on ``x**2 / 2`` with noise in the gradient; 20 steps. Returns the metric "distance" too."""
    noise = np.random.default_rng(seed).normal(size=20)
    x = 1.0
    for rate, z in zip(lr * schedule(np.arange(20), 20), noise, strict=True):
        x -= float(rate) * (x + float(z))
    return {"loss": x * x / 2, "distance": abs(x)}


def train_eventful(*, lr: float, schedule: Schedule, seed: int) -> dict[str, float]:
    """Return NaN at lr 0.125 and infinity at 0.25; raise `TrialDiverged` at 0.5, and ValueError for seed 1 at 1.0."""
    if lr == 0.5:
        raise TrialDiverged("loss above 1e6")
    if lr == 1.0 and seed == 1:
        raise ValueError(f"no data for seed {seed}")
    return {"loss": {0.125: math.nan, 0.25: math.inf}.get(lr, lr), "steps": 7}


def train_too_large(*, lr: float, schedule: Schedule, seed: int) -> float:
    """Run out of memory."""
    raise MemoryError("no room for 1 TiB")


def train_wrongly(*, lr: float, schedule: Schedule, seed: int) -> float:
    """Forget to return the loss."""
    return None  # type: ignore[return-value]


def train_failing_once(*, lr: float, schedule: Schedule, seed: int, folder: str) -> float:
    """Raise OSError on the first call for each learning rate, then return lr; remembers the calls in `folder`."""
    seen = Path(folder, f"{lr!r}-{seed}")
    if not seen.exists():
        seen.touch()
        raise OSError("the file server is away")
    return lr


class RunnerContract:
    """The tests that every `Runner` must pass; a subclass provides the fixture `runner`."""

    @pytest.fixture
    def runner(self) -> Runner:
        """Return the runner to test."""
        raise NotImplementedError("a subclass of RunnerContract overrides the fixture `runner`")

    def test_runs_each_trial_exactly_once(self, runner: Runner) -> None:
        """There are as many results as trials, one for each."""
        trials = expand_trials(SCHEDULES, LEARNING_RATES, (0, 1))
        found = [result.spec for result in run_trials(runner, train_quadratic, trials)]
        assert len(found) == len(trials) and set(found) == set(trials), "each trial must be run exactly once"

    def test_gives_the_numbers_of_a_plain_loop(self, runner: Runner) -> None:
        """The same losses and metrics, to the bit; the time is measured."""
        trials = expand_trials(SCHEDULES, LEARNING_RATES[:2], (0, 3))
        for spec, result in _run(runner, train_quadratic, trials).items():
            plain = train_quadratic(lr=spec.lr, schedule=SCHEDULES[spec.schedule], seed=spec.seed)
            assert (result.status, result.loss) == ("ok", plain["loss"]), f"another loss than in a plain loop: {result}"
            assert dict(result.metrics) == {"distance": plain["distance"]}, f"the metrics must be kept: {result}"
            assert result.error is None and result.seconds >= 0, f"seconds must be measured: {result}"

    def test_nan_infinity_and_trial_diverged_are_diverged(self, runner: Runner) -> None:
        """The loss is +inf and the status "diverged", with metrics and message."""
        nan, infinity, raised = _losses_of(runner, train_eventful, LEARNING_RATES[:3])
        assert {(r.status, r.loss) for r in (nan, infinity, raised)} == {("diverged", math.inf)}, (
            nan,
            infinity,
            raised,
        )
        assert dict(nan.metrics) == {"steps": 7.0}, f"a diverged trial keeps its metrics: {nan}"
        assert "loss above 1e6" in (raised.error or ""), f"the text of TrialDiverged must be kept: {raised}"

    def test_an_exception_fails_its_trial_and_no_other(self, runner: Runner) -> None:
        """The status is "failed", the loss NaN, and `error` holds the traceback."""
        trials = expand_trials(["constant"], [1.0], (0, 1, 2))
        results = {spec.seed: result for spec, result in _run(runner, train_eventful, trials).items()}
        assert [results[seed].status for seed in (0, 1, 2)] == ["ok", "failed", "ok"], results
        assert math.isnan(results[1].loss), f"a failed trial has a loss of NaN: {results[1]}"
        assert "ValueError: no data for seed 1" in (results[1].error or ""), f"the exception must be kept: {results[1]}"

    def test_out_of_memory_has_a_status_of_its_own(self, runner: Runner) -> None:
        """The status is "out_of_memory", the loss NaN, and `error` holds the traceback."""
        (result,) = _losses_of(runner, train_too_large, [1.0])
        assert result.status == "out_of_memory" and math.isnan(result.loss), f"no memory is no other failure: {result}"
        assert "no room for 1 TiB" in (result.error or ""), f"the exception must be kept: {result}"

    def test_a_failed_trial_is_tried_again(self, runner: Runner, tmp_path: Path) -> None:
        """A trial that fails once and then succeeds is "ok"."""
        train = functools.partial(train_failing_once, folder=str(tmp_path))
        results = _losses_of(runner, train, LEARNING_RATES[:3], max_retries=1)
        assert [r.loss for r in results] == list(LEARNING_RATES[:3]), f"a failed trial must be tried again: {results}"

    def test_a_wrong_return_value_is_said_clearly(self, runner: Runner) -> None:
        """The error says what was expected and what came instead."""
        with pytest.raises(TrialError, match="as a number, got None"):
            _losses_of(runner, train_wrongly, [1.0])

    def test_no_trials_no_results(self, runner: Runner) -> None:
        """An empty list of trials is not an error."""
        assert list(runner.run(train_quadratic, TrialList([]), SCHEDULES)) == [], "no trials, no results"

    def test_closing_early_leaves_no_processes(self, runner: Runner) -> None:
        """Closing the iterator after the first result leaves no child process behind."""
        before = set(multiprocessing.active_children())
        trials = TrialList(expand_trials(SCHEDULES, LEARNING_RATES, range(4)))
        results = runner.run(train_quadratic, trials, SCHEDULES)
        next(results)
        if hasattr(results, "close"):
            results.close()
        del results
        assert set(multiprocessing.active_children()) == before, "child processes were left behind"


class ScheduleContract:
    """The tests that every schedule must pass; a subclass provides the fixture `schedule`.

    Set `has_spec` to False for schedules that `parse_schedule` cannot build from their text.
    """

    has_spec = True

    @pytest.fixture
    def schedule(self) -> Schedule:
        """Return the schedule to test."""
        raise NotImplementedError("a subclass of ScheduleContract overrides the fixture `schedule`")

    def test_is_a_schedule(self, schedule: Schedule) -> None:
        """It has a degree and can be called."""
        assert isinstance(schedule, Schedule), "a schedule has __call__(step, total_steps) and degree"

    @pytest.mark.parametrize("shape", [(), (1,), (5,), (2, 3), (0,)], ids=str)
    def test_is_shaped_like_step(self, schedule: Schedule, shape: tuple[int, ...]) -> None:
        """The multiplier is float64 and has the shape of step."""
        multiplier = schedule(np.zeros(shape, dtype=int), 100)
        assert multiplier.shape == shape and multiplier.dtype == np.float64, (multiplier.shape, multiplier.dtype)

    @pytest.mark.parametrize("total_steps", [50, 1000, 12345])
    def test_stays_in_0_to_1_and_does_not_rise_after_its_peak(self, schedule: Schedule, total_steps: int) -> None:
        """The multipliers are finite, in [0, 1], and never rise once they have reached their largest value."""
        h = schedule(np.arange(total_steps + 1), total_steps)
        assert np.all(np.isfinite(h)) and h.min() >= 0 and h.max() <= 1, (h.min(), h.max())
        assert np.all(np.diff(h[h.argmax() :]) <= 1e-12), "the learning rate must not rise after its peak"

    def test_is_constant_after_total_steps(self, schedule: Schedule) -> None:
        """Training for longer than planned never makes the learning rate rise again."""
        assert np.ptp(schedule([100, 101, 150, 10_000], 100)) == 0, "must stay where it ended"

    def test_one_step_or_many_agree(self, schedule: Schedule) -> None:
        """A scalar step and an array of steps agree except in the last bit, where numpy's powers differ."""
        one_by_one = [float(schedule(step, 100)) for step in range(101)]
        np.testing.assert_allclose(one_by_one, schedule(np.arange(101), 100), rtol=1e-13)

    def test_pickles(self, schedule: Schedule) -> None:
        """A pickled schedule is equal, has the same text, and gives the same numbers."""
        copy = pickle.loads(pickle.dumps(schedule))
        assert copy == schedule and str(copy) == str(schedule), f"{schedule} changed in pickling: {copy}"
        assert copy(np.arange(101), 100).tolist() == schedule(np.arange(101), 100).tolist()

    def test_spec_reads_back(self, schedule: Schedule) -> None:
        """``parse_schedule(str(schedule))`` is the schedule."""
        if not self.has_spec:
            pytest.skip("these schedules cannot be built from their text")
        assert parse_schedule(str(schedule)) == schedule, f"{schedule} reads back as another schedule"

    def test_degree_is_the_log_slope_at_the_end(self, schedule: Schedule) -> None:
        """``h ~ (1 - u)**degree`` as u -> 1; without a degree it levels off above zero."""
        total_steps = 10**7
        far, near = schedule([total_steps - 10_000, total_steps - 1000], total_steps)
        assert near > 0, "must not reach zero before the end"
        slope = math.log10(far / near)
        assert abs(slope - (schedule.degree or 0.0)) < 0.02, f"degree is {schedule.degree}, the decay has {slope:.3f}"
        if schedule.degree is None:
            assert schedule(total_steps, total_steps) > 0, "a schedule that ends at zero has a degree"


class _Trials:
    """A plan of given trials."""

    def __init__(self, trials: Sequence[TrialSpec]) -> None:
        self._trials = list(trials)

    def next_trials(self) -> list[TrialSpec]:
        trials, self._trials = self._trials, []
        return trials

    def add(self, result: TrialResult) -> None:
        pass


def run_trials(
    runner: Runner,
    train: TrainFunction,
    trials: Sequence[TrialSpec],
    schedules: Mapping[str, Schedule] = SCHEDULES,
    *,
    max_retries: int = 0,
) -> list[TrialResult]:
    """Have a runner carry out these trials; return the outcomes in order of completion."""
    return list(TrialLedger(_Trials(trials), max_retries=max_retries).run(runner, train, schedules))


def _run(runner: Runner, train: TrainFunction, trials: Sequence[TrialSpec]) -> dict[TrialSpec, TrialResult]:
    results = {result.spec: result for result in run_trials(runner, train, trials)}
    assert set(results) == set(trials), "each trial must have a result"
    return results


def _losses_of(
    runner: Runner, train: TrainFunction, lrs: Sequence[float], *, max_retries: int = 0
) -> list[TrialResult]:
    trials = [TrialSpec("constant", lr, 0) for lr in lrs]
    results = {result.spec: result for result in run_trials(runner, train, trials, max_retries=max_retries)}
    return [results[trial] for trial in trials]
