"""Every cell once, by several processes on one study: a small edition of benchmarks/optuna_chaos.py."""

from __future__ import annotations

import pytest

LRS, SEEDS = 12, 2


@pytest.mark.parametrize("kills", [0, 2])
def test_every_cell_is_completed_once_whatever_fails_grows_or_is_killed(chaos, storage_url, kills):
    scenario = chaos.Scenario(LRS, SEEDS, failures=0.15, grows=True, kills=kills)
    outcome = chaos.run(*storage_url, scenario, seed=kills)
    assert (outcome.twice, outcome.missing) == (0, 0)
    assert outcome.completed == outcome.cells >= LRS * SEEDS
