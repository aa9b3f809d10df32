"""examples/wrn.py on a handful of images in the data sets' own formats: data, networks, training, and the tiers."""

import hashlib
import importlib
import json
import os
import pickle
import re
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from robust_lr import CosineDecay, PackedRunner, SweepResult, TrialSpec, run_sweep
from robust_lr.exceptions import DataError, OptionError
from robust_lr.runners import evaluate_trial
from robust_lr_ray._checkpoints import checkpointing
from tests.idx_files import write_fashion

EXAMPLES = Path(__file__).parents[1] / "examples"
SCRIPT = EXAMPLES / "wrn.py"
NAMES = (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin")


@pytest.fixture(scope="module", autouse=True)
def on_the_path():
    """As for `python examples/wrn.py`, its folder is where imports look first."""
    sys.path.insert(0, str(EXAMPLES))
    yield
    sys.path.remove(str(EXAMPLES))


@pytest.fixture(scope="module")
def wrn(on_the_path):
    return importlib.import_module("wrn")


@pytest.fixture(scope="module")
def parts(on_the_path):
    """The modules of the folder examples/images, by name."""
    names = ("cifar10", "data", "idx", "networks", "tasks", "training")
    return {name: importlib.import_module(f"images.{name}") for name in names}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """CIFAR-10's six files with 20 images each, noise that is brighter the higher the class is."""
    folder, rng = tmp_path_factory.mktemp("cifar10"), np.random.default_rng(0)
    (folder / "cifar-10-batches-bin").mkdir()
    for name in NAMES:
        labels = rng.integers(10, size=(20, 1), dtype=np.uint8)
        records = np.hstack([labels, (rng.integers(60, size=(20, 3072)) + 20 * labels).astype(np.uint8)])
        (folder / "cifar-10-batches-bin" / name).write_bytes(records.tobytes())
    return folder


@pytest.fixture(scope="module")
def fashion(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fashion")
    write_fashion(folder, ".gz")
    return folder


@pytest.fixture
def archive(folder, tmp_path):
    path = tmp_path / "served.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        tar.add(folder / "cifar-10-batches-bin", "cifar-10-batches-bin")
    return path


def one_line(error):
    """Return the text of an error, which is one line."""
    assert "\n" not in str(error.value)
    return str(error.value)


def make_trial(parts, folder, name="cifar10", **options):
    values = {"network": "10-1", "optimizer": "sgd", "n_epochs": 2, "batch_size": 16, "device": "cpu", **options}
    return parts["training"].ImageTrial(data=parts["data"].ImageData(name, str(folder), 80), **values)


def make_training(parts, folder, **options):
    data = parts["data"].ImageData("cifar10", str(folder), 80)
    values = {"lr": 0.1, "schedule": CosineDecay(), "seed": 0, "n_epochs": 2, "batch_size": 16, **options}
    return parts["training"].Training("10-1", data.parts["train"], data.source, **values)


@pytest.mark.parametrize(("name", "millions"), [("28-10", 36.5), ("16-4", 2.7), ("40-4", 8.9), ("16-8", 11.0)])
def test_the_networks_have_as_many_parameters_as_the_paper_says(parts, name, millions):
    source = parts["data"].SOURCES["cifar10"]
    assert round(parts["networks"].n_parameters(name, source) / 1e6, 1) == millions


@pytest.mark.parametrize(
    ("name", "said"),
    [("18-1", "depth of 10, 16, 22"), ("resnet", "cnn, or depth-width"), ("16", "cnn, or depth-width")],
)
def test_a_network_that_there_is_not_is_refused(parts, name, said):
    with pytest.raises(DataError, match=said):
        parts["networks"].make_network(name, 3, 32)


@pytest.mark.parametrize("network", ["cnn", "10-1"])
@pytest.mark.parametrize(("n_channels", "side"), [(1, 28), (3, 32)])
def test_each_network_takes_the_images_of_both_data_sets(parts, network, n_channels, side):
    made = parts["networks"].make_network(network, n_channels, side)
    assert made(torch.zeros(2, n_channels, side, side)).shape == (2, 10)


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx_files_are_read_compressed_or_not(parts, tmp_path, suffix):
    (pixels, labels), (test_pixels, test_labels) = write_fashion(tmp_path / "data", suffix)
    read = parts["data"].ImageData("fashion-mnist", str(tmp_path / "data")).parts
    assert {name: len(images) for name, images in read.items()} == {"train": 72, "validation": 8, "test": 20}
    assert np.array_equal(read["train"].pixels[..., 0], pixels[:72])
    assert read["train"].labels.tolist() == labels[:72].tolist()
    assert np.array_equal(read["validation"].pixels[..., 0], pixels[72:])
    assert np.array_equal(read["test"].pixels[..., 0], test_pixels)
    assert read["test"].labels.tolist() == test_labels.tolist()


def test_the_least_images_are_read_of_those_that_there_are(parts, fashion):
    read = parts["data"].ImageData("fashion-mnist", str(fashion), 40).parts
    assert {name: len(images) for name, images in read.items()} == {"train": 36, "validation": 4, "test": 20}


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("train-images-idx3-ubyte.gz", b"\x1f\x8b\x08", "whole gzip file"),
        ("train-images-idx3-ubyte.gz", b"nothing", "IDX file of bytes, which begins with 00 00 08, got 6e 6f 74"),
        ("train-images-idx3-ubyte.gz", bytes([0, 0, 8, 3, 0]), "truncated"),
        (
            "train-images-idx3-ubyte.gz",
            bytes([0, 0, 8, 1, 0, 0, 0, 9]) + bytes(8),
            "must hold 9 bytes, got 8: truncated",
        ),
        ("train-images-idx3-ubyte.gz", bytes([0, 0, 8, 1, 0, 0, 0, 9]) + bytes(9), "images of 28 x 28 pixels"),
        ("t10k-labels-idx1-ubyte.gz", bytes([0, 0, 8, 1, 0, 0, 0, 9]) + bytes(9), "one label for each of 20 images"),
        ("t10k-labels-idx1-ubyte.gz", bytes([0, 0, 8, 1, 0, 0, 0, 20]) + bytes([11] * 20), "classes 0..9, got 11"),
        ("t10k-labels-idx1-ubyte.gz", None, "dataset-fashion-mnist"),
    ],
)
def test_an_idx_file_that_is_damaged_or_missing_is_named(parts, tmp_path, name, content, said):
    write_fashion(tmp_path / "data", ".gz")
    path = tmp_path / "data" / name
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(DataError, match=re.escape(said)) as error:
        _ = parts["data"].ImageData("fashion-mnist", str(tmp_path / "data")).parts
    assert name.removesuffix(".gz") in one_line(error)


