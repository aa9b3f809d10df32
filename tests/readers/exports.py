"""One sweep with all that goes wrong around it, written as trackers and people write their runs."""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
from datetime import UTC, datetime, timedelta

import numpy as np

START = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)


def clean_runs(seed, n_lrs, n_seeds):
    """The finished runs: a valley in log(lr) with a cliff above it, and noise."""
    rng = np.random.default_rng(seed)
    lrs = (10.0 ** np.linspace(-4, 0, n_lrs)).tolist()
    best, width = rng.uniform(-2.6, -1.8), rng.uniform(0.1, 0.3)
    runs = []
    for lr in lrs:
        for k in range(n_seeds):
            loss = 0.3 + width * (math.log10(lr) - best) ** 2 + 0.002 * rng.normal()
            runs.append({"lr": lr, "seed": k, "loss": math.nan if lr > 0.5 else loss, "state": "finished"})
    rng.shuffle(runs)
    return runs, rng


def with_mess(runs, rng):
    """The same runs among running, crashed, duplicated, blank and rerun ones, each with the time of its start."""
    rows = [dict(run) for run in runs]
    some = lambda n: [dict(rows[i]) for i in rng.choice(len(runs), n, replace=False)]  # noqa: E731
    early = [run | {"loss": 0.05 * rng.random(), "state": "running"} for run in some(4)]
    early += [run | {"loss": rng.uniform(2, 3), "state": state} for run in some(6) for state in ("crashed", "failed")]
    early += [run | {"loss": None, "state": "crashed"} for run in some(2)]
    reruns = [run | {"loss": rng.uniform(0.1, 2)} for run in some(5)]  # finished, but wrong: these ran again later
    rows = [*reruns, *early, *rows]
    for number, row in enumerate(rows):
        row.update(number=number, start=START + timedelta(minutes=7 * number))
    rows += [dict(rows[i]) for i in rng.choice(len(rows), 4, replace=False)]  # exported twice
    rows += [None, None]
    return [rows[i] for i in rng.permutation(len(rows))]


def csv_text(header, rows, **options):
    stream = io.StringIO(newline="")
    csv.writer(stream, **options).writerows([header, *rows])
    return stream.getvalue()


def number_text(value):
    return "" if value is None else "NaN" if math.isnan(value) else repr(float(value))


def wandb(rows):
    """A table exported from W&B: config beside summary, and `lr` as last logged (a cosine to 10 %)."""
    header = ["Name", "State", "Notes", "User", "Tags", "Created", "Runtime", "Sweep", "ID", "batch_size"]
    header += ["learning_rate", "scheduler", "seed", "epoch", "lr", "train/loss", "val/acc", "val/loss"]
    table = []
    for row in rows:
        if row is None:
            table.append([""] * len(header))
            continue
        peak, loss = float(np.float32(row["lr"])), row["loss"]
        train = None if loss is None else 0.9 * loss
        about = [
            f"brisk-sweep-{row['number']}",
            row["state"],
            "-",
            "ana",
            "",
            row["start"].strftime("%Y-%m-%dT%H:%M:%S.000Z"),
        ]
        about += [600 + row["number"], "k2x", f"id{row['number']:05}", 32]
        figures = [9, repr(0.1 * peak), number_text(train), number_text(0.7), number_text(loss)]
        table.append([*about, repr(peak), "cosine", row["seed"], *figures])
    return csv_text(header, table, quoting=csv.QUOTE_ALL).encode()


