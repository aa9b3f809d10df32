"""The search over a training function: in rounds, by any runner, and with a journal the same however often it dies."""

from __future__ import annotations

import math
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from robust_lr import GeometricGrid, ProcessPoolRunner, RobustLRError, SweepResult, run_sweep
from robust_lr.exceptions import GridError, JournalError, OptionError, RobustLRWarning, ScheduleError
from robust_lr.journal.journal import Journal, read_journal
from robust_lr.prior import ValleyPrior
from robust_lr.runners import evaluate_trial
from robust_lr.search import SearchOptions
from robust_lr.search._result import rounded_up
from robust_lr.search.run import search_learning_rate

RANGE = (1e-4, 1.0)
DIVERGES_FROM = 0.2
SCRIPT = """
import sys
sys.path.insert(0, {folder!r})
from robust_lr import ProcessPoolRunner
from robust_lr import search_learning_rate
from module_to_kill import train
if __name__ == "__main__":
    search_learning_rate(train, 1e-4, 1.0, tolerance=0.001, n_jobs=2, runner=ProcessPoolRunner(2),
                         journal={journal!r}, label="valley")
"""
MODULE = """
import math, time
def train(*, lr, schedule, seed):
    time.sleep(0.05)
    return math.nan if lr >= 0.2 else 0.3 + 0.03 * math.log(lr / 0.02) ** 2
"""


def loss_at(lr):
    return math.nan if lr >= DIVERGES_FROM else 0.3 + 0.03 * math.log(lr / 0.02) ** 2


class Recorder:
    """A training function that knows what it was called with."""

    label = "valley"

    def __init__(self, loss=lambda lr, seed: loss_at(lr)):
        self.loss, self.calls = loss, []

    def __call__(self, *, lr, schedule, seed):
        self.calls.append((lr, seed))
        return self.loss(lr, seed)


class InRounds:
    """A runner that takes all there is, and notes how much that was."""

    def __init__(self, rounds, *, backwards=False):
        self.rounds, self.backwards = rounds, backwards

    def run(self, train, source, schedules):
        while trials := source.take(99):
            self.rounds.append(len(trials))
            for spec in reversed(trials) if self.backwards else trials:
                yield evaluate_trial(train, spec, schedules[spec.schedule])


def run(train=None, *, tolerance=0.001, **options):
    return search_learning_rate(train or Recorder(), *RANGE, tolerance=tolerance, **options)


def trials_in(journal):
    return [result.spec for result in read_journal(journal).results]


def test_the_best_is_within_the_tolerance_and_so_is_the_bound():
    train = Recorder()
    result = run(train, tolerance=0.005)
    assert result.loss <= 0.3 + result.excess_bound
    assert result.excess_bound <= 0.005
    assert result.stop == "tolerance"
    assert result.n_trials == len(train.calls) == len(set(train.calls)) < 10
    assert result.schedule == "cosine"


def test_a_round_has_as_many_trials_as_run_at_a_time():
    rounds = []
    result = run(runner=InRounds(rounds), n_jobs=3)
    assert max(rounds) == 3
    assert sum(rounds) == result.n_trials
    assert len(rounds) < run().n_trials


def test_by_default_a_round_is_as_large_as_the_runner_can_run_at_a_time():
    rounds = []
    runner = InRounds(rounds)
    runner.n_jobs = 2
    run(runner=runner)
    assert max(rounds) == 2


def test_a_runner_is_called_once_for_all_rounds_and_not_where_nothing_runs(tmp_path):
    calls = []

    class Cluster(InRounds):
        def run(self, train, source, schedules):
            calls.append("starts")
            try:
                yield from super().run(train, source, schedules)
            finally:
                calls.append("ends")

    result = run(runner=Cluster([]), journal=tmp_path / "search.jsonl")
    assert calls == ["starts", "ends"] and result.n_trials > 3
    calls.clear()
    assert run(runner=Cluster([]), journal=tmp_path / "search.jsonl") == result
    assert calls == []


def test_the_order_in_which_the_trials_of_a_round_end_changes_nothing():
    forwards, backwards = Recorder(), Recorder()
    run(forwards, n_jobs=3)
    run(backwards, n_jobs=3, runner=InRounds([], backwards=True))
    assert set(forwards.calls) == set(backwards.calls)


