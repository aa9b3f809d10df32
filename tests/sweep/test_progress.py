"""What the progress bar says."""

from __future__ import annotations

import io
import math

import pytest
from rich.console import Console

from robust_lr import TrialResult, TrialSpec
from robust_lr.sweep.progress import SweepProgress

OK = TrialResult(TrialSpec("cosine", 0.01, 0), 0.25, "ok")
WORSE = TrialResult(TrialSpec("cosine", 0.1, 0), 0.75, "ok")
BETTER = TrialResult(TrialSpec("[linear]", 0.1, 0), 0.125, "ok")
DIVERGED = TrialResult(TrialSpec("cosine", 1.0, 0), math.inf, "diverged")
FAILED = TrialResult(TrialSpec("cosine", 1.0, 1), math.nan, "failed")


@pytest.fixture
def console():
    return Console(file=io.StringIO(), force_terminal=True, width=120, color_system=None)


def test_the_bar_shows_what_is_done_and_the_best_so_far(console):
    with SweepProgress(6, finished=[OK], show=True, console=console) as progress:
        assert progress.summary == "best 0.25 (cosine, lr 0.01)"
        for result in (WORSE, DIVERGED, FAILED, BETTER):
            progress.add(result)
    text = console.file.getvalue()
    assert "1/6" in text and "5/6" in text
    assert "best 0.125 ([linear], lr 0.1), 1 diverged, 1 failed" in text
    assert "elapsed" in text and "left" in text


def test_without_a_result_it_says_so(console):
    with SweepProgress(6, show=True, console=console) as progress:
        progress.add(DIVERGED)
    assert "no result yet" in console.file.getvalue() and progress.summary == "1 diverged"


def test_it_is_quiet_when_stderr_is_no_terminal(capfd):
    for show in (None, False):
        with SweepProgress(6, show=show) as progress:
            progress.add(OK)
    assert capfd.readouterr() == ("", "")


def test_it_can_be_forced_onto_stderr(capfd):
    with SweepProgress(6, show=True) as progress:
        progress.add(OK)
    out, err = capfd.readouterr()
    assert out == "" and "1/6" in err


def test_the_bar_grows_with_the_sweep(console):
    with SweepProgress(2, show=True, console=console) as progress:
        progress.add(OK, n_trials=2)
        progress.add(WORSE, n_trials=3)
    assert "2/3" in console.file.getvalue()