def test_an_image_of_cifar_is_a_class_then_red_green_and_blue_row_by_row(parts):
    expected = np.arange(3072) % 251
    pixels, labels = parts["cifar10"].decode(bytes([7, *expected]), Path("data_batch_1.bin"))
    assert labels.tolist() == [7]
    assert pixels[0, 2, 5].tolist() == [expected[channel * 1024 + 2 * 32 + 5] for channel in range(3)]


def test_a_tenth_of_the_training_images_is_held_out_and_the_test_images_are_apart(parts, folder):
    binary = folder / "cifar-10-batches-bin"
    whole = np.concatenate([parts["cifar10"].decode((binary / n).read_bytes(), Path(n))[0] for n in NAMES])
    read = parts["data"].ImageData("cifar10", str(folder), 100).parts
    assert {name: len(images) for name, images in read.items()} == {"train": 90, "validation": 10, "test": 20}
    assert np.array_equal(torch.cat([read[name].pixels for name in ("train", "validation", "test")]), whole)


def test_the_archive_is_downloaded_once_and_checked(parts, folder, archive, tmp_path):
    md5 = hashlib.md5(archive.read_bytes()).hexdigest()
    path = parts["cifar10"].fetch_archive(tmp_path / "data", url=archive.as_uri(), md5=md5)
    unpacked = {name: (folder / "cifar-10-batches-bin" / name).read_bytes() for name in NAMES}
    assert parts["cifar10"].read_archive(path) == unpacked
    archive.unlink()
    assert parts["cifar10"].fetch_archive(tmp_path / "data", url=archive.as_uri(), md5=md5) == path
    assert list(path.parent.iterdir()) == [path]


