"""Does every cell run exactly once? Worker processes on one Optuna study, with failures, growth and kills.

    python benchmarks/optuna_chaos.py                          everything, about an hour on 2 cores
    python benchmarks/optuna_chaos.py --storages journal --repeats 3 --only kills

Four processes work on one study with a `GeometricGridSampler` each. In a share of the runs the objective raises; in
some, one worker refines the grid, another extends it and a third adds a seed, while all run; in others, two workers are
killed (SIGKILL) at random moments, while the others go on, and then one worker resumes the study. Afterwards each
combination of learning rate and seed that was ever added must have one completed trial. The storages are a journal
file, `safe_sqlite_storage`, plain SQLite, and a PostgreSQL server that is started for this, where it is installed.

Prints a table and exits with 1 when any cell is missing or was completed twice.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import multiprocessing
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import optuna
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import TrialState

from robust_lr import GeometricGrid
from robust_lr_optuna import GeometricGridSampler, cell_of, fail_stale_trials, journal_storage, safe_sqlite_storage
from robust_lr_optuna._trial_attributes import is_dead, worker_of

STORAGES = ("journal", "safe sqlite", "sqlite", "postgresql")
MANY_RETRIES = 1000  # a cell is to be missing for no other reason than a fault


@dataclass(frozen=True)
class Scenario:
    """The events of a study."""

    n_lrs: int
    n_seeds: int
    failures: float = 0.0
    grows: bool = False
    kills: int = 0
    workers: int = 4
    duration: float = 0.01  # mean seconds of a trial

    def __str__(self) -> str:
        parts = [f"{self.n_lrs} x {self.n_seeds}", f"{self.failures:.0%} failures"]
        parts += ["growth"] * self.grows + [f"{self.kills} kills"] * bool(self.kills)
        return ", ".join(parts)

    def sampler(self) -> GeometricGridSampler:
        """Return the sampler that each worker makes for itself."""
        return GeometricGridSampler(GeometricGrid(1e-4, 1.0, self.n_lrs), seeds=self.n_seeds, max_retries=MANY_RETRIES)


@dataclass(frozen=True)
class Outcome:
    """The contents of a study at its end."""

    cells: int
    completed: int
    twice: int
    missing: int
    failed: int
    superfluous: int
    running: int
    killed: int
    seconds: float

    @property
    def is_exact(self) -> bool:
        """Whether every cell was completed exactly once."""
        return self.completed == self.cells and not self.twice and not self.missing


def open_storage(kind: str, url: str) -> BaseStorage:
    """Return the storage that a worker opens."""
    if kind == "journal":
        return journal_storage(url)
    if kind == "safe sqlite":
        return safe_sqlite_storage(url)
    # On a busy machine SQLite's own patience of 5 seconds is too little for four processes.
    return RDBStorage(url, engine_kwargs={"connect_args": {"timeout": 60}} if kind == "sqlite" else {})


def work(kind: str, url: str, name: str, scenario: Scenario, index: int, seed: int) -> None:
    """Run trials until nothing is left: one worker, whose number says by what it lets the study grow."""
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    rng, sampler, told = random.Random(seed), scenario.sampler(), 0
    study = optuna.load_study(study_name=name, storage=open_storage(kind, url), sampler=sampler)

    def objective(trial: optuna.Trial) -> float:
        lr, replica = trial.suggest_float("lr", 1e-6, 100.0, log=True), trial.suggest_int("seed", 0, 99)
        time.sleep(rng.expovariate(1 / scenario.duration))
        if rng.random() < scenario.failures:
            raise RuntimeError("injected")
        return math.log10(lr) ** 2 + replica

    def grow(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        nonlocal told
        told += 1
        if scenario.grows and told == 2 and index == 0:
            sampler.refine(study)
        elif scenario.grows and told == 2 and index == 1:
            sampler.extend(study, below=1, above=2)
        elif scenario.grows and told == 3 and index == 2:
            sampler.add_seeds(study, [scenario.n_seeds])

    study.optimize(objective, catch=(RuntimeError,), callbacks=[grow])


def run(kind: str, url: str, scenario: Scenario, seed: int) -> Outcome:
    """Return the outcome of a study after all workers, one of which resumed it after the kills."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["optuna", "robust_lr_optuna.grid_sampler", "robust_lr_optuna._storages"])
    rng, name = random.Random(seed), f"chaos-{os.getpid()}-{seed}-{scenario}"
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = open_storage(kind, url)
    study = optuna.create_study(study_name=name, storage=storage)
    began = time.monotonic()
    workers = [
        context.Process(target=work, args=(kind, url, name, scenario, index, rng.getrandbits(32)))
        for index in range(scenario.workers)
    ]
    for worker in workers:
        worker.start()
    for worker in rng.sample(workers, scenario.kills):
        n_entries = rng.randrange(2 * scenario.n_lrs * scenario.n_seeds)
        while worker.is_alive() and len(study.get_trials(deepcopy=False)) < n_entries:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.1))
        worker.kill()
    for worker in workers:
        worker.join()
    if scenario.kills:
        last = context.Process(target=work, args=(kind, url, name, scenario, -1, rng.getrandbits(32)))
        last.start()
        last.join()
        workers.append(last)
    crashed = [worker.exitcode for worker in workers if worker.exitcode not in (0, -9)]
    if crashed:
        raise RuntimeError(f"{len(crashed)} workers crashed on {kind}: {scenario}")
    seconds, killed = time.monotonic() - began, sum(worker.exitcode == -9 for worker in workers)
    outcome = outcome_of(study, scenario.sampler(), seconds, killed)
    if isinstance(storage, RDBStorage):
        storage.remove_session()
        storage.engine.dispose()
    return outcome