@pytest.mark.parametrize("n_jobs", [1, 3])
def test_killed_after_any_trial_it_makes_the_same_trials_none_twice(n_jobs, tmp_path):
    whole = Recorder()
    journal = tmp_path / "whole.jsonl"
    result = run(whole, tolerance=0.01, n_jobs=n_jobs, journal=journal)
    lines = journal.read_bytes().splitlines(keepends=True)
    for n_lines in range(len(lines)):
        part = tmp_path / f"{n_lines}.jsonl"
        part.write_bytes(b"".join(lines[:n_lines]) + lines[n_lines][:20])  # the kill also tore a line
        rest = Recorder()
        done = len(trials_in(part)) if n_lines else 0
        again = run(rest, tolerance=0.01, n_jobs=n_jobs, journal=part)
        assert (again.lr, again.loss, again.excess_bound, again.n_trials) == (
            result.lr,
            result.loss,
            result.excess_bound,
            result.n_trials,
        )
        assert len(rest.calls) == len(whole.calls) - done
        assert set(trials_in(part)) == set(trials_in(journal))
        assert len(trials_in(part)) == result.n_trials


@pytest.mark.filterwarnings("ignore:.* trials failed and count as missing")
@pytest.mark.parametrize("n_jobs", [1, 3])
@pytest.mark.parametrize("fails", [lambda lr: lr > 0.03, lambda lr: lr < 0.003, lambda lr: 0.009 < lr < 0.011])
def test_killed_after_any_trial_it_goes_around_what_fails_as_before(fails, n_jobs, tmp_path):
    def loss(lr, seed):
        if fails(lr):
            raise OSError("the disk is away")
        return loss_at(lr)

    options = {"tolerance": 0.01, "n_jobs": n_jobs, "max_retries": 0}
    journal = tmp_path / "whole.jsonl"
    result = run(Recorder(loss), journal=journal, **options)
    assert result.failed
    lines = journal.read_bytes().splitlines(keepends=True)
    for n_lines in range(1, len(lines) + 1):
        part = tmp_path / f"{n_lines}.jsonl"
        part.write_bytes(b"".join(lines[:n_lines]))
        finished = {(r.spec.lr, r.spec.seed) for r in read_journal(part).results if r.is_final}
        rest = Recorder(loss)
        again = run(rest, journal=part, **options)
        assert (again.lr, again.stop, again.reason, again.failed) == (
            result.lr,
            result.stop,
            result.reason,
            result.failed,
        )
        assert set(trials_in(part)) == set(trials_in(journal))
        assert finished.isdisjoint(rest.calls)


