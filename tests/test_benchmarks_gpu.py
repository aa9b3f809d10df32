"""benchmarks/gpu.sh as far as it goes without a GPU: its stages, its report and its tables."""

import importlib
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from robust_lr import SweepResult
from tests.idx_files import write_fashion

ROOT = Path(__file__).parents[1]
MACHINE = {"device": "a GPU", "python": "3.12", "torch": "2", "tiny": False, "rounds": 1}


@pytest.fixture(scope="module")
def gpu():
    """The module, imported as gpu.sh runs it."""
    folders = [str(ROOT / name) for name in ("benchmarks", "examples")]
    sys.path[:0] = folders
    threads = torch.get_num_threads()
    yield importlib.import_module("gpu")
    torch.set_num_threads(threads)
    for folder in folders:
        sys.path.remove(folder)


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """One file with the four of Fashion-MNIST."""
    folder = tmp_path_factory.mktemp("images")
    write_fashion(folder / "fashion-mnist", ".gz")
    with tarfile.open(folder / "images.tar", "w") as tar:
        tar.add(folder / "fashion-mnist", "fashion-mnist")
    return folder / "images.tar"


def run_stage(gpu, name, out, *more):
    gpu.main(["--device", "cpu", "--tiny", "--part", name, "--out", str(out), *more])
    return json.loads((out / f"{name}.json").read_text())


def test_a_pack_is_timed_against_the_loop_and_trains_what_its_trials_train_alone(gpu, tmp_path):
    (case,) = run_stage(gpu, "wrn", tmp_path)["cases"]
    assert (case["engine"], case["replicas"]) == ("packed", 8)
    assert set(case["us_a_replica_step"]) == {"loop", "alone", "kernels"}
    assert case["gain_over_loop"]["kernels"] > 0
    assert case["kernels: largest difference of losses"] < 1e-4
    page = gpu.packs_page({**MACHINE, "parts": {"wrn": {"status": "done", "found": {"cases": [case]}}}})
    assert "| WRN-16-4 on 28x28, SGD + Nesterov, B=32 | packed | 8 | " in page


def test_a_case_that_does_not_fit_is_named_and_the_others_are_timed(gpu, tmp_path, monkeypatch):
    engines = importlib.import_module("on_gpu.engines")

    def make_pack(task, schedules, slots, **options):
        if slots > 8:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return pack(task, schedules, slots, **options)

    pack = engines.Pack
    monkeypatch.setattr(engines, "Pack", make_pack)
    found = run_stage(gpu, "mlp", tmp_path, "--replicas", "16", "8")
    wrong, fine = found["cases"]
    assert fine["gain_over_loop"]
    assert wrong["error"] == "OutOfMemoryError: CUDA out of memory"
    page = gpu.packs_page({**MACHINE, "parts": {"mlp": {"status": "done", "found": found}}})
    assert "| packed | 16 | OutOfMemoryError: CUDA out of memory | " in page


def test_replicas_are_as_many_for_each_learning_rate(gpu, tmp_path, capsys):
    with pytest.raises(SystemExit):
        gpu.main(["--replicas", "12", "--out", str(tmp_path)])
    assert "--replicas must be multiples of 8, got 12" in capsys.readouterr().err


def test_the_sweep_on_images_is_kept_in_a_journal_that_a_later_run_continues(gpu, tmp_path, archive):
    found = run_stage(gpu, "fashion-mnist", tmp_path, "--images", str(archive))
    assert (found["network"], found["trials"], found["of"]) == ("cnn", 42, 42)
    assert np.isfinite(found["loss"]).all()
    journal = tmp_path / "fashion-mnist-tiny.jsonl"
    before = journal.read_bytes()
    assert run_stage(gpu, "fashion-mnist", tmp_path, "--images", str(archive)) == found
    assert journal.read_bytes() == before, "no trial runs again"
    assert len(SweepResult.from_journal(journal).schedules) == 7