def mlflow(rows):
    """The data frame of `mlflow.search_runs` as CSV."""
    states = {"finished": "FINISHED", "running": "RUNNING", "crashed": "KILLED", "failed": "FAILED"}
    header = ["", "run_id", "experiment_id", "status", "artifact_uri", "start_time", "end_time", "metrics.train_loss"]
    header += [
        "metrics.val_loss",
        "params.batch_size",
        "params.lr",
        "params.seed",
        "tags.mlflow.runName",
        "tags.mlflow.user",
    ]
    table = []
    for i, row in enumerate(rows):
        if row is None:
            table.append([i] + [""] * (len(header) - 1))
            continue
        loss, start = row["loss"], row["start"]
        ended = "" if row["state"] == "running" else str(start + timedelta(minutes=5))
        about = [i, f"{row['number']:032x}", 1, states[row["state"]], "file:///runs/1", str(start), ended]
        figures = [number_text(0.123 if loss is None else 0.9 * loss), number_text(loss)]
        table.append([*about, *figures, "32", f"{row['lr']:.12g}", row["seed"], f"swift-gull-{row['number']}", "ana"])
    return csv_text(header, table).encode()


def spreadsheet(rows):
    """A German spreadsheet: semicolons, decimal commas, rates with three digits, words of its own."""
    words = {"finished": "done", "running": "running", "crashed": "crashed", "failed": "Failed"}
    header = ["Learning rate ", "Seed", "Val. loss", "Train loss", "Status", "Date", "Comment"]
    table = []
    for row in rows:
        if row is None:
            table.append([""] * len(header))
            continue
        loss = row["loss"]
        shown = "-" if loss is None else "diverged" if math.isnan(loss) else f"{loss:.12g}".replace(".", ",")
        rate = f"{row['lr']:.3g}".replace(".", ",")
        figures = [rate, row["seed"], shown, "0,5", words[row["state"]]]
        table.append(
            [*figures, row["start"].strftime("%d.%m.%Y %H:%M"), 'grün;\n"weiß"' if row["number"] % 5 == 0 else ""]
        )
    return csv_text(header, table, delimiter=";", lineterminator="\r\n").encode("utf-8-sig")


def optuna_frame(rows):
    """`study.trials_dataframe()` as gzipped CSV."""
    states = {"finished": "COMPLETE", "running": "RUNNING", "crashed": "FAIL", "failed": "PRUNED"}
    header = ["number", "value", "datetime_start", "datetime_complete", "duration", "params_lr", "params_seed", "state"]
    table = [
        [r["number"], number_text(r["loss"]), str(r["start"]), "", "", repr(r["lr"]), r["seed"], states[r["state"]]]
        for r in rows if r is not None
    ]  # fmt: skip
    return gzip.compress(csv_text(header, table).encode())


def ray_frame(rows):
    """`ResultGrid.get_dataframe()` as JSON records; Tune has no state there, so only finished trials."""
    records = []
    for row in rows:
        if row is None or row["state"] != "finished":
            continue
        trial = f"a1_{row['number']:05}"
        config = {"config/lr": row["lr"], "config/seed": row["seed"], "logdir": trial}
        report = {"timestamp": row["start"].timestamp(), "training_iteration": 10, "time_total_s": 12.5}
        records.append({"trial_id": trial, "loss": row["loss"], **report, **config})
    return json.dumps(records).encode()


def history(rows, n_epochs=6):
    """JSON lines with one line for each epoch of each run."""
    lines = []
    for row in rows:
        if row is None or row["loss"] is None:
            continue
        epochs = n_epochs if row["state"] == "finished" else 3
        for epoch in range(epochs):
            loss = row["loss"] + (epochs - 1 - epoch)
            record = {"run_id": f"r{row['number']}", "epoch": epoch, "_timestamp": row["start"].timestamp() + epoch}
            record |= {
                "config": {"lr": row["lr"], "seed": row["seed"]},
                "metrics": {"val_loss": loss, "train_loss": 0.5},
            }
            lines.append(json.dumps(record | {"state": row["state"]}))
    return "\n".join(lines).encode()


EXPORTS = {
    "wandb.csv": wandb,
    "mlflow.csv": mlflow,
    "runs.csv": spreadsheet,
    "optuna.csv.gz": optuna_frame,
    "ray.json": ray_frame,
    "history.jsonl": history,
}