def outcome_of(study: optuna.Study, sampler: GeometricGridSampler, seconds: float = 0.0, killed: int = 0) -> Outcome:
    """Count the completed trials of every cell that was ever added, from what the storage holds."""
    fail_stale_trials(study, is_dead=never_noted_or_dead)
    trials = study.get_trials(deepcopy=False)
    wanted = {(f"{cell.lr:.9g}", cell.seed) for cell in sampler.cells(study)}
    done = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    runs = Counter((f"{trial.params['lr']:.9g}", trial.params["seed"]) for trial in done)
    for trial in done:
        cell = cell_of(trial)
        if cell is None or (cell.lr, cell.seed) != (trial.params["lr"], trial.params["seed"]):
            raise RuntimeError(f"trial {trial.number} ran {trial.params}, but claimed {cell}")
    return Outcome(
        cells=len(wanted),
        completed=len(done),
        twice=sum(n - 1 for n in runs.values()),
        missing=len(wanted - set(runs)),
        failed=sum(trial.state == TrialState.FAIL for trial in trials),
        superfluous=sum(trial.state == TrialState.PRUNED for trial in trials),
        running=sum(trial.state == TrialState.RUNNING for trial in trials),
        killed=killed,
        seconds=seconds,
    )


def never_noted_or_dead(trial: optuna.trial.FrozenTrial) -> bool:
    """Whether nobody runs a trial, now that all workers have ended: what the default finds out after a minute."""
    return is_dead(trial) or worker_of(trial) is None


def postgresql_programs() -> Path | None:
    """Return the folder with initdb and pg_ctl, None where PostgreSQL is not installed."""
    on_path = shutil.which("initdb")
    folders = [Path(on_path).parent] if on_path else sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in folders if (folder / "pg_ctl").exists()), None)


@contextlib.contextmanager
def postgresql_server() -> Iterator[str]:
    """Run a private PostgreSQL server, on loopback, in a temporary folder; yield the URL of its database."""
    programs = postgresql_programs()
    if programs is None:
        raise RuntimeError("PostgreSQL is not installed")
    # The server refuses to run as root; Debian's package brings a user for it.
    user = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        if user:
            shutil.chown(folder, "postgres", "postgres")

        def call(program: str, *arguments: str) -> None:
            command = [str(programs / program), "-D", f"{folder}/data", *arguments]
            subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL, **user)

        options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        init = ("--auth=trust", "--username=chaos", "--no-sync", "--encoding=UTF8", "--locale=C")
        call("initdb", *init)
        call("pg_ctl", "-w", "-o", options, "-l", f"{folder}/log", "start")
        try:
            yield f"postgresql+psycopg://chaos@127.0.0.1:{port}/postgres"
        finally:
            call("pg_ctl", "-w", "-m", "immediate", "stop")


def scenarios(repeats: int) -> list[tuple[str, Scenario]]:
    """Return all scenarios with the group that each belongs to."""
    plain = [Scenario(n_lrs, n_seeds, failures) for n_lrs, n_seeds in ((100, 1), (20, 5)) for failures in (0.0, 0.15)]
    kills = [replace(plain[1 + 2 * (i % 2)], grows=True, kills=2, duration=0.02) for i in range(repeats)]
    return [
        *(("plain", scenario) for scenario in plain),
        *(("growth", replace(scenario, grows=True)) for scenario in plain),
        *(("kills", scenario) for scenario in kills),
    ]


def main(arguments: Iterable[str] | None = None) -> int:
    """Run the requested scenarios, print a line for each study, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--storages", nargs="+", choices=STORAGES, default=STORAGES)
    parser.add_argument("--only", nargs="+", choices=("plain", "growth", "kills"), default=("plain", "growth", "kills"))
    parser.add_argument("--repeats", type=int, default=20, help="studies with kills, on each storage")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(None if arguments is None else list(arguments))

    print(
        f"{'storage':<12}{'scenario':<42}{'cells':>6}{'done':>6}{'twice':>6}{'missing':>8}{'failed':>7}{'extra':>8}"
        f"{'left':>5}{'killed':>7}{'s':>7}"
    )
    wrong = 0
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        for kind in options.storages:
            if kind == "postgresql" and postgresql_programs() is None:
                print(f"{kind:<12}not installed")
                continue
            server = stack.enter_context(postgresql_server()) if kind == "postgresql" else ""
            for i, (group, scenario) in enumerate(scenarios(options.repeats)):
                if group not in options.only:
                    continue
                file = f"{folder}/{kind.replace(' ', '-')}-{i}"
                url = server or (file if kind == "journal" else f"sqlite:///{file}.db")
                result = run(kind, url, scenario, options.seed + i)
                wrong += not result.is_exact
                print(
                    f"{kind:<12}{scenario!s:<42}{result.cells:>6}{result.completed:>6}{result.twice:>6}"
                    f"{result.missing:>8}{result.failed:>7}{result.superfluous:>8}{result.running:>5}{result.killed:>7}"
                    f"{result.seconds:>7.1f}{'' if result.is_exact else '  WRONG'}",
                    flush=True,
                )
    print(f"{wrong} studies with a cell that is missing or was completed twice")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
