"""Several processes on one study, some of them killed: every cell once, and no learning rate of a search twice."""

from __future__ import annotations

import collections
import functools
import multiprocessing
import random
import signal
import time

import pytest
from optuna.trial import TrialState

from robust_lr.search import LearningRateSearch, SearchOptions
from robust_lr_optuna._study_search import search_result
from tests.optuna.search_worker import LR_MAX, LR_MIN, SECONDS, TOLERANCE, open_study, valley, work

LRS, SEEDS = 12, 2  # a small edition of benchmarks/optuna_chaos.py


@functools.cache
def most_trials_of_an_undisturbed_search(n_workers, n_orders=30):
    """How many trials the search takes at most when nobody is killed, in whatever order the trials end."""
    rng, most = random.Random(0), 0
    for _ in range(n_orders):
        search = LearningRateSearch(LR_MIN, LR_MAX, tolerance=TOLERANCE, options=SearchOptions(extend=False, noise=0))
        running = list[float]()
        while running := running + search.ask(n_workers - len(running)):
            lr = running.pop(rng.randrange(len(running)))
            search.tell(lr, valley(lr))
        most = max(most, search.result.n_trials)
    return most


class Worker:
    """A process that searches until the search is over or it is killed."""

    def __init__(self, *where):
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["pytest", "tests.optuna.search_worker"])
        self.has_begun = context.Event()
        self.process = context.Process(target=work, args=(*where, self.has_begun))
        self.process.start()

    def wait_until_it_trains(self):
        while self.process.is_alive() and not self.has_begun.wait(0.01):
            pass

    def killed(self):
        """Kill it some time after it has begun to train; return whether it had not ended before."""
        self.wait_until_it_trains()
        time.sleep(random.uniform(0, 3 * SECONDS))
        self.process.kill()
        return self.exit_code() == -signal.SIGKILL

    def exit_code(self):
        self.process.join()
        return self.process.exitcode


@pytest.mark.parametrize("kind", ["journal", pytest.param("safe sqlite", marks=pytest.mark.slow)])
def test_a_search_whose_workers_are_killed_in_turn_runs_again_what_was_killed_and_nothing_else(tmp_path, kind):
    where = kind, str(tmp_path / "study.log") if kind == "journal" else f"sqlite:///{tmp_path}/study.db"
    study = open_study(*where)
    workers, n_killed = collections.deque([Worker(*where)]), 0
    workers[0].wait_until_it_trains()  # so that the search is not over before it is killed
    workers += [Worker(*where), Worker(*where)]
    while workers[0].killed():
        n_killed += 1
        workers[0] = Worker(*where)
        workers.rotate()
    assert [worker.exit_code() for worker in workers] == [0, 0, 0]

    done, killed = (
        [trial.params["lr"] for trial in study.get_trials(states=[state]) if trial.params]
        for state in (TrialState.COMPLETE, TrialState.FAIL)
    )
    assert len(set(done)) == len(done) <= most_trials_of_an_undisturbed_search(len(workers))
    assert n_killed >= max(1, len(killed))
    assert search_result(study).excess_bound <= TOLERANCE


@pytest.mark.parametrize("kills", [pytest.param(0, marks=pytest.mark.slow), 2])
def test_every_cell_is_completed_once_whatever_fails_grows_or_is_killed(chaos, storage_url, kills):
    scenario = chaos.Scenario(LRS, SEEDS, failures=0.15, grows=True, kills=kills)
    outcome = chaos.run(*storage_url, scenario, seed=kills)
    assert (outcome.twice, outcome.missing) == (0, 0)
    assert outcome.completed == outcome.cells >= LRS * SEEDS