def test_killed_for_real_at_random_moments_with_a_pool_of_processes(tmp_path):
    (tmp_path / "module_to_kill.py").write_text(MODULE)
    journal = tmp_path / "killed.jsonl"
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(folder=str(tmp_path), journal=str(journal)))
    undisturbed = tmp_path / "undisturbed.jsonl"
    run(n_jobs=2, journal=undisturbed)
    moments = random.Random(0)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for n_trials in (2, 5):
        process = subprocess.Popen([sys.executable, str(script)], env=environment, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 200
        while process.poll() is None and n_results(journal) < n_trials and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(moments.uniform(0.0, 0.2))
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert n_results(journal) < len(trials_in(undisturbed))
    subprocess.run([sys.executable, str(script)], env=environment, check=True, timeout=250)
    assert set(trials_in(journal)) == set(trials_in(undisturbed))
    assert n_results(journal) == len(trials_in(undisturbed))


def n_results(journal):
    return journal.read_bytes().count(b'"record": "trial"') if journal.exists() else 0


def test_a_finished_search_runs_nothing_and_finds_the_same(tmp_path):
    journal = tmp_path / "search.jsonl"
    first = run(journal=journal)
    size, again = journal.stat().st_size, Recorder()
    assert run(again, journal=journal) == first
    assert again.calls == []
    assert journal.stat().st_size == size


def test_the_journal_is_that_of_a_sweep(tmp_path):
    journal = tmp_path / "search.jsonl"
    result = run(journal=journal)
    sweep = SweepResult.from_journal(journal)
    assert sweep.n_trials == result.n_trials
    assert sorted({observation.lr for observation in result.history}) == sweep.learning_rates.tolist()
    assert sweep.schedules == ("cosine",)


def test_what_a_sweep_has_measured_is_used(tmp_path):
    journal = tmp_path / "sweep.jsonl"
    cold, warm = Recorder(), Recorder()
    run(cold)
    run_sweep(Recorder(), GeometricGrid(*RANGE, 9), ["cosine", "constant"], 1, journal=journal)
    result = run(warm, journal=journal)
    assert result.n_trials == 9 + len(warm.calls)
    assert sum(observation.external for observation in result.history) > 0
    assert len(warm.calls) < len(cold.calls)
    again = Recorder()
    assert run(again, journal=journal).lr == result.lr
    assert again.calls == []


def test_a_search_on_top_of_a_sweep_can_be_killed_as_well(tmp_path):
    journal = tmp_path / "sweep.jsonl"
    run_sweep(Recorder(), GeometricGrid(*RANGE, 5), ["cosine"], 1, journal=journal)
    before = len(journal.read_bytes().splitlines())
    result = run(journal=journal)
    lines = journal.read_bytes().splitlines(keepends=True)
    for n_lines in range(before, len(lines)):
        part = tmp_path / f"{n_lines}.jsonl"
        part.write_bytes(b"".join(lines[:n_lines]))
        assert run(journal=part).n_trials == result.n_trials
        assert set(trials_in(part)) == set(trials_in(journal))


def test_a_finer_tolerance_goes_on_from_the_coarser_one(tmp_path):
    journal = tmp_path / "search.jsonl"
    coarse, fine = Recorder(), Recorder()
    run(coarse, tolerance=0.05, journal=journal)
    result = run(fine, tolerance=0.0005, journal=journal)
    assert result.excess_bound <= 0.0005
    assert not set(coarse.calls) & set(fine.calls)
    assert result.n_trials == len(coarse.calls) + len(fine.calls)


def test_searches_under_two_schedules_share_a_journal(tmp_path):
    journal = tmp_path / "search.jsonl"
    one, two = run(journal=journal), run(journal=journal, schedule="constant")
    sweep = SweepResult.from_journal(journal)
    assert sweep.schedules == ("cosine", "constant")
    assert sweep.n_trials == one.n_trials + two.n_trials
    train = Recorder()
    run(train, journal=journal)
    assert train.calls == []


def test_each_further_trial_at_a_learning_rate_has_the_next_seed(tmp_path):
    repeated = 0
    for number in range(4):  # whether the search wants a seed again depends on the losses
        noise = random.Random(number)
        train = Recorder(lambda lr, seed, noise=noise: loss_at(lr) + noise.gauss(0, 0.001))
        journal = tmp_path / f"noisy_{number}.jsonl"
        result = run(
            train,
            tolerance=0.003,
            seed=7,
            journal=journal,
            options=SearchOptions(noise=0.002, max_trials=16, noise_trials=99),
        )
        assert len(set(train.calls)) == len(train.calls) == result.n_trials
        for lr, n in Counter(lr for lr, _ in train.calls).items():
            assert sorted(seed for other, seed in train.calls if other == lr) == list(range(7, 7 + n))
            repeated += n > 1
        if repeated:
            break
    assert repeated


def test_a_trial_that_fails_once_runs_again_and_nothing_else_changes(tmp_path):
    def fails_first(lr, seed):
        if len(train.calls) == 2:
            raise OSError("the disk is away")
        return loss_at(lr)

    train, good = Recorder(fails_first), Recorder()
    assert run(train, max_retries=1, journal=tmp_path / "a.jsonl").lr == run(good).lr
    assert Counter(train.calls) == Counter(good.calls) + Counter(train.calls[1:2])


def test_a_learning_rate_at_which_training_fails_is_given_up_and_the_search_goes_around_it(tmp_path):
    def fails_below(lr, seed):
        if lr < 0.001:
            raise OSError("the disk is away")
        return loss_at(lr)

    journal = tmp_path / "search.jsonl"
    train = Recorder(fails_below)
    with pytest.warns(RobustLRWarning, match=r"trials failed and count as missing; the first: OSError: the disk is"):
        result = run(train, tolerance=0.005, max_retries=1, journal=journal)
    tries = Counter(train.calls)
    assert {lr for (lr, _), n in tries.items() if n == 2} == set(result.failed) == {lr for lr, _ in tries if lr < 0.001}
    assert {r.spec.lr for r in read_journal(journal).results if r.status == "failed"} == set(result.failed)
    healed = Recorder()
    run(healed, tolerance=0.005, journal=journal, keep_results=True)
    assert {lr for lr, _ in healed.calls} >= set(result.failed), "the same command tries again what has failed"


def test_a_training_function_that_always_fails_ends_the_search_after_three_learning_rates():
    train = Recorder(lambda lr, seed: 1 / 0)
    with pytest.warns(RobustLRWarning, match=r"3 of 3 trials failed .*: ZeroDivisionError: .*test_run.py, line \d+\)$"):
        result = run(train, max_retries=1)
    assert result.stop == "failures" and math.isnan(result.lr)
    assert len(set(train.calls)) == 3 and len(train.calls) == 6 and len(result.failed) == 3


def test_where_everything_diverges_it_says_so():
    result = run(Recorder(lambda lr, seed: math.inf))
    assert math.isnan(result.lr)
    assert result.stop == "diverged"


def test_max_trials_is_kept_over_restarts(tmp_path):
    journal = tmp_path / "search.jsonl"
    assert run(journal=journal, options=SearchOptions(max_trials=3)).n_trials == 3
    train = Recorder()
    assert run(train, journal=journal, options=SearchOptions(max_trials=4)).stop == "max_trials"
    assert len(train.calls) == 1


def test_another_training_function_or_one_without_a_name_has_no_place_in_the_journal(tmp_path):
    journal = tmp_path / "search.jsonl"
    run(journal=journal)
    other = Recorder()
    other.label = "other"
    with pytest.raises(JournalError, match="the training function is valley in the journal and other here"):
        run(other, journal=journal)
    with pytest.raises(JournalError, match="give it a label"):
        run(lambda *, lr, schedule, seed: lr, journal=tmp_path / "lambda.jsonl")


def test_two_searches_cannot_write_one_journal(tmp_path):
    journal = tmp_path / "search.jsonl"
    run(journal=journal, options=SearchOptions(max_trials=2))
    header = read_journal(journal).header
    axes = {"learning_rates": header.learning_rates, "schedules": header.schedules, "seeds": header.seeds}
    with Journal.open(journal, **axes), pytest.raises(JournalError, match="is being written by another"):
        run(journal=journal)


def test_a_file_that_is_no_journal_is_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("not a journal\n")
    with pytest.raises(JournalError, match="is not a journal"):
        run(journal=tmp_path / "notes.txt")
    assert (tmp_path / "notes.txt").read_text() == "not a journal\n"


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"train": 3}, OptionError),
        ({"lr_max": 1e-4}, GridError),
        ({"lr_min": -1.0}, GridError),
        ({"tolerance": math.nan}, OptionError),
        ({"n_jobs": 0}, OptionError),
        ({"runner": ProcessPoolRunner}, OptionError),
        ({"seed": 0.5}, OptionError),
        ({"schedule": "cosin"}, ScheduleError),
        ({"options": SearchOptions(start=5.0)}, GridError),
        ({"max_retries": -1}, OptionError),
    ],
)
def test_what_cannot_be_is_refused_in_one_line_before_any_training(options, error):
    train = Recorder()
    given = {"train": train, "lr_min": 1e-4, "lr_max": 1.0, "tolerance": 0.01, **options}
    with pytest.raises(error) as refused:
        search_learning_rate(given.pop("train"), given.pop("lr_min"), given.pop("lr_max"), **given)
    assert "\n" not in str(refused.value)
    assert train.calls == []


