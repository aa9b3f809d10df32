"""Findings from plain numbers."""

from robust_lr.doctor import Evidence, Finding, Promise, Record, diagnose, findings_text
from robust_lr.doctor.loops import EarlyEnd


def line(n_steps, horizon, pace=1.0, **changes):
    """A run of a linear decay, whose scheduler takes `pace` steps for each step of the optimizer."""
    records = [
        Record(k, (max(0.0, 1 - int(k * pace) / horizon),), int(k * pace), n_backward=round(max(pace, 1)))
        for k in range(n_steps)
    ]
    promise = Promise(name="linear", horizon=horizon)
    given = {"records": records, "n_steps": n_steps, "promise": promise, "position": int(n_steps * pace)} | changes
    return [finding.code for finding in diagnose(Evidence(**given))]


def test_a_schedule_of_the_length_of_the_run_is_well():
    assert line(100, 100) == []
    assert line(1, 1) == []


def test_a_run_that_may_go_on_or_end_early_is_not_blamed_for_missing_steps():
    assert line(50, 100) == ["horizon-longer"]
    assert line(50, 100, early_end=EarlyEnd.MEANT) == []
    assert line(50, 100, is_to_be_continued=True) == []
    assert line(50, 100, planned_steps=100) == []
    assert line(50, 100, planned_steps=50, early_end=EarlyEnd.MEANT) == ["horizon-longer"]


def test_a_run_under_way_is_told_only_what_cannot_change():
    assert line(50, 100, is_over=False) == []
    assert line(50, 100, is_over=False, planned_steps=60) == ["horizon-longer"]
    assert line(50, 20, is_over=False) == ["horizon-shorter"]


def test_the_pace_of_the_scheduler_names_its_cause():
    assert line(100, 100, pace=4) == ["stepped-per-micro-batch"]
    assert line(100, 100, pace=4, n_processes=2, records=[Record(k, (1.0,), 4 * k) for k in range(100)]) == [
        "stepped-by-processes"
    ]
    assert line(100, 100, pace=1 / 10) == ["stepped-per-epoch"]
    assert line(100, 400, pace=4) == []


def test_nothing_is_said_of_rates_that_are_unknown():
    assert diagnose(Evidence(records=(), n_steps=100)) == ()


def test_a_report_says_certain_findings_first():
    text = findings_text(
        [Finding("b", "maybe so", certain=False), Finding("a", "it is so", certain=True)], watched="9 steps"
    )
    assert text == "schedule doctor: 9 steps, 2 findings\n  a: it is so\n  b (probably): maybe so"
