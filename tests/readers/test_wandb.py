"""W&B's folders: with the log of a run, with its files alone, resumed, damaged."""

from __future__ import annotations

import json
import sys

import pytest

from robust_lr.exceptions import OptionError
from robust_lr.readers.read import read_sweeps
from tests.readers.trackers import some_runs, write_wandb

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def files(tmp_path):
    """Write the files that W&B keeps beside the log."""

    def write(number, lr, loss, run_id=None, **config):
        folder = tmp_path / f"wandb/run-20260301_09{number:02}00-{run_id or f'id{number}'}/files"
        folder.mkdir(parents=True)
        lines = [f"{name}:\n    desc: null\n    value: {value}" for name, value in {"lr": lr, **config}.items()]
        (folder / "config.yaml").write_text("\n".join(["wandb_version: 1", "_wandb:\n    value: {}", *lines]))
        (folder / "wandb-summary.json").write_text(json.dumps({"val/loss": loss, "lr": 0.0, "_step": 9}))
        return folder

    return write


def the(path, **options):
    (sweep,) = read_sweeps(path, **options).values()
    return sweep


def test_config_and_summary_are_enough(files, tmp_path):
    files(1, 0.1, 1.0, seed=0)
    files(2, 0.2, "NaN", seed=0)
    files(3, 0.1, 2.0, seed=1)
    sweep = the(tmp_path)
    assert sweep.loss.tolist() == [[[1.0, 2.0], [float("inf"), pytest.approx(float("nan"), nan_ok=True)]]]
    assert sweep.notes[0] == "3 runs of W&B"


def test_a_resumed_run_is_one_run(files, tmp_path):
    files(1, 0.1, 3.0, "one")
    files(2, 0.1, 1.0, "one")
    files(3, 0.2, 2.0, "two")
    assert the(tmp_path).loss[0, :, 0].tolist() == [1.0, 2.0]


def test_a_damaged_run_is_left_out_and_links_are_not_followed(files, tmp_path):
    files(1, 0.1, 1.0)
    folder = files(2, 0.2, 1.5)
    (files(3, 0.3, 2.0) / "wandb-summary.json").write_text('{"val/loss": 0.')
    (tmp_path / "wandb/run-20260301_095500-copy").symlink_to(folder.parent)
    sweep = the(tmp_path)
    assert sweep.n_trials == 2 and any("row left out: cannot read" in note for note in sweep.notes)


def test_a_log_without_the_library_says_what_to_install(tmp_path, monkeypatch):
    folder = tmp_path / "wandb/offline-run-20260301_090000-abc"
    folder.mkdir(parents=True)
    (folder / "run-abc.wandb").write_bytes(b":W&B\xbe\xe1\x00")
    monkeypatch.setitem(sys.modules, "wandb.proto.wandb_internal_pb2", None)
    with pytest.raises(OptionError, match=r"run-abc.wandb is a log of W&B, .*: pip install wandb"):
        read_sweeps(tmp_path)


def test_a_log_that_is_cut_off_anywhere_gives_no_traceback(tmp_path):
    folder = write_wandb(tmp_path, some_runs(0)[3:6])
    log = next(folder.glob("*/*.wandb"))
    data = log.read_bytes()
    for end in (0, 6, 9, 50, len(data) // 2, len(data) - 1):
        log.write_bytes(data[:end] + b"\xff" * 8)
        assert the(folder).n_trials in (2, 3)