def test_what_does_not_pickle_is_refused_by_the_pool_as_in_a_sweep(monkeypatch):
    monkeypatch.setattr(sys.modules["__main__"], "__file__", "script.py", raising=False)  # else it is a prompt
    with pytest.raises(RobustLRError, match="must be importable by the worker processes"):
        run(lambda *, lr, schedule, seed: lr, runner=ProcessPoolRunner(1))


def test_elsewhere_than_on_a_terminal_the_progress_is_a_line_a_trial(capsys):
    result = run(progress=True)
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == ""
    assert len(lines) == 1 + result.n_trials
    assert lines[0] == "search from 0.0001 to 1: schedule cosine, seed 0, minimize the loss"
    assert lines[1].startswith("trial 1: lr ")
    assert any("diverged" in line for line in lines)
    assert lines[-1].endswith(f"nothing is better by more than {rounded_up(result.excess_bound)}")
    run()
    assert capsys.readouterr().err == ""


def test_the_file_is_not_made_by_a_search_that_is_refused(tmp_path):
    with pytest.raises(GridError):
        search_learning_rate(Recorder(), 1.0, 0.1, tolerance=0.1, journal=tmp_path / "no.jsonl")
    assert not Path(tmp_path / "no.jsonl").exists()


def test_a_journal_of_another_prior_continues_and_one_line_says_so(tmp_path, capsys):
    def train(*, lr, schedule, seed):
        return 3 + 0.01 * math.log(lr / 0.003) ** 2

    def found(lr):
        prior = lr and ValleyPrior(
            lr=lr, lr_spread=0.3, left_rise=0.006, left_spread=0.3, right_rise=0.006, right_spread=0.3, noise=0.001
        )
        options = {"tolerance": 0.005, "journal": tmp_path / "search.jsonl", "label": "a", "prior": prior}
        result = search_learning_rate(train, 1e-4, 1e-1, progress=True, **options)
        return result, "another prior" in capsys.readouterr().err

    first, said = found(0.003)
    assert not said
    again, said = found(0.003)
    assert (again.history, said) == (first.history, False)
    other, said = found(0.002)
    assert said
    assert {each.lr for each in first.history} <= {each.lr for each in other.history}
    assert found(None)[1]
