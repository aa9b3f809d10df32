"""What a process of test_many_processes runs: a `LearningRateSampler` on a study, until it stops by itself."""

from __future__ import annotations

import math
import time
from pathlib import Path

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock

from robust_lr.search import SearchOptions
from robust_lr_optuna._storages import mend_journal, safe_sqlite_storage
from robust_lr_optuna.learning_rate_sampler import LearningRateSampler

NAME, LR_MIN, LR_MAX, TOLERANCE = "search", 1e-4, 1.0, 0.005
SECONDS = 0.15  # of a trial
MANY_RETRIES = 1000  # nothing is to be given up because it was killed


def valley(lr):
    return 0.3 + 0.03 * math.log(lr / 0.02) ** 2


def open_storage(kind, url):
    if kind != "journal":
        return safe_sqlite_storage(url)
    # As `journal_storage` does, which waits for half a minute when a process was killed that held the lock.
    lock = JournalFileSymlinkLock(url, grace_period=3)
    if Path(url).exists():
        mend_journal(url, lock)
    return JournalStorage(JournalFileBackend(url, lock_obj=lock))


def open_study(kind, url):
    return optuna.create_study(
        study_name=NAME,
        storage=open_storage(kind, url),
        sampler=LearningRateSampler(tolerance=TOLERANCE, options=SearchOptions(noise=0), max_retries=MANY_RETRIES),
        load_if_exists=True,
    )


def work(kind, url, has_begun):
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)

    def objective(trial):
        lr = trial.suggest_float("lr", LR_MIN, LR_MAX, log=True)
        has_begun.set()
        time.sleep(SECONDS)
        return valley(lr)

    open_study(kind, url).optimize(objective)
