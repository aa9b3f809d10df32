"""The CIFAR-10 example, on a handful of images in CIFAR's own format: data, network, training, and the smoke tier."""

import hashlib
import importlib.util
import os
import pickle
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from robust_lr import CosineDecay, SweepResult, TrialSpec
from robust_lr.exceptions import DataError
from robust_lr.runners import evaluate_trial
from robust_lr_ray._checkpoints import checkpointing

SCRIPT = Path(__file__).parents[1] / "examples" / "cifar10_wrn.py"
NAMES = (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin")


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("cifar10_wrn", SCRIPT)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Six files of 20 images each, noise that is brighter the higher the class is."""
    folder, rng = tmp_path_factory.mktemp("cifar10"), np.random.default_rng(0)
    (folder / "cifar-10-batches-bin").mkdir()
    for name in NAMES:
        labels = rng.integers(10, size=(20, 1), dtype=np.uint8)
        records = np.hstack([labels, (rng.integers(60, size=(20, 3072)) + 20 * labels).astype(np.uint8)])
        (folder / "cifar-10-batches-bin" / name).write_bytes(records.tobytes())
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


def make_trial(example, folder, **options):
    values = {"network": (10, 1), "n_epochs": 2, "batch_size": 16, "device": "cpu", **options}
    return example.CifarTrial(data=example.Cifar10(str(folder), 80), **values)


def make_training(example, folder, **options):
    images = example.Cifar10(str(folder), 80).parts["train"]
    values = {"lr": 0.1, "schedule": CosineDecay(), "seed": 0, "n_epochs": 2, "batch_size": 16, **options}
    return example.Training((10, 1), images, **values)


@pytest.mark.parametrize(("depth", "width", "millions"), [(28, 10, 36.5), (16, 4, 2.7), (40, 4, 8.9), (16, 8, 11.0)])
def test_the_networks_have_as_many_parameters_as_the_paper_says(example, depth, width, millions):
    assert round(example.n_parameters(depth, width) / 1e6, 1) == millions


def test_a_depth_that_no_wide_resnet_has_is_refused(example):
    with pytest.raises(DataError, match="depth of 10, 16, 22"):
        example.WideResNet(18, 1)


def test_an_image_is_a_class_then_red_green_and_blue_row_by_row(example):
    pixels = np.arange(3072) % 251
    images = example.decode(bytes([7, *pixels]), Path("data_batch_1.bin"))
    assert images.labels.tolist() == [7]
    assert images.pixels[0, 2, 5].tolist() == [pixels[channel * 1024 + 2 * 32 + 5] for channel in range(3)]


def test_a_tenth_of_the_training_images_is_held_out_and_the_test_images_are_apart(example, folder):
    whole = [example.decode((folder / "cifar-10-batches-bin" / n).read_bytes(), Path(n)).pixels for n in NAMES]
    parts = example.Cifar10(str(folder), 100).parts
    assert {name: len(images) for name, images in parts.items()} == {"train": 90, "validation": 10, "test": 20}
    assert torch.equal(torch.cat([parts[name].pixels for name in ("train", "validation", "test")]), torch.cat(whole))


def test_the_archive_is_downloaded_once_and_checked(example, folder, archive, tmp_path):
    md5 = hashlib.md5(archive.read_bytes()).hexdigest()
    path = example.fetch_archive(tmp_path / "data", url=archive.as_uri(), md5=md5)
    unpacked = {name: (folder / "cifar-10-batches-bin" / name).read_bytes() for name in NAMES}
    assert example.read_archive(path) == unpacked
    archive.unlink()
    assert example.fetch_archive(tmp_path / "data", url=archive.as_uri(), md5=md5) == path
    assert list(path.parent.iterdir()) == [path]


def test_a_download_with_another_checksum_is_refused_and_leaves_nothing(example, archive, tmp_path):
    with pytest.raises(DataError, match="expected c32a1d4ab5d03f1284b67883e8d87530") as error:
        example.fetch_archive(tmp_path / "data", url=archive.as_uri())
    assert archive.as_uri() in one_line(error)
    assert list((tmp_path / "data").iterdir()) == []


def test_an_archive_that_was_cut_off_is_named(example, archive, tmp_path):
    md5 = hashlib.md5(archive.read_bytes()).hexdigest()
    path = tmp_path / "cifar-10-binary.tar.gz"
    path.write_bytes(archive.read_bytes()[:-100])
    with pytest.raises(DataError, match="delete it to have it downloaded again") as error:
        example.fetch_archive(tmp_path, url=archive.as_uri(), md5=md5)
    assert str(path) in one_line(error)


def test_offline_the_message_says_where_the_archive_must_be_and_where_it_comes_from(example, tmp_path):
    url = (tmp_path / "nothing.tar.gz").as_uri()
    with pytest.raises(DataError) as error:
        example.fetch_archive(tmp_path / "data", url=url)
    assert str(tmp_path / "data" / "cifar-10-binary.tar.gz") in one_line(error)
    assert url in one_line(error)


@pytest.mark.parametrize(
    ("content", "said"),
    [(bytes(3073 + 3000), "got 6073 bytes: truncated"), (b"", "got 0 bytes"), (bytes([10]) + bytes(3072), "got 10")],
)
def test_a_file_that_holds_no_whole_images_is_named(example, content, said):
    with pytest.raises(DataError, match=said) as error:
        example.decode(content, Path("data_batch_1.bin"))
    assert "data_batch_1.bin" in one_line(error)


def test_only_the_smoke_tier_takes_fewer_images_than_cifar_has(example, folder):
    with pytest.raises(DataError, match=r"data_batch_1\.bin must hold 10000 images, got 20"):
        _ = example.Cifar10(str(folder)).parts


def test_a_crop_is_a_part_of_the_image_padded_by_its_reflection(example):
    rng = np.random.default_rng(0)
    pixels = rng.integers(256, size=(5, 32, 32, 3), dtype=np.uint8)
    rows, shifts, flips = rng.integers(5, size=81), np.mgrid[-4:5, -4:5].reshape(2, 81), rng.integers(2, size=81) == 1
    found = example.crop_and_flip(*(torch.from_numpy(a) for a in (pixels, rows, shifts, flips)))
    padded = np.pad(pixels, ((0, 0), (4, 4), (4, 4), (0, 0)), mode="reflect")
    for image, row, (down, right), flip in zip(found.numpy(), rows, shifts.T, flips, strict=True):
        crop = padded[row, 4 + down : 36 + down, 4 + right : 36 + right]
        np.testing.assert_array_equal(image, crop[:, ::-1] if flip else crop)


def test_a_training_that_was_interrupted_goes_on_as_if_it_had_not_been(example, folder, tmp_path):
    whole, first, second = (make_training(example, folder) for _ in range(3))
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


def test_a_trial_goes_on_from_its_checkpoint_and_keeps_one_after_each_epoch(example, folder, tmp_path):
    first, trial = make_training(example, folder), make_trial(example, folder)
    first.run_epoch()
    with checkpointing(tmp_path, "trial") as checkpoint:
        checkpoint.save({**first.state_dict(), "losses": [1.5] * 4})  # told from what the trial itself would see
        resumed = trial(lr=0.1, schedule=CosineDecay(), seed=0)
        assert checkpoint.load()["epoch"] == 2
        assert checkpoint.load()["losses"][:4] == [1.5] * 4
    assert resumed == trial(lr=0.1, schedule=CosineDecay(), seed=0)


def test_a_seed_fixes_the_training_whatever_was_drawn_before(example, folder):
    trial = make_trial(example, folder)
    results = []
    for seed in (0, 0, 1):
        torch.manual_seed(len(results))
        results.append(trial(lr=0.1, schedule=CosineDecay(), seed=seed))
    assert results[0] == results[1] != results[2]
    assert set(results[0]) == {
        "loss", "train_loss", "train_accuracy", "validation_accuracy", "test_loss", "test_accuracy"
    }  # fmt: skip


def test_training_learns(example, folder):
    training = make_training(example, folder, n_epochs=8)
    for _ in range(8):
        training.run_epoch()
    assert training.evaluate(training.images)[0] < 1.8  # chance is 2.3


def test_a_learning_rate_that_is_far_too_high_diverges(example, folder):
    trial = make_trial(example, folder)
    result = evaluate_trial(trial, TrialSpec("cosine", 1e30, 0), CosineDecay())
    assert (result.status, result.loss) == ("diverged", float("inf"))


def test_the_images_stay_behind_when_the_trial_travels(example, folder):
    trial = make_trial(example, folder)
    assert len(trial.data.parts["train"]) == 72
    sent = pickle.dumps(trial)
    assert len(sent) < 1000
    assert len(pickle.loads(sent).data.parts["train"]) == 72


def test_each_tier_says_what_it_will_do(example):
    full = example.announcement("full", example.TIERS["full"], 3, 45_000, 4000.0)
    assert "195 trials of 200 epochs, 70200 steps each" in full
    assert "122 GPU hours at 4000 images/s" in full
    mini = example.announcement("mini", example.TIERS["mini"], 3, 45_000, None)
    assert "GPU hours unknown: measure images/s with --speed" in mini


def smoke(folder, tmp_path, runner):
    options = ["--data", str(folder), "--runner", runner, "--journal", "journal.jsonl", "--report", "report.html"]
    return subprocess.run(
        [sys.executable, "-W", "error", str(SCRIPT), "--tier", "smoke", *options],
        cwd=tmp_path,
        env={**os.environ, "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"},
        check=False,
        capture_output=True,
        text=True,
        timeout=200,
    )


@pytest.mark.slow
def test_the_smoke_tier_ends_with_a_recommendation_and_a_report_on_ray(folder, tmp_path):
    done = smoke(folder, tmp_path, "ray")
    assert done.returncode == 0, done.stderr
    assert "smoke: WRN-10-1" in done.stdout
    assert "5 schedules x 3 learning rates 0.01..1 x 2 seeds = 30 trials of 2 epochs, 8 steps each" in done.stdout
    assert "Grid for new seeds of this task" in done.stdout
    assert len(re.findall(r"by the validation loss; test loss \d", done.stdout)) == 5
    sweep = SweepResult.from_journal(tmp_path / "journal.jsonl")
    assert np.isfinite(sweep.loss).sum() == 30
    assert sweep.metrics["test_accuracy"].shape == (5, 3, 2)
    assert "CIFAR-10, at most 80 images" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_what_is_wrong_with_the_data_is_one_line_on_the_command_line(folder, tmp_path):
    broken = tmp_path / "cifar-10-batches-bin"
    broken.mkdir()
    for name in NAMES[1:]:
        (broken / name).write_bytes((folder / broken.name / name).read_bytes())
    done = smoke(tmp_path, tmp_path, "serial")
    assert done.returncode == 1
    assert done.stderr == f"cifar10_wrn: {broken} lacks data_batch_1.bin; delete it to have all downloaded\n"


def test_speed_prints_images_a_second_and_writes_nothing(example, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    sizes = ["--networks", "10-1", "--packs", "2", "--batch-size", "4", "--steps", "2"]
    example.main(["--speed", "--device", "cpu", *sizes])
    lines = capsys.readouterr().out.splitlines()
    assert "random images" in lines[0]
    assert [line.partition(",")[0] for line in lines[1:]] == ["WRN-10-1"] * 2
    assert all(re.search(r": [\d.]+ images/s, [\d.]+ ms a step", line) for line in lines[1:])
    assert list(tmp_path.iterdir()) == []