def test_a_download_with_another_checksum_is_refused_and_leaves_nothing(parts, archive, tmp_path):
    with pytest.raises(DataError, match="expected c32a1d4ab5d03f1284b67883e8d87530") as error:
        parts["cifar10"].fetch_archive(tmp_path / "data", url=archive.as_uri())
    assert archive.as_uri() in one_line(error)
    assert list((tmp_path / "data").iterdir()) == []


def test_an_archive_that_was_cut_off_is_named(parts, archive, tmp_path):
    md5 = hashlib.md5(archive.read_bytes()).hexdigest()
    path = tmp_path / "cifar-10-binary.tar.gz"
    path.write_bytes(archive.read_bytes()[:-100])
    with pytest.raises(DataError, match="delete it to have it downloaded again") as error:
        parts["cifar10"].fetch_archive(tmp_path, url=archive.as_uri(), md5=md5)
    assert str(path) in one_line(error)


def test_offline_the_message_says_where_the_archive_must_be_and_where_it_comes_from(parts, tmp_path):
    url = (tmp_path / "nothing.tar.gz").as_uri()
    with pytest.raises(DataError) as error:
        parts["cifar10"].fetch_archive(tmp_path / "data", url=url)
    assert str(tmp_path / "data" / "cifar-10-binary.tar.gz") in one_line(error)
    assert url in one_line(error)


@pytest.mark.parametrize(
    ("content", "said"),
    [(bytes(3073 + 3000), "got 6073 bytes: truncated"), (b"", "got 0 bytes"), (bytes([10]) + bytes(3072), "got 10")],
)
def test_a_file_that_holds_no_whole_images_is_named(parts, content, said):
    with pytest.raises(DataError, match=said) as error:
        parts["cifar10"].decode(content, Path("data_batch_1.bin"))
    assert "data_batch_1.bin" in one_line(error)


def test_only_the_smoke_tier_takes_fewer_images_than_cifar_has(parts, folder):
    with pytest.raises(DataError, match=r"must hold \(50000, 10000\) training and test images, got \(100, 20\)"):
        _ = parts["data"].ImageData("cifar10", str(folder)).parts


def test_a_crop_is_a_part_of_the_image_padded_by_its_reflection(parts):
    rng = np.random.default_rng(0)
    pixels = rng.integers(256, size=(5, 32, 32, 3), dtype=np.uint8)
    rows, shifts, flips = rng.integers(5, size=81), np.mgrid[-4:5, -4:5].reshape(2, 81), rng.integers(2, size=81) == 1
    found = parts["training"].crop_and_flip(*(torch.from_numpy(a) for a in (pixels, rows, shifts, flips)))
    padded = np.pad(pixels, ((0, 0), (4, 4), (4, 4), (0, 0)), mode="reflect")
    for image, row, (down, right), flip in zip(found.numpy(), rows, shifts.T, flips, strict=True):
        crop = padded[row, 4 + down : 36 + down, 4 + right : 36 + right]
        np.testing.assert_array_equal(image, crop[:, ::-1] if flip else crop)


def test_a_training_that_was_interrupted_goes_on_as_if_it_had_not_been(parts, folder, tmp_path):
    whole, first, second = (make_training(parts, folder) for _ in range(3))
    for training in (whole, whole, first):
        training.run_epoch()
    with checkpointing(tmp_path, "trial") as checkpoint:
        checkpoint.save(first.state_dict())
        second.load_state_dict(checkpoint.load())
    second.run_epoch()
    assert second.losses == whole.losses
    for name, value in whole.model.state_dict().items():
        assert torch.equal(second.model.state_dict()[name], value), name
    assert second.scheduler.get_last_lr() == [0]


