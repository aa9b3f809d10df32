"""A search that brackets the best learning rate in shorter trainings, and confirms it at full length."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np
import pytest

from robust_lr import CommandTask, SearchOptions, search_learning_rate
from robust_lr.exceptions import JournalError, OptionError, RobustLRError, RobustLRWarning
from robust_lr.journal.journal import read_journal
from robust_lr.prior import ValleyPrior
from robust_lr.search import SearchStart
from robust_lr.search.horizons import Carried

TOTAL, TOLERANCE = 1000, 0.005


class Training:
    """Valleys whose best learning rate is `best` at full length and drifts with a power of the length."""

    label = "training"

    def __init__(self, *, best=0.01, drift=0.0, bend=0.02, broken_above=math.inf):
        self.best, self.drift, self.bend, self.broken_above = best, drift, bend, broken_above
        self.calls = []

    def loss(self, lr, total_steps):
        best = self.best * (total_steps / TOTAL) ** self.drift
        return 2 + 3 / total_steps**0.3 + self.bend * math.log(lr / best) ** 2

    def __call__(self, *, lr, schedule, seed, total_steps):
        self.calls.append((total_steps, lr, seed))
        return math.inf if lr > self.broken_above else self.loss(lr, total_steps)

    def excess(self, lr):
        return self.loss(lr, TOTAL) - self.loss(self.best, TOTAL)


def search(train, horizons=(0.1, 1), lr_min=1e-4, lr_max=1.0, **options):
    given = {"tolerance": TOLERANCE, "total_steps": TOTAL, "progress": False, **options}
    given.setdefault("options", SearchOptions(noise=0.0))
    return search_learning_rate(train, lr_min, lr_max, horizons=list(horizons), **given)


def test_short_trainings_find_the_learning_rate_and_the_full_length_confirms_it():
    train = Training()
    result = search(train)
    assert train.excess(result.lr) <= TOLERANCE
    assert result.stop == "horizons"
    assert result.n_trials <= 3
    assert [steps for steps, _, _ in train.calls] == [100] * result.shorter[0].n_trials + [1000] * result.n_trials
    assert result.cost == pytest.approx(result.n_trials + 0.1 * result.shorter[0].n_trials)
    assert search(Training(), horizons=[1]).cost > result.cost + 1


@pytest.mark.parametrize("drift", [-0.3, -0.15, 0.0, 0.15, 0.3])
@pytest.mark.parametrize("bend", [0.005, 0.02, 0.1])
def test_the_best_may_drift_from_length_to_length(drift, bend):
    train = Training(drift=drift, bend=bend)
    assert train.excess(search(train).lr) <= TOLERANCE


def test_the_losses_of_different_lengths_are_never_compared():
    train = Training()
    result = search(train, horizons=[0.1, 0.3, 1])
    assert [each.total_steps for each in (*result.shorter, result)] == [100, 300, 1000]
    for each in (*result.shorter, result):
        assert {(o.lr, o.loss) for o in each.history} == {
            (lr, train.loss(lr, steps)) for steps, lr, _ in train.calls if steps == each.total_steps
        }


def test_several_short_horizons_tell_where_the_drift_leads():
    def result_of(steps, best):
        train = Training(best=best)
        found = search(train, horizons=[1], options=SearchOptions(noise=0.0, start=best, start_factor=4.0))
        return type(found)(**{**vars(found), "total_steps": steps})

    one = [result_of(100, 0.02)]
    two = [result_of(100, 0.02), result_of(300, 0.015)]
    assert Carried.over(one, TOTAL, None).center == pytest.approx(math.log(0.02), abs=0.05)
    extrapolated = Carried.over(two, TOTAL, None)
    assert extrapolated.center < math.log(0.015) - 0.05
    assert extrapolated.std < Carried.over(one, TOTAL, None).std


@pytest.mark.parametrize("lengths", [(100,), (500,), (100, 300), (50, 200, 600)])
def test_what_is_carried_over_is_the_posterior_of_a_straight_line(lengths):
    rng = np.random.default_rng(len(lengths))
    bests = np.exp(rng.uniform(-5, -3, len(lengths)))
    results = []
    for steps, best in zip(lengths, bests, strict=True):
        found = search(Training(best=best), horizons=[1], options=SearchOptions(noise=0.0, start=best, start_factor=4))
        results.append(type(found)(**{**vars(found), "total_steps": steps}))
    carried = Carried.over(results, TOTAL, None)
    # The twin: N(0, 1e4) for the level and N(0, 0.18^2) for the slope, conditioned on the observations.
    rows = np.column_stack([np.ones(len(lengths)), np.log(np.array(lengths) / TOTAL)])
    prior = np.diag([1e4, 0.18**2])
    gain = prior @ rows.T @ np.linalg.inv(rows @ prior @ rows.T + 0.15**2 * np.eye(len(lengths)))
    assert carried.center == pytest.approx((gain @ np.log(bests))[0], abs=1e-3)
    assert carried.std == pytest.approx(math.sqrt((prior - gain @ rows @ prior)[0, 0]), rel=1e-3)


def test_a_start_known_beforehand_saves_full_length_trials():
    def start_at(steps):
        return SearchStart(lr=0.01 * (steps / TOTAL) ** 0.4, factor=1.2)

    train = Training(drift=0.4)
    result = search(train, start_at=start_at)
    assert (result.n_trials, result.stop) == (1, "horizons")
    assert result.shorter[0].n_trials <= 4
    assert train.excess(result.lr) <= TOLERANCE


def test_a_prior_for_each_length_saves_trials_of_both_lengths():
    def start_at(steps):
        best = 0.01 * (steps / TOTAL) ** 0.4
        return ValleyPrior(
            lr=1.1 * best, lr_spread=0.2, left_rise=0.0096, left_spread=0.2, right_rise=0.0096, right_spread=0.2,
            left_power=2.0, noise=0.001,
        )  # fmt: skip

    for horizons, n_short in (((1,), 0), ((0.1, 1), 3)):
        train = Training(drift=0.4)
        result = search(train, horizons=horizons, start_at=start_at)
        assert (result.n_trials, result.stop) == (1, "horizons")
        assert sum(each.n_trials for each in result.shorter) <= n_short
        assert train.excess(result.lr) <= TOLERANCE
    assert "earlier sweeps expect it" in search(Training(), horizons=[1], start_at=start_at).reason


@pytest.mark.parametrize(("tolerance", "required"), [("0.2%", 0.975), (TOLERANCE, 1.0)])
def test_a_prior_that_knows_too_little_guides_the_full_length_but_does_not_end_it(tolerance, required):
    prior = ValleyPrior(
        lr=0.011, lr_spread=0.2, left_rise=0.0096, left_spread=0.2, right_rise=0.0096, right_spread=0.2,
        left_power=2.0, noise=0.001, required=required,
    )  # fmt: skip
    result = search(Training(), horizons=[1], start_at=lambda steps: prior, tolerance=tolerance)
    assert (result.n_trials > 1, result.stop) == (True, "tolerance")


def test_the_result_says_what_it_cost_and_what_carries_the_claim():
    result = search(Training())
    text = str(result)
    n_shorter = result.shorter[0].n_trials
    assert f"of full length and {n_shorter} shorter, at the cost of {result.cost:.2g} full-length trainings)" in text
    assert "At 100 steps the best was " in text
    assert "schedule cosine, 1000 steps" in text.lower()
    assert "othing is better by more than the tolerance, with a probability of 0.9" in text or "neighbors" in text


def test_a_start_is_that_of_the_shortest_training_and_a_note_says_what_its_factor_counts_as():
    def first_trials(factor):
        train = Training()
        result = search(train, options=SearchOptions(noise=0.0, start=0.02, start_factor=factor))
        return train.calls[0], [note for note in result.notes if "start_factor" in note]

    assert first_trials(1.2) == (
        (100, 0.02, 0),
        [
            "a start_factor of 1.2 counts as 4 with horizons: the shorter trainings bracket the best with steps of a "
            "factor of 2 or more"
        ],
    )
    assert first_trials(8.0) == ((100, 0.02, 0), [])


def test_without_a_bound_the_claim_stands_first_and_is_not_called_unknown():
    result = search(Training(bend=0.005))
    lines = str(result).splitlines()
    assert result.stop == "horizons" and result.excess_bound is None
    assert lines[1].startswith("Nothing is better by more than the tolerance, with a probability of 0.9")
    assert "unknown" not in str(result) and " At 0." not in str(result)
    assert "keep total_steps and leave out horizons: an ordinary search proves a bound" in str(result)


def test_where_everything_diverges_at_a_short_length_the_full_length_is_searched_as_ever():
    train = Training(best=1e-4, broken_above=1e-5)
    result = search(train, lr_min=1e-3, lr_max=0.1, options=SearchOptions(noise=0.0, extend=False))
    assert result.stop == "diverged"
    assert math.isnan(result.lr)


def test_next_to_a_cliff_the_search_goes_on_below_it():
    train = Training(best=0.02, broken_above=0.021)
    result = search(train)
    assert train.excess(result.lr) <= TOLERANCE


def test_several_at_a_time_find_the_same():
    results = [search(Training(drift=0.2), n_jobs=n) for n in (1, 3)]
    assert results[0].lr == pytest.approx(results[1].lr, rel=0.5)
    assert all(Training(drift=0.2).excess(result.lr) <= TOLERANCE for result in results)


def test_max_trials_holds_at_each_length():
    result = search(Training(), options=SearchOptions(noise=0.0, max_trials=2))
    assert (result.shorter[0].n_trials, result.n_trials) == (2, 2)
    assert result.stop in ("max_trials", "horizons")


def test_a_search_whose_time_is_over_says_that_the_full_length_is_left_and_goes_on_later(tmp_path):
    class Slow(Training):
        def __call__(self, **trial):
            time.sleep(0.02)
            return super().__call__(**trial)

    options = {"journal": tmp_path / "search.jsonl"}
    first = search(Slow(), time_budget=0.03, **options)
    assert (first.stop, first.total_steps, first.shorter) == (None, 100, ())
    assert first.notes[-1] == "no training of full length has run yet"
    last = search(Slow(), **options)
    assert (last.stop, last.total_steps) == ("horizons", TOTAL)


def test_code_that_fails_at_a_short_length_is_not_run_at_full_length():
    class Broken(Training):
        def __call__(self, **trial):
            loss = super().__call__(**trial)
            if len(self.calls) > 1:
                raise OSError("the disk is away")
            return loss

    train = Broken()
    with pytest.warns(RobustLRWarning, match="the disk is away"):
        result = search(train, max_retries=0)
    assert result.stop == "failures"
    assert {steps for steps, _, _ in train.calls} == {100}


# --- the journal ------------------------------------------------------------------------------------------------------


def test_a_killed_search_goes_on_and_no_training_of_any_length_runs_twice(tmp_path):
    class Killed(Exception):
        pass

    whole = Training()
    expected = search(whole)

    class Mortal(Training):
        left = 0

        def __call__(self, **trial):
            if not self.left:
                raise KeyboardInterrupt
            self.left -= 1
            return super().__call__(**trial)

    calls = []
    for _ in range(len(whole.calls) + 1):
        train = Mortal()
        train.left = 1
        try:
            result = search(train, journal=tmp_path / "search.jsonl", label="training")
        except KeyboardInterrupt:
            calls += train.calls
            continue
        break
    calls += train.calls
    assert calls == whole.calls
    assert (result.lr, result.cost, result.stop) == (expected.lr, expected.cost, expected.stop)


def test_the_journal_holds_each_length_under_its_own_label(tmp_path):
    path = tmp_path / "search.jsonl"
    result = search(Training(), journal=path)
    contents = read_journal(path)
    assert contents.header.train == "training(total_steps=1000)"
    assert len(contents.results) == result.n_trials
    assert {label: len(each.results) for label, each in contents.others.items()} == {
        "training(total_steps=100)": result.shorter[0].n_trials
    }


def test_a_training_function_without_a_name_is_refused_a_journal(tmp_path):
    def train(*, lr, schedule, seed, total_steps):
        return lr

    with pytest.raises(JournalError, match="cannot identify train by its name"):
        search(train, journal=tmp_path / "search.jsonl")


# --- what takes total_steps -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Task:
    total_steps: int = 1

    def __call__(self, *, lr, schedule, seed):
        return Training().loss(lr, self.total_steps)


def test_a_task_with_a_field_total_steps_is_trained_at_each_length():
    result = search(Task())
    assert [each.total_steps for each in (*result.shorter, result)] == [100, 1000]
    assert Training().excess(result.lr) <= TOLERANCE


def test_a_command_runs_each_length_in_a_folder_of_its_own(tmp_path):
    code = "import math; print(2 + 3/{total_steps} + .02 * math.log({lr} / .01)**2)"
    task = CommandTask(
        f'python3 -c "{code}"', metric_regex=r"(\S+)", total_steps=TOTAL, trials_dir=tmp_path / "trials"
    )  # fmt: skip
    result = search(task, options=SearchOptions(noise=0.0, start=0.01, start_factor=4.0), lr_min=1e-3, lr_max=0.1)
    assert 0.006 < result.lr < 0.016
    assert sorted(each.name for each in (tmp_path / "trials").iterdir()) == ["100-steps", "1000-steps"]


def no_steps(*, lr, schedule, seed):
    return lr


@pytest.mark.parametrize(
    ("train", "options", "words"),
    [
        (no_steps, {}, "takes it, but no_steps does not: add the parameter"),
        (CommandTask("echo {lr}", metric_regex="(.*)"), {}, r"the command has no \{total_steps\}: add it"),
        (Training(), {"horizons": [0.3, 0.1, 1]}, "horizons must be ascending shares of total_steps that end with 1"),
        (Training(), {"horizons": [0.1, 0.3]}, "horizons must be ascending shares of total_steps that end with 1"),
        (Training(), {"horizons": []}, "horizons must be ascending shares of total_steps that end with 1"),
        (Training(), {"horizons": [0, 1]}, "a horizon must be a finite number > 0 and <= 1, got 0"),
        (Training(), {"horizons": [0.1, 1], "total_steps": 1}, "horizons of 1 steps must differ by a step at least"),
        (Training(), {"total_steps": 0}, "total_steps must be a whole number of at least 1, got 0"),
        (no_steps, {"total_steps": None}, "horizons and start_at need total_steps"),
    ],
    ids=["function", "command", "descending", "no 1", "empty", "zero", "equal", "no steps", "no total_steps"],
)
def test_what_cannot_be_searched_over_horizons_is_refused_before_the_first_trial(train, options, words):
    with pytest.raises(OptionError, match=words) as refused:
        search(train, **{"horizons": [0.1, 1], **options})
    assert isinstance(refused.value, RobustLRError)
    assert "\n" not in str(refused.value)


def test_total_steps_alone_are_passed_on_to_the_training():
    train = Training()
    result = search_learning_rate(train, 1e-3, 0.1, tolerance=TOLERANCE, total_steps=TOTAL, progress=False)
    assert {steps for steps, _, _ in train.calls} == {TOTAL}
    assert (result.shorter, result.cost) == ((), result.n_trials)
