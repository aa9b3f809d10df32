"""A cell as plain values: there and back, in any process."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import pytest

from robust_lr import (
    Cooldown,
    CosineDecay,
    FunctionSchedule,
    InverseSqrt,
    PolynomialDecay,
    TableSchedule,
    TrialResult,
    TrialSpec,
    Warmup,
    parse_schedule,
)
from robust_lr.exceptions import ScheduleError
from robust_lr_ray._cells import cell_config, cell_digest, report_of, result_of, spec_of

SPEC = TrialSpec("cosine", 0.1, 3)


@pytest.mark.parametrize(
    "schedule",
    [
        CosineDecay(floor=0.1),
        Warmup(PolynomialDecay(1.5), 0.1),
        Cooldown(InverseSqrt(), 0.2),
        FunctionSchedule(math.hypot),
    ],
    ids=str,
)
@pytest.mark.parametrize("name", [None, "mine"])
def test_a_cell_comes_back_from_its_config_through_json(schedule, name):
    spec = TrialSpec(name or str(schedule), 1 / 3, 7)
    config = cell_config(spec, schedule)
    assert ("schedule_name" in config) == (name is not None)
    config = json.loads(json.dumps(config))
    assert (spec_of(config), parse_schedule(config["schedule"])) == (spec, schedule)


def local(step, total_steps):
    return step * 0 + 1


local.__module__ = "__main__"


@pytest.mark.parametrize(
    "schedule",
    [TableSchedule([1.0, 0.5]), FunctionSchedule(lambda step, total_steps: 1), FunctionSchedule(local)],
    ids=str,
)
def test_a_schedule_that_no_other_process_could_read_is_refused(schedule):
    with pytest.raises(
        ScheduleError, match=r"a schedule travels to the cluster as its text, and .* cannot be read back"
    ):
        cell_config(SPEC, schedule)


def test_the_digest_is_the_same_in_every_process():
    code = (
        "from robust_lr import CosineDecay, TrialSpec; from robust_lr_ray._cells import cell_digest;"
        "print(cell_digest(TrialSpec('cosine', 0.1, 3), CosineDecay(), 'digits'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [cell_digest(SPEC, CosineDecay(), "digits")] == ["05f62b8745aa8541"]


def test_the_digest_tells_each_part_of_a_cell():
    cells = [
        (SPEC, CosineDecay(), ""),
        (SPEC, CosineDecay(), "digits"),
        (SPEC, CosineDecay(floor=0.1), ""),
        (TrialSpec("annealed", 0.1, 3), CosineDecay(), ""),
        (TrialSpec("cosine", 0.1 * (1 + 1e-15), 3), CosineDecay(), ""),
        (TrialSpec("cosine", 0.1, 4), CosineDecay(), ""),
    ]
    assert len({cell_digest(*cell) for cell in cells}) == len(set(cells)) == 6


@pytest.mark.parametrize(
    "result",
    [
        TrialResult(SPEC, 0.5, "ok", 2.0, {"accuracy": 0.75, "nan": math.nan}),
        TrialResult(SPEC, math.inf, "diverged", 2.0, {"steps": 7.0}, "loss above 1e6"),
        TrialResult(SPEC, 0.5, "ok", 2.0, {"error": 0.1, "seconds": 3.0, "done": 1.0, "pid": 5.0, "metric_pid": 6.0}),
        TrialResult(SPEC, math.nan, "out_of_memory", 2.0, {}, "no room for 1 TiB"),
    ],
)
def test_a_result_comes_back_from_its_report_with_what_tune_adds(result):
    of_tune = {"time_total_s": 9.0, "pid": 77, "done": True, "trial_id": "abc", "config": {"lr": 0.1}, "config/lr": 0.1}
    assert repr(result_of(SPEC, of_tune | report_of(result))) == repr(result)
    assert not report_of(result).keys() & of_tune.keys(), "a metric of the user never stops a trial"


def test_the_report_of_another_trainable_is_read_by_the_name_of_its_loss():
    report = {
        "accuracy": 0.75,
        "error": 0.25,
        "status": 3,
        "note": "fine",
        "time_total_s": 9.0,
        "training_iteration": 4,
    }
    result = result_of(SPEC, report, loss="accuracy", maximize=True)
    assert result == TrialResult(SPEC, -0.75, "ok", 9.0, {"error": 0.25, "status": 3.0})
    assert result_of(SPEC, {"loss": math.nan}).status == "diverged"
    assert result_of(SPEC, {"accuracy": math.inf}, loss="accuracy", maximize=True).loss == math.inf
    with pytest.raises(KeyError):
        result_of(SPEC, {"accuracy": 0.5})