def test_what_a_sweep_has_so_far_is_plain_json_with_the_trials_that_are_done(gpu, tmp_path):
    fashion = importlib.import_module("on_gpu.fashion")
    loss = np.full((7, 3, 2), np.nan)
    loss[:, 0], loss[:, 1] = 0.5, np.inf
    sweep = SweepResult(tuple(fashion.SCHEDULES), [0.1, 0.2, 0.4], (0, 1), loss, n_left=14)
    gpu.write_json(tmp_path / "found.json", fashion.figures(sweep, fashion.tier_of(tiny=False)))
    found = json.loads((tmp_path / "found.json").read_text(), parse_constant=pytest.fail)
    assert (found["trials"], found["of"], found["network"]) == (28, 63, "16-4")
    assert found["loss"][0] == [[0.5, 0.5], ["inf", "inf"], [None, None]]
    assert "WRN-16-4, 5 epochs: 28 of 63 trials are done" in gpu.networks_page(
        {**MACHINE, "parts": {"fashion-mnist": {"found": found}}}
    )


def test_a_stage_that_fails_or_hangs_leaves_the_others_alone_and_a_later_run_keeps_their_figures(
    gpu, tmp_path, monkeypatch, capsys
):
    codes = {
        "mlp": "import sys; open(sys.argv[1], 'w').write('{\"cases\": []}')",
        "cnn": "import sys; open(sys.argv[1], 'w').write('{\"cases\": []}'); sys.exit('no kernel')",
        "wrn": "import time; time.sleep(600)",
    }
    monkeypatch.setattr(
        gpu, "command_of", lambda part, args, s: [sys.executable, "-c", codes[part], str(args.out / f"{part}.json")]
    )
    monkeypatch.setattr(gpu, "LIMITS", {**gpu.LIMITS, "wrn": 1})
    monkeypatch.setattr(gpu, "SHORTEST", 1)
    options = ["--device", "cpu", "--tiny", "--out", str(tmp_path), "--images", str(tmp_path / "none.tar"), "--parts"]
    gpu.main([*options, "cnn", "wrn", "fashion-mnist"])
    gpu.main([*options, "mlp"])
    parts = json.loads((tmp_path / "gpu.json").read_text())["parts"]
    assert parts["cnn"]["status"] == "failed with 1"
    assert parts["cnn"]["last_line"] == "no kernel"
    assert parts["cnn"]["found"] == {"cases": []}
    assert parts["wrn"]["status"] == "ended at its limit of 1 s"
    assert "no images at" in parts["fashion-mnist"]["status"]
    assert parts["mlp"]["status"] == "done"
    assert "cnn failed with 1" in capsys.readouterr().out
    for page in gpu.PAGES:
        assert "these figures mean nothing" not in (ROOT / "docs" / page).read_text()
        assert "these figures mean nothing" in (tmp_path / Path(page).name).read_text()


def test_the_tables_go_between_their_markers(gpu, tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- begin of the tables of benchmarks/gpu.sh -->\nold\n"
                    "<!-- end of the tables of benchmarks/gpu.sh -->\nafter\n")  # fmt: skip
    assert gpu.fill(page, "new").splitlines()[0::2] == ["before", "new", "after"]
    page.write_text("nothing")
    with pytest.raises(SystemExit, match=r"page\.md must hold the lines"):
        gpu.fill(page, "new")


@pytest.mark.slow
def test_all_stages_run_to_their_end_on_a_cpu(tmp_path, archive):
    done = subprocess.run(
        ["sh", str(ROOT / "benchmarks" / "gpu.sh"), "--device", "cpu", "--tiny", "--images", str(archive)],
        env={**os.environ, "OUT": str(tmp_path), "PYTHON": sys.executable},
        check=True,
        capture_output=True,
        text=True,
        timeout=280,
    )
    parts = json.loads((tmp_path / "gpu.json").read_text())["parts"]
    assert {name: entry["status"] for name, entry in parts.items()} == dict.fromkeys(parts, "done"), done.stdout
    assert list(parts) == ["tests", "mlp", "char-lm", "cnn", "wrn", "sharing", "fashion-mnist"]
    ways = parts["sharing"]["found"]["mlp"]["ways"]
    assert set(ways) == {"one by one", "packed", "processes", "auto"}
    assert all(way["largest difference of losses"] < 1e-4 for name, way in ways.items() if name != "one by one")
