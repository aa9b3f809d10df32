"""Optuna's options on the command line: `robust-lr analyze` can read a study."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from robust_lr._text import without_passwords
from robust_lr.cli.plugins import Plugin, SweepSource, require

if TYPE_CHECKING:
    from robust_lr import SweepResult
    from robust_lr.loss_curves import LossCurve


class OptunaOptions(Plugin):
    """The options of Optuna."""

    install = "pip install 'robust-lr[optuna]'"
    source_option = "--optuna"

    def add_options(self, command: str, parser: argparse.ArgumentParser) -> None:
        if command == "analyze":
            option = parser.add_argument_group("Optuna").add_argument
            option(
                "--optuna",
                metavar="STORAGE",
                help="instead of PATH: URL of a storage, or path of its journal; --metric then names an "
                "objective or a user attribute",
            )
            option("--study", metavar="NAME", help="name of the study, needed when the storage holds several")

    def sweep_source(self, options: argparse.Namespace) -> SweepSource | None:
        require(options, "optuna", ("study",))
        if options.optuna is None:
            return None

        names = {
            "lr_name": options.lr_name or "lr",
            "schedule_name": options.schedule_name,
            "seed_name": options.seed_name,
        }

        def read() -> dict[str, SweepResult]:
            from .results import sweep_from_storage

            metric = 0 if options.metric in (None, "loss") else options.metric
            if isinstance(metric, str) and metric.isdecimal():
                metric = int(metric)
            return {"": sweep_from_storage(options.optuna, options.study, metric=metric, **names)}

        def read_curves() -> tuple[list[LossCurve], list[str]]:
            from ._pruning_audit import curves_of_study
            from .results import study_in_storage

            return curves_of_study(study_in_storage(options.optuna, options.study), **names)

        shown = without_passwords(options.optuna)
        return SweepSource(name=options.study or shown, description=shown, read=read, read_curves=read_curves)
