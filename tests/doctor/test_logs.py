"""The doctor on a log: the rates of each step in a table."""

import json
import math

import pytest

from robust_lr.doctor.logs import examine_log
from robust_lr.exceptions import DataError
from tests.readers.trackers import WRITERS


def cosine(n, horizon, peak=0.001):
    return [0.5 * peak * (1 + math.cos(math.pi * k / horizon)) for k in range(n)]


def warmed(n, n_warmup, rest):
    return [0.001 * (k + 1) / n_warmup if k < n_warmup else rest(k) for k in range(n)]


FAULTS = {
    "cosine of twice the steps": (cosine(100, 200), "horizon-longer"),
    "line of another run": ([0.1 * (1 - k / 1000) for k in range(300)], "horizon-longer"),
    "steps per epoch": ([r for r in cosine(6, 600) for _ in range(50)], "stepped-per-epoch"),
    "cosine beyond its end": (cosine(150, 100), "rises-again"),
    "cosine in waves": (cosine(900, 100), "rises-again"),
    "zero for the last third": ([max(0.0, 0.01 * (1 - k / 60)) for k in range(90)], "horizon-shorter"),
    "still in the warm-up": ([0.001 * (k + 1) / 5000 for k in range(200)], "never-reached-peak"),
    "zero throughout": ([0.0] * 50, "rate-never-applied"),
    "warm-up of one step": ([0.0, *cosine(100, 100)], "warmup-too-short"),
}
CLEAN = {
    "cosine": cosine(100, 100),
    "warm-up and cosine": warmed(100, 10, lambda k: 0.5 * 0.001 * (1 + math.cos(math.pi * (k - 9) / 91))),
    "warm-up and stable": warmed(100, 10, lambda k: 0.001),
    "warmup, stable, decay": warmed(100, 10, lambda k: 0.001 * min(1.0, (100 - k) / 20)),
    "cosine to a tenth": [0.0001 + 0.9 * r for r in cosine(100, 100)],
    "restarts": cosine(50, 50) * 3,
    "triangles": [0.0001 + 0.001 * abs((k % 40) / 20 - 1) for k in range(200)],
    "triangles down to zero": [0.001 * abs((k % 40) / 20 - 1) for k in range(200)],
    "constant": [0.01] * 100,
    "drops": [0.1 * 0.1 ** (k // 30) for k in range(90)],
    "drop near the end": [0.1 if k < 90 else 0.01 for k in range(100)],
    "exponential": [0.01 * 0.99**k for k in range(100)],
    "exponential per epoch": [0.01 * 0.99 ** (k // 20) for k in range(100)],
    "inverse square root": warmed(200, 20, lambda k: 0.001 * (20 / (k + 1)) ** 0.5),
    "range test": [1e-6 * 1.1**k for k in range(100)],
    "cosine per epoch": [r for r in cosine(10, 10) for _ in range(20)],
    "few rows": cosine(5, 100),
}


def log(folder, rates, header="step,lr"):
    path = folder / "log.csv"
    path.write_text("\n".join([header, *(f"{k},{r!r}" for k, r in enumerate(rates))]) + "\n")
    return path


def codes(examined):
    return {name: [finding.code for finding in findings] for name, (_, findings) in examined.items()}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_seen_in_the_logged_rates(name, tmp_path):
    rates, code = FAULTS[name]
    assert codes(examine_log(log(tmp_path, rates))) == {"": [code]}


@pytest.mark.parametrize("name", CLEAN)
def test_nothing_is_found_in_a_log_without_a_fault(name, tmp_path):
    assert codes(examine_log(log(tmp_path, CLEAN[name]))) == {"": []}


def test_each_run_of_a_log_is_examined(tmp_path):
    path = tmp_path / "log.jsonl"
    runs = {"good": cosine(60, 60), "bad": cosine(60, 120)}
    rows = [{"run": run, "step": k, "lr": r} for run, rates in runs.items() for k, r in enumerate(rates)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert codes(examine_log(path)) == {"good": [], "bad": ["horizon-longer"]}


def test_rows_without_a_rate_do_not_count(tmp_path):
    path = tmp_path / "log.csv"
    rows = [line for k, r in enumerate(cosine(60, 60)) for line in (f"{k},{r},", f"{k},,0.5")]
    path.write_text("\n".join(["step,train/learning_rate,val_loss", *rows]))
    (n, findings) = examine_log(path)[""]
    assert (n, findings) == (60, ())


def test_the_columns_of_lightning_are_parameter_groups(tmp_path):
    path = tmp_path / "metrics.csv"
    rows = [f"{k},{r},0.001" for k, r in enumerate(cosine(60, 60))]
    path.write_text("\n".join(["step,lr-AdamW/pg1,lr-AdamW/pg2", *rows]))
    assert codes(examine_log(path)) == {"": ["group-left-out"]}


def test_a_log_that_goes_back_and_jumps_shows_a_bad_resume(tmp_path):
    path = tmp_path / "log.csv"
    first, second = list(enumerate(cosine(60, 100))), [(50 + k, r) for k, r in enumerate(cosine(50, 100))]
    path.write_text("\n".join(["step,lr", *(f"{k},{r}" for k, r in first + second)]))
    assert "jump-on-resume" in codes(examine_log(path))[""]


def test_a_log_that_goes_back_and_continues_is_a_good_resume(tmp_path):
    path = tmp_path / "log.csv"
    rates = list(enumerate(cosine(100, 100)))
    path.write_text("\n".join(["step,lr", *(f"{k},{r}" for k, r in rates[:60] + rates[50:])]))
    assert codes(examine_log(path)) == {"": []}


class Logged:
    """A run of a tracker in the tests of readers, with rates of our choice."""

    def __init__(self, number, rates):
        self.number, self.rates, self.losses = number, rates, [1.0] * len(rates)
        self.lr, self.seed, self.state = 0.001, number, "finished"


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # of the trackers
@pytest.mark.parametrize("tracker", WRITERS)
def test_each_run_of_a_tracker_is_examined(tracker, tmp_path):
    runs = [Logged(0, cosine(60, 60)), Logged(1, cosine(60, 120))]
    examined = examine_log(WRITERS[tracker](tmp_path, runs))
    assert sorted(codes(examined).values()) == [[], ["horizon-longer"]]
    assert [n for n, _ in examined.values()] == [60, 60]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_tensorboard_log_that_goes_back_and_jumps_shows_a_bad_resume(tmp_path):
    from torch.utils.tensorboard import SummaryWriter

    rates = cosine(60, 100)
    for part in (list(enumerate(rates)), [(50 + k, r) for k, r in enumerate(rates)]):
        with SummaryWriter(tmp_path, filename_suffix=str(part[0][0])) as writer:
            for step, rate in part:
                writer.add_scalar("lr", rate, step)
    assert ["jump-on-resume" in found for found in codes(examine_log(tmp_path)).values()] == [True]


def test_a_table_without_a_learning_rate_says_which_option_names_it(tmp_path):
    path = log(tmp_path, cosine(20, 20), "step,alpha")
    with pytest.raises(DataError, match="no column of learning rates; name it with --lr-name; it has step and alpha"):
        examine_log(path)
    assert codes(examine_log(path, lr_name="alpha")) == {"": []}
    with pytest.raises(DataError, match="has no column 'beta'"):
        examine_log(path, lr_name="beta")
