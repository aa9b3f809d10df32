"""Ray's options on the command line: a runner for `robust-lr run` and `search`, a source for `robust-lr analyze`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robust_lr.cli.arguments import add_old_name, at_least
from robust_lr.cli.plugins import Plugin, SweepSource, require
from robust_lr.exceptions import OptionError

if TYPE_CHECKING:
    from robust_lr import SweepResult
    from robust_lr.runners import Runner

OF_THE_RUNNER = ("address", "max_concurrent", "gpus_per_trial", "cpus_per_trial", "num_workers", "storage_path")


class RayOptions(Plugin):
    install = "pip install 'robust-lr[ray]'"
    source_option = "--ray"

    def add_options(self, command: str, parser: argparse.ArgumentParser) -> None:
        group = parser.add_argument_group("Ray")
        if command == "analyze":
            group.add_argument("--ray", metavar="DIR", help="instead of PATH: folder of a Ray Tune experiment")
        if command not in ("run", "search"):
            return
        option = group.add_argument
        number: dict[str, Any] = {"type": at_least(0, float), "metavar": "X"}
        option("--ray", action="store_true", help="run the trials on a Ray cluster, or on a Ray started here")
        option("--address", metavar="HOST", help='"auto" for the cluster of this machine, or host:port of its head')
        option(
            "--max-concurrent", type=at_least(1), metavar="N",
            help="trials at a time [default: --n-jobs, or what the cluster can hold]",
        )  # fmt: skip
        option(
            "--gpus-per-trial",
            help="GPUs per worker of a trial; with 0.5, two share one [default: 1 if there are any]",
            **number,
        )
        option("--cpus-per-trial", help="CPUs per worker of a trial [default: 1]", **number)
        option(
            "--num-workers", type=at_least(1), metavar="N", help="processes that train one trial together [default: 1]"
        )
        option(
            "--storage-path", metavar="DIR", help="folder that all nodes share, for checkpoints of unfinished trials"
        )
        add_old_name(parser, "--workers-per-trial", "num_workers", type=at_least(1))

    def make_runner(self, options: argparse.Namespace) -> Runner | None:
        require(options, "ray", OF_THE_RUNNER)
        if not options.ray:
            return None
        cpus, gpus = options.cpus_per_trial, options.gpus_per_trial
        if cpus is not None and gpus is None:
            raise OptionError("give --gpus-per-trial with --cpus-per-trial, 0 for none")
        from .runner import RayRunner

        return RayRunner(
            None if gpus is None else {"cpu": 1.0 if cpus is None else cpus, "gpu": gpus},
            address=options.address,
            num_workers=options.num_workers or 1,
            storage_path=options.storage_path,
            max_concurrent=options.max_concurrent or options.n_jobs or "auto",
            slots="auto" if getattr(options, "packed", False) else None,
            trial_timeout=options.trial_timeout,
            trials_per_worker=options.trials_per_worker,
        )

    def sweep_source(self, options: argparse.Namespace) -> SweepSource | None:
        if options.ray is None:
            return None

        def read() -> dict[str, SweepResult]:
            from .results import sweep_from_experiment

            sweep = sweep_from_experiment(
                options.ray,
                lr_name=options.lr_name or "lr",
                metric=options.metric or "loss",
                schedule_name=options.schedule_name,
                seed_name=options.seed_name,
                direction=options.direction or "minimize",
            )
            return {"": sweep}

        name = Path(options.ray).resolve().name
        return SweepSource(name=name, description=f"the Ray Tune experiment {name}", read=read)
