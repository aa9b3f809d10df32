"""TensorBoard's event files in the layouts that people have."""

from __future__ import annotations

import math

import pytest

from robust_lr.exceptions import DataError
from robust_lr.readers.read import read_sweeps
from tests.readers.trackers import some_runs, write_tensorboard

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def writer(tmp_path):
    from torch.utils.tensorboard import SummaryWriter

    return lambda name: SummaryWriter(tmp_path / "runs" / name)


def the(path, **options):
    (sweep,) = read_sweeps(path, **options).values()
    return sweep


def test_one_writer_with_the_settings_of_many_runs(tmp_path, writer):
    with writer("all") as one:
        for lr in (0.25, 0.5, 1.0):
            one.add_hparams({"lr": lr, "bsize": 8}, {"hparam/loss": 2 * lr}, run_name=f"{lr}")
    sweep = the(tmp_path)
    assert sweep.learning_rates.tolist() == [0.25, 0.5, 1.0] and sweep.loss[0, :, 0].tolist() == [0.5, 1, 2]
    assert sweep.notes[0] == "3 runs of TensorBoard"


def test_training_and_validation_in_folders_of_their_own(tmp_path, writer):
    for lr in (0.25, 0.5):
        for split, loss in (("train", 1.0), ("validation", lr)):
            with writer(f"lr={lr},seed=0/{split}") as one:
                one.add_scalar("epoch_loss", loss, 1)
    sweep = the(tmp_path)
    assert sweep.loss[0, :, 0].tolist() == [0.25, 0.5]
    assert any("loss: validation/epoch_loss" in note for note in sweep.notes)


@pytest.mark.parametrize("with_settings", [False, True])
def test_the_curves_of_add_scalars_belong_to_their_run(tmp_path, writer, with_settings):
    for lr in (0.25, 0.5):
        with writer(f"cnn_lr{lr}") as one:
            for step in range(3):
                one.add_scalars("all/loss", {"train": 0.0, "val": lr + 2 - step}, step)
            if with_settings:
                one.add_hparams({"lr": lr}, {})
    sweep = the(tmp_path)
    assert sweep.loss[0].tolist() == [[0.25], [0.5]]
    assert sweep.notes[0] == "2 runs of TensorBoard" and any("loss: all/loss/val" in note for note in sweep.notes)
    assert the(tmp_path, metric="all/loss/train").loss[0].tolist() == [[0.0], [0.0]]


def test_runs_that_one_writer_compared_with_add_scalars_remain_runs(tmp_path, writer):
    with writer("all") as one:
        one.add_scalars("loss", {f"lr{lr}": lr for lr in (0.25, 0.5)}, 1)
    assert the(tmp_path).loss[0, :, 0].tolist() == [0.25, 0.5]


def test_a_logged_rate_counts_by_its_peak_unless_the_folder_names_it(tmp_path, writer):
    for name in ("a", "b"):
        with writer(name) as one:
            for step, rate in enumerate((0.25, 1.0 if name == "a" else 0.5, 0.125)):
                one.add_scalar("lr", rate, step)
                one.add_scalar("loss", 3 - step, step)
    sweep = the(tmp_path)
    assert sweep.learning_rates.tolist() == [0.5, 1.0]
    assert "lr varies within runs, as under a schedule: its highest value counts" in sweep.notes


def test_scalars_as_tensors(tmp_path):
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.compat.proto.tensor_pb2 import TensorProto
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    for lr in (0.25, 0.5):
        one = EventFileWriter(str(tmp_path / f"lr_{lr}"))
        for tensor in (TensorProto(dtype=1, float_val=[lr]), TensorProto(dtype=7, string_val=[b"text"])):
            value = Summary.Value(tag="loss" if tensor.dtype == 1 else "text", tensor=tensor)
            one.add_event(Event(step=1, wall_time=1.8e9, summary=Summary(value=[value])))
        one.close()
    assert the(tmp_path).loss[0, :, 0].tolist() == [0.25, 0.5]


def test_two_runs_in_one_folder_are_left_out(tmp_path, writer):
    from torch.utils.tensorboard.summary import hparams

    for name, rates in (("good", [0.25]), ("other", [0.5]), ("mixed", [1.0, 2.0])):
        for lr in rates:
            with writer(name) as one:
                for summary in hparams({"lr": lr}, {"loss": None}):
                    one.file_writer.add_summary(summary)
                one.add_scalar("loss", lr, 1)
    sweep = the(tmp_path)
    assert sweep.learning_rates.tolist() == [0.25, 0.5]
    assert "1 row left out: several runs wrote into one folder" in sweep.notes


def test_seeds_that_were_written_into_one_folder_are_left_out(tmp_path, writer):
    for name, shifts in (("lr0.25", [0.0]), ("lr0.5", [0.0]), ("lr1.0", [0.0, 0.5, 1.0])):
        for shift in shifts:
            with writer(name) as one:
                for step in range(3):
                    one.add_scalar("loss", 3 + shift - step, step)
    sweep = the(tmp_path)
    assert sweep.learning_rates.tolist() == [0.25, 0.5]
    why = "several runs wrote loss into one folder, where their values cannot be told apart"
    assert f"1 trial left out: {why}" in sweep.notes


def test_final_values_of_several_seeds_in_one_folder_are_left_out(tmp_path, writer):
    for name, losses in (("lr0.25", [1.0]), ("lr0.5", [2.0, 2.0]), ("lr1.0", [3.0, 4.0])):
        for loss in losses:
            with writer(name) as one:
                one.add_scalar("loss", loss)
    assert the(tmp_path).learning_rates.tolist() == [0.25, 0.5]


def test_a_run_that_was_resumed_or_started_again_after_a_crash_counts_by_its_end(tmp_path, writer):
    starts = {"lr0.25": [range(6)], "lr0.5": [range(4), range(3, 6)], "lr1.0": [range(2), range(4), range(6)]}
    for name, parts in starts.items():
        for part in parts:
            with writer(name) as one:
                for step in part:
                    one.add_scalar("loss", 9 - step, step)
                    one.add_scalar("batch", step, step % 2)  # begins again in each epoch
    sweep = the(tmp_path)
    assert sweep.loss[0, :, 0].tolist() == [4, 4, 4]
    assert [note for note in sweep.notes if "began again" in note] == [
        "1 run broke off and began again at the first step: the last start counts"
    ]


def test_damaged_files_and_those_being_written_are_read_as_far_as_they_go(tmp_path):
    runs = [run for run in some_runs(0) if run.counts]
    finite = [run.number for run in runs if math.isfinite(run.losses[-1])]
    folder = write_tensorboard(tmp_path, runs)
    files = [next(file for file in (folder / str(n)).glob("*tfevents*")) for n in finite[:4]]
    files[0].write_bytes(files[0].read_bytes()[:-99])
    files[1].write_bytes(b"\xff" * 999)
    files[2].write_bytes(b"")
    files[3].write_bytes((2**62).to_bytes(8, "little") + bytes(99))
    assert the(folder).n_trials == len(runs) - 4
    with pytest.raises(DataError, match=r"holds no row|has no column"):
        read_sweeps(files[1])
