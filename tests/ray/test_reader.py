"""Experiments by their folders: `read_sweeps` finds out that a path is Ray Tune's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from robust_lr.exceptions import OptionError
from robust_lr.readers.read import read_sweeps
from robust_lr_ray import sweep_from_experiment

DATA = Path(__file__).parent / "data"


@pytest.mark.parametrize("name", ["grid_searcher", "param_space", "packed"])
def test_a_folder_gives_the_sweep_of_its_experiment(name):
    (sweep,) = read_sweeps(DATA / name).values()
    np.testing.assert_array_equal(sweep.loss, sweep_from_experiment(DATA / name).loss)
    assert sweep.n_trials > 2


def test_a_folder_of_experiments_has_a_sweep_for_each(tmp_path):
    for name in ("grid_searcher", "packed"):
        (tmp_path / name).mkdir()
        for file in (DATA / name).rglob("*"):
            target = tmp_path / file.relative_to(DATA)
            target.mkdir(parents=True) if file.is_dir() else target.write_bytes(file.read_bytes())
    assert list(read_sweeps(tmp_path)) == ["grid_searcher", "packed"]


def test_options_of_tables_are_refused_by_name():
    with pytest.raises(OptionError, match=r"group_by is for tables; .*packed is an experiment"):
        read_sweeps(DATA / "packed", group_by=["seed"])
