"""The same runs, written by each tracker's own library, and as a clean table."""

from __future__ import annotations

import json
import math
import os
import shutil
import sqlite3
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np

N_STEPS = 4
DATA = Path(__file__).parent / "data"


@dataclass(frozen=True)
class Run:
    """One run; `number` is its place in time."""

    number: int
    lr: float
    seed: int
    losses: tuple[float, ...]  # of each step
    state: str = "finished"  # or "failed" or "running"
    counts: bool = True

    @property
    def rates(self):
        """What a schedule would log."""
        return [self.lr * (1 - step / N_STEPS) for step in range(len(self.losses))]


def some_runs(seed):
    """A valley with a cliff, among runs that failed, still run, or ran again later."""
    rng = np.random.default_rng(seed)
    runs = []

    def add(lr, k, last, **about):
        n = N_STEPS if about.get("state", "finished") == "finished" else 2
        losses = (*(last + N_STEPS - step for step in range(1, n)), last)
        runs.append(Run(len(runs), lr, k, losses, **about))

    cells = [(lr, k) for lr in (0.01, 0.03, 0.1, 0.3) for k in range(3)]
    add(*cells[0], 0.01, counts=False)  # finished, but a later run takes its place
    add(*cells[4], 0.01, state="failed", counts=False)
    add(*cells[5], 0.01, state="running", counts=False)
    for i in rng.permutation(len(cells)):
        lr, k = cells[i]
        diverged = (math.nan, math.inf, math.nan)[k]
        add(lr, k, diverged if lr > 0.2 else (math.log10(lr) + 1.5) ** 2 + 0.01 * rng.random())
    return runs


def write_csv(path, runs):
    """The runs that count, as a person would write them down."""
    lines = [f"{run.lr!r},{run.seed},{run.losses[-1]!r}" for run in runs if run.counts]
    path.write_text("\n".join(["lr,seed,loss", *lines]))
    return path


@cache
def _empty_mlflow_database():
    from mlflow.tracking import MlflowClient

    path = Path(mkdtemp()) / "mlflow.db"  # MLflow takes seconds to create one
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


def mlflow_client(folder, kind="sqlite"):
    """A client of an empty store, and where the store is."""
    from mlflow.tracking import MlflowClient

    os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    if kind == "sqlite":
        path = Path(shutil.copy(_empty_mlflow_database(), folder))
        return MlflowClient(f"sqlite:///{path}"), path
    return MlflowClient((folder / "mlruns").as_uri()), folder / "mlruns"


def _write_mlflow(folder, runs, kind):
    from mlflow.entities import Metric, Param

    client, path = mlflow_client(folder, kind)
    experiment = client.create_experiment("sweep", artifact_location=str(folder / "artifacts"))
    states = {"finished": "FINISHED", "failed": "FAILED"}
    for run in runs:
        name = client.create_run(experiment, start_time=1_800_000_000_000 + 60_000 * run.number).info.run_id
        metrics = [Metric("val_loss", loss, 0, step) for step, loss in enumerate(run.losses)]
        metrics += [Metric("lr", rate, 0, step) for step, rate in enumerate(run.rates)]
        params = {"optimizer.lr": run.lr, "seed": run.seed, "model": "cnn"}
        client.log_batch(name, metrics, [Param(key, str(value)) for key, value in params.items()])
        if run.state in states:
            client.set_terminated(name, states[run.state])
    return path


def write_mlflow_database(folder, runs):
    return _write_mlflow(folder, runs, "sqlite")


def write_mlflow_folder(folder, runs):
    return _write_mlflow(folder, runs, "folder")


def write_tensorboard(folder, runs):
    """Scalars, with the settings in the hparams plug-in; TensorBoard knows no state."""
    from torch.utils.tensorboard import SummaryWriter

    for run in runs:
        with SummaryWriter(folder / f"runs/{run.number}") as writer:
            writer.add_hparams({"lr": run.lr, "seed": run.seed, "model": "cnn"}, {})
            _add_scalars(writer, run)
    return folder / "runs"