def test_a_trial_goes_on_from_its_checkpoint_and_keeps_one_after_each_epoch(parts, folder, tmp_path):
    first, trial = make_training(parts, folder), make_trial(parts, folder)
    first.run_epoch()
    with checkpointing(tmp_path, "trial") as checkpoint:
        checkpoint.save({**first.state_dict(), "losses": [1.5] * 4})  # told from what the trial itself would see
        resumed = trial(lr=0.1, schedule=CosineDecay(), seed=0)
        assert checkpoint.load()["epoch"] == 2
        assert checkpoint.load()["losses"][:4] == [1.5] * 4
    assert resumed == trial(lr=0.1, schedule=CosineDecay(), seed=0)


def test_a_seed_fixes_the_training_whatever_was_drawn_before(parts, folder):
    trial = make_trial(parts, folder)
    results = []
    for seed in (0, 0, 1):
        torch.manual_seed(len(results))
        results.append(trial(lr=0.1, schedule=CosineDecay(), seed=seed))
    assert results[0] == results[1] != results[2]
    assert set(results[0]) == {
        "loss", "train_loss", "train_accuracy", "validation_accuracy", "test_loss", "test_accuracy"
    }  # fmt: skip


def test_training_learns(parts, folder):
    training = make_training(parts, folder, n_epochs=8)
    for _ in range(8):
        training.run_epoch()
    assert training.evaluate(training.images)[0] < 1.8  # chance is 2.3


def test_a_learning_rate_that_is_far_too_high_diverges(parts, folder):
    trial = make_trial(parts, folder)
    result = evaluate_trial(trial, TrialSpec("cosine", 1e30, 0), CosineDecay())
    assert (result.status, result.loss) == ("diverged", float("inf"))


def test_the_images_stay_behind_when_the_trial_travels(parts, folder):
    trial = make_trial(parts, folder)
    assert len(trial.data.parts["train"]) == 72
    sent = pickle.dumps(trial)
    assert len(sent) < 1000
    assert len(pickle.loads(sent).data.parts["train"]) == 72


def test_each_tier_says_what_it_will_do(wrn, parts):
    data = parts["data"].ImageData("cifar10", "nowhere")
    full = wrn.announcement("full", wrn.TIERS["full"], data, "sgd", n_images=45_000, images_per_second=4000.0)
    assert "WRN-28-10, 36.5 M parameters, on cifar10 by sgd; 7 schedules x 13 learning rates 0.001..10" in full
    assert "273 trials of 200 epochs, 70200 steps each" in full
    assert "170 hours of a device at 4000 images/s" in full
    data = parts["data"].ImageData("fashion-mnist", "nowhere")
    mini = wrn.announcement("mini", wrn.TIERS["mini"], data, "adamw", n_images=18_000, images_per_second=None)
    assert "10 learning rates 6.10352e-05..0.03125 x 3 seeds = 210 trials of 4 epochs, 1124 steps each" in mini
    assert "hours unknown: measure images/s with --speed" in mini


def test_the_mini_tier_trains_in_packs_what_its_trials_train_alone(wrn, parts, fashion):
    tier = replace(wrn.TIERS["mini"], n_epochs=2, batch_size=16)
    data = parts["data"].ImageData("fashion-mnist", str(fashion))
    task = wrn.make_trial(tier, data, "sgd", "cpu")
    lrs, specs = (0.01, 0.1), ("constant", "wsd(0.2)")
    packed = run_sweep(task, lrs, specs, 1, runner=PackedRunner(slots=4, engine="packed", strict=True))
    alone = run_sweep(task, lrs, specs, 1)
    np.testing.assert_allclose(packed.loss, alone.loss, rtol=1e-5)
    assert set(packed.metrics) == {"training_loss", "validation_accuracy"}


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_sweep_ends_with_an_analysis_a_report_and_figures_on_the_test_images(
    wrn, fashion, tmp_path, monkeypatch, capsys, optimizer
):
    monkeypatch.chdir(tmp_path)
    size = ["--network", "cnn", "--epochs", "1", "--optimizer", optimizer, "--device", "cpu"]
    files = ["--folder", str(fashion), "--journal", "journal.jsonl", "--report", "report.html"]
    wrn.main(["--tier", "smoke", *size, *files])
    out = capsys.readouterr().out
    assert f"small CNN, 0.011 M parameters, on fashion-mnist by {optimizer}; 7 schedules x 3 learning rates" in out
    assert len(re.findall(r"by the validation loss; test loss \d", out)) == 7
    sweep = SweepResult.from_journal(tmp_path / "journal.jsonl")
    assert np.isfinite(sweep.loss).sum() == 42
    assert sweep.metrics["test_accuracy"].shape == (7, 3, 2)
    assert "fashion-mnist, at most 80 training images" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_crops_and_flips_are_not_packed(wrn, fashion):
    with pytest.raises(OptionError, match="crops and flips cannot be packed"):
        wrn.main(["--tier", "smoke", "--runner", "packed", "--folder", str(fashion), "--device", "cpu"])


