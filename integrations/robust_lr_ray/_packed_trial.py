"""A Tune trial that is a pack: many learning rates trained together on one GPU, with a result row for each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from robust_lr import PackedRunner, parse_schedule
from robust_lr.exceptions import OptionError
from robust_lr.runners import TrialList
from robust_lr.trials import TrainFunction, TrialSpec

from ._cells import report_of


def packed_trial(
    task: TrainFunction, *, lrs_per_trial: int | Literal["auto"] = "auto", engine: str = "auto", strict: bool = False
) -> Callable[[dict[str, Any]], None]:
    """Return a Tune function that trains all learning rates of its config together, and reports a row for each.

    The config has "lrs", a list of learning rates, "schedule", a text for `robust_lr.parse_schedule`, and "seed". A row
    has "lr", "schedule", "seed", "packed" (True), "loss", "status", "seconds" and the metrics. It is reported when its
    training ends, with all rows so far as "rows"; `sweep_from_result_grid` makes a sweep of the rows of all trials. A
    pack that runs out of memory is split, and a task that cannot be packed runs one learning rate at a time, as with
    `robust_lr.PackedRunner`.

    To run a whole sweep in packs, with a journal, use ``RayRunner(slots="auto")``.

    Args:
        task: a training function that can be packed, such as a `robust_lr_torch.SupervisedTask`. It trains on the GPU
            of the trial, if it has one.
        lrs_per_trial: replicas trained at a time, at least 1; the others of the list follow as slots become free.
            "auto" leaves it to the task, which looks at the memory of the GPU and times a few steps.
        engine, strict: as in `robust_lr.PackedRunner`.

    Raises:
        OptionError: when an argument is wrong; in the trial, when its config is wrong.

    Example:
        >>> from ray import tune
        >>> from robust_lr.cli.demo import demo_task
        >>> space = {"lrs": [0.5, 2.0, 8.0], "schedule": tune.grid_search(["constant", "cosine"]), "seed": 0}
        >>> trainable = tune.with_resources(packed_trial(demo_task()), {"cpu": 1})
        >>> results = tune.Tuner(trainable, param_space=space).fit()  # doctest: +SKIP
    """
    options: dict[str, Any] = {"slots": lrs_per_trial, "engine": engine, "strict": strict}
    PackedRunner(**options)  # a wrong option is reported now

    def trial(config: dict[str, Any]) -> None:
        import ray
        from ray import tune

        lrs, text, seed = _read(config)
        has_gpu = bool(ray.get_runtime_context().get_accelerator_ids().get("GPU"))
        runner = PackedRunner(**options, device="cuda" if has_gpu and hasattr(task, "plan_packs") else None)
        source, rows = TrialList([TrialSpec(text, lr, seed) for lr in lrs]), list[dict[str, Any]]()
        for result in runner.run(task, source, {text: parse_schedule(text)}):
            row = {"lr": result.spec.lr, "schedule": text, "seed": seed, "packed": True} | report_of(result)
            rows.append(row)
            tune.report(row | {"rows": rows})  # all of them: without its loggers Tune keeps only the last report

    return trial


def _read(config: dict[str, Any]) -> tuple[list[float], str, int]:
    missing = [key for key in ("lrs", "schedule", "seed") if key not in config]
    if missing:
        raise OptionError(f"the config of a packed trial needs 'lrs', 'schedule' and 'seed'; {missing[0]!r} is missing")
    lrs = config["lrs"]
    if isinstance(lrs, (str, int, float)) or not lrs or len({*lrs}) < len(lrs):
        raise OptionError(f"'lrs' must be a list of distinct learning rates, got {lrs!r}")
    return [float(lr) for lr in lrs], str(config["schedule"]), int(config["seed"])