def write_plain_tensorboard(folder, runs):
    """Scalars only; the settings are in the names of the folders."""
    from torch.utils.tensorboard import SummaryWriter

    for run in runs:
        with SummaryWriter(folder / f"runs/try{run.number}/lr_{run.lr}_seed{run.seed}") as writer:
            _add_scalars(writer, run)
    return folder / "runs"


def _add_scalars(writer, run):
    for step, (loss, rate) in enumerate(zip(run.losses, run.rates, strict=True)):
        writer.add_scalar("val/loss", loss, step)
        writer.add_scalar("lr", rate, step)


def write_wandb(folder, runs):
    import wandb

    settings = wandb.Settings(mode="offline", root_dir=str(folder), silent=True, console="off", x_disable_stats=True)
    names = {}
    for run in runs:
        config = {"optimizer": {"lr": run.lr, "name": "sgd"}, "seed": run.seed}
        with wandb.init(project="sweep", config=config, settings=settings) as logger:
            for loss, rate in zip(run.losses, run.rates, strict=True):
                logger.log({"val/loss": loss, "lr": rate})
            logger.finish(exit_code=int(run.state == "failed"))
        names[logger.id] = run
    wandb.teardown()  # which waits until all is written
    for name, run in names.items():
        if run.state == "running":
            (log,) = (folder / "wandb").glob(f"*-{name}/*.wandb")
            without_its_end(log)
    return folder / "wandb"


def without_its_end(log):
    """Cut a log of W&B off in the record that says how the run ended, as in a run that goes on."""
    data = log.read_bytes()
    log.write_bytes(data[: data.rindex(b"\x92\x01") - 3])  # field 18 of a record: exit


def write_trackio(folder, runs):
    """What Trackio 0.43 writes: its tables, and its rows as JSON in bytes. It knows no state."""
    path = empty_trackio_database(folder)
    with sqlite3.connect(path) as database:
        for run in runs:
            name, start = f"{run.number:032x}", f"2026-03-01T09:{run.number:02}:00.000000+00:00"
            config = {"optimizer": {"lr": run.lr, "name": "sgd"}, "seed": run.seed, "_Created": start, "_Group": None}
            row = (name, f"bold-{run.number}", json.dumps(config).encode(), start)
            database.execute("INSERT INTO configs (run_id, run_name, config, created_at) VALUES (?, ?, ?, ?)", row)
            for step, (loss, rate) in enumerate(zip(run.losses, run.rates, strict=True)):
                shown = loss if math.isfinite(loss) else "NaN" if math.isnan(loss) else "Infinity"
                text = json.dumps({"val_loss": shown, "lr": rate}).encode()
                insert = "INSERT INTO metrics (run_id, timestamp, run_name, step, metrics) VALUES (?, ?, ?, ?, ?)"
                database.execute(insert, (name, start, row[1], step, text))
    database.close()
    return path


def empty_trackio_database(folder):
    path = trackio_database(folder)
    with sqlite3.connect(path) as database:
        database.execute("DELETE FROM configs")
        database.execute("DELETE FROM metrics")
    database.close()
    return path


def trackio_database(folder):
    """Two runs, as Trackio 0.43 itself wrote them."""
    path = folder / "sweep.db"
    database = sqlite3.connect(path)
    database.execute("PRAGMA journal_mode = wal")
    database.executescript((DATA / "trackio-0.43.sql").read_text(encoding="utf-8"))
    database.close()
    return path


WRITERS = {
    "mlflow.db": write_mlflow_database,
    "mlruns": write_mlflow_folder,
    "tensorboard": write_tensorboard,
    "tensorboard, settings in names": write_plain_tensorboard,
    "wandb": write_wandb,
    "trackio": write_trackio,
}
