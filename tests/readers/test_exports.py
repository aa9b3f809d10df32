"""Exports as people bring them give the answer of the clean file, without an edit of the file."""

from __future__ import annotations

import math

import numpy as np
import pytest

from robust_lr.analysis import analyze_sweep
from robust_lr.readers.read import read_sweeps
from tests.readers.exports import EXPORTS, clean_runs, with_mess


def answer(path, **options):
    (sweep,) = read_sweeps(path, **options).values()
    (entry,) = analyze_sweep(sweep, tolerance="20%").schedules
    return entry.profile.best_lr, entry.profile.best_loss, entry.recommendation, sweep


def as_it_is_rounded(name, lr):
    return float(f"{lr:.3g}") if name == "runs.csv" else float(np.float32(lr)) if name == "wandb.csv" else lr


@pytest.mark.parametrize("name", EXPORTS)
@pytest.mark.parametrize(("seed", "n_lrs", "n_seeds"), [(0, 13, 4), (1, 17, 6), (2, 17, 10)])
def test_an_export_gives_the_answer_of_the_clean_file(tmp_path, name, seed, n_lrs, n_seeds):
    runs, rng = clean_runs(seed, n_lrs, n_seeds)
    rows = with_mess(runs, rng)
    assert 79 <= len(rows) <= 200
    (tmp_path / name).write_bytes(EXPORTS[name](rows))
    lines = [f"{as_it_is_rounded(name, run['lr'])!r},{run['seed']},{run['loss']!r}" for run in runs]
    (tmp_path / "clean.csv").write_text("\n".join(["lr,seed,loss", *lines]))
    best_lr, best_loss, advice, sweep = answer(tmp_path / name)
    clean_lr, clean_loss, clean_advice, clean = answer(tmp_path / "clean.csv")
    assert (best_lr, best_loss) == pytest.approx((clean_lr, clean_loss), rel=1e-6)
    assert sweep.n_trials == clean.n_trials == len(runs)
    assert np.array_equal(np.isinf(sweep.loss), np.isinf(clean.loss)) and math.isfinite(advice.excess_loss)
    assert advice.ratio == pytest.approx(clean_advice.ratio, rel=1e-6) and advice.n_trials == clean_advice.n_trials
    assert advice.ratio > 1.5 * clean.learning_rates[1] / clean.learning_rates[0]
    assert any("learning rate: " in note for note in sweep.notes)