def smoke(folder, tmp_path, runner, *more):
    options = ["--data", "cifar10", "--folder", str(folder), "--runner", runner, "--journal", "journal.jsonl", *more]
    return subprocess.run(
        [sys.executable, "-W", "error", str(SCRIPT), "--tier", "smoke", "--device", "cpu", *options],
        cwd=tmp_path,
        env={**os.environ, "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"},
        check=False,
        capture_output=True,
        text=True,
        timeout=200,
    )


@pytest.mark.slow
@pytest.mark.parametrize("runner", ["processes", "ray"])
def test_the_smoke_tier_ends_with_a_recommendation_in_processes_and_on_ray(folder, tmp_path, runner):
    done = smoke(folder, tmp_path, runner)
    assert done.returncode == 0, done.stderr
    assert "smoke: WRN-10-1" in done.stdout
    assert "7 schedules x 3 learning rates 0.01..1 x 2 seeds = 42 trials of 2 epochs, 8 steps each" in done.stdout
    assert len(re.findall(r"by the validation loss; test loss \d", done.stdout)) == 7
    assert np.isfinite(SweepResult.from_journal(tmp_path / "journal.jsonl").loss).sum() == 42


@pytest.mark.slow
def test_two_workers_train_each_trial_of_the_smoke_tier_on_ray(folder, tmp_path):
    done = smoke(folder, tmp_path, "ray", "--num-workers", "2", "--seeds", "1")
    assert done.returncode == 0, done.stderr
    assert np.isfinite(SweepResult.from_journal(tmp_path / "journal.jsonl").loss).sum() == 21


def test_one_trial_as_a_command_prints_the_figures_of_its_training(folder, parts, tmp_path):
    words = ["--lr", "0.1", "--schedule", "cosine", "--seed", "1", "--tier", "smoke", "--device", "cpu"]
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "wrn_trial.py"), *words, "--data", "cifar10", "--folder", str(folder)],
        cwd=tmp_path, check=False, capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == make_trial(parts, folder)(lr=0.1, schedule=CosineDecay(), seed=1)


def test_what_is_wrong_with_the_data_is_one_line_on_the_command_line(folder, tmp_path):
    broken = tmp_path / "cifar-10-batches-bin"
    broken.mkdir()
    for name in NAMES[1:]:
        (broken / name).write_bytes((folder / broken.name / name).read_bytes())
    done = smoke(tmp_path, tmp_path, "serial")
    assert done.returncode == 1
    assert done.stderr == f"wrn: {broken} lacks data_batch_1.bin; delete it to have all downloaded\n"


def test_speed_prints_images_a_second_and_writes_nothing(wrn, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    sizes = ["--networks", "10-1", "--packs", "2", "--batch-size", "4", "--steps", "2"]
    wrn.main(["--speed", "--device", "cpu", *sizes])
    lines = capsys.readouterr().out.splitlines()
    assert "random images" in lines[0]
    assert [line.partition(",")[0] for line in lines[1:]] == ["WRN-10-1"] * 2
    assert all(re.search(r": [\d.]+ images/s, [\d.]+ ms a step", line) for line in lines[1:])
    assert list(tmp_path.iterdir()) == []
