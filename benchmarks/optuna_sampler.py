"""The cost of a trial with `GeometricGridSampler`, compared with Optuna's GridSampler and RandomSampler.

    python benchmarks/optuna_sampler.py                  about ten minutes on 2 cores
    python benchmarks/optuna_sampler.py --sizes 100 --storages memory

One process, an objective that asks for a learning rate and returns it, a study of N learning rates. Timed are the last
trials of the study, when a cost that grows with the number of trials is largest. GridSampler's grows with its square:
there the study is filled by its own first N - 20 points, added as finished trials, and the last 20 are timed. The
samplers take turns, `--repeats` times, so that other load on the machine hits all; the figures are the medians.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable

import optuna
from optuna.samplers import BaseSampler, GridSampler, RandomSampler
from optuna.trial import TrialState

from robust_lr import GeometricGrid
from robust_lr_optuna import GeometricGridSampler, journal_storage

SPACE = {"lr": optuna.distributions.FloatDistribution(1e-5, 10.0, log=True)}
N_LAST = 20
SAMPLERS: dict[str, Callable[[list[float]], BaseSampler]] = {
    "GeometricGridSampler": GeometricGridSampler,
    "RandomSampler": lambda lrs: RandomSampler(),
    "GridSampler": lambda lrs: GridSampler({"lr": lrs}, seed=0),
}


def objective(trial: optuna.Trial) -> float:
    """Return the learning rate, at once."""
    return trial.suggest_float("lr", 1e-5, 10.0, log=True)


def prefill(study: optuna.Study, sampler: BaseSampler, lrs: list[float]) -> None:
    """Leave the study with its last trials to run."""
    n = len(lrs) - N_LAST
    if not isinstance(sampler, GridSampler):
        study.optimize(objective, n_trials=n)
        return
    for i in range(n):
        (lr,) = sampler._all_grids[i]
        attrs = {"search_space": sampler._search_space, "grid_id": i}
        study.add_trial(optuna.create_trial(params={"lr": lr}, distributions=SPACE, value=lr, system_attrs=attrs))


def seconds_per_trial(name: str, n: int, storage: str) -> float:
    """Return the median time of the last trials of a study of n learning rates."""
    lrs = [float(lr) for lr in GeometricGrid(1e-4, 1.0, n).values]
    with tempfile.TemporaryDirectory() as folder:
        sampler = SAMPLERS[name](lrs)
        study = optuna.create_study(
            sampler=sampler, storage=journal_storage(f"{folder}/study.log") if storage == "journal" else None
        )
        prefill(study, sampler, lrs)
        times = []
        for _ in range(N_LAST):
            began = time.perf_counter()
            study.optimize(objective, n_trials=1)
            times.append(time.perf_counter() - began)
        n_done = len(study.get_trials(deepcopy=False, states=[TrialState.COMPLETE]))
        if n_done != n:
            raise RuntimeError(f"{name} ran {n_done} of {n} trials")
        return statistics.median(times)


def main() -> None:
    """Print a table of milliseconds per trial."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 1000, 3000])
    parser.add_argument("--storages", nargs="+", choices=("memory", "journal"), default=["memory", "journal"])
    parser.add_argument("--samplers", nargs="+", choices=SAMPLERS, default=list(SAMPLERS))
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    print(f"{'storage':<9}{'N':>6}" + "".join(f"{name:>22}" for name in options.samplers) + "   ms a trial")
    for storage in options.storages:
        for n in options.sizes:
            times: dict[str, list[float]] = {name: [] for name in options.samplers}
            for repeat in range(options.repeats):
                for name in options.samplers:
                    if name != "GridSampler" or repeat == 0:
                        times[name].append(seconds_per_trial(name, n, storage))
            medians = "".join(f"{1000 * statistics.median(times[name]):>22.3f}" for name in options.samplers)
            print(f"{storage:<9}{n:>6}{medians}", flush=True)


if __name__ == "__main__":
    main()
