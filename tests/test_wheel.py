"""The built wheel, installed without extras and used from another folder: nothing relies on the repository."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PLUGINS = ("hf", "lightning", "optuna", "ray", "sklearn", "torch")
PACKAGES = {"robust_lr", *(f"robust_lr_{name}" for name in PLUGINS)}


def _run(*command: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    return subprocess.run(
        [str(c) for c in command], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and the wheel that was built from that sdist."""
    folder = tmp_path_factory.mktemp("dist")
    done = _run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (file,) = built.glob("*.whl")
    return file


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of commands of a fresh virtual environment that has the wheel and no extra."""
    environment = tmp_path_factory.mktemp("environment")
    venv.create(environment, with_pip=False)
    done = _run(
        *(sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", environment / "bin" / "python"),
        *("install", "--retries", "1", "-c", ROOT / "constraints.txt", wheel),
        cwd=environment,
    )
    if done.returncode and "connection broken by" in done.stderr:
        pytest.skip("the package index cannot be reached")
    assert done.returncode == 0, done.stdout + done.stderr
    return environment / "bin"


def test_the_wheel_has_the_packages_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    folders = {name.partition("/")[0] for name in names}
    (metadata,) = folders - PACKAGES
    assert folders >= PACKAGES and metadata.endswith(".dist-info"), folders
    assert {f"{package}/py.typed" for package in PACKAGES} <= set(names)
    assert f"{metadata}/licenses/LICENSE" in names
    sources = {p.relative_to(ROOT).as_posix() for p in (ROOT / "robust_lr").rglob("*.py")}
    assert sources <= set(names), "a module is missing from the wheel"


def test_the_sdist_can_be_tested(built):
    (file,) = built.glob("*.tar.gz")
    with tarfile.open(file) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    needed = {"pyproject.toml", "constraints.txt", "Makefile", "LICENSE", "README.md", "CITATION.cff", "CHANGELOG.md"}
    assert needed | {"conftest.py", "tests/test_wheel.py"} <= names


def test_is_imported_from_where_it_was_installed(installed, tmp_path):
    done = _run(installed / "python", "-c", "import robust_lr; print(robust_lr.__file__)", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_relative_to(installed.parent), done.stdout


def test_has_no_extra(installed, tmp_path):
    names = ("torch", "optuna", "ray", "sklearn", "transformers", "lightning")
    code = f"import importlib.util as u; print([n for n in {names} if u.find_spec(n)])"
    assert _run(installed / "python", "-c", code, cwd=tmp_path).stdout.strip() == "[]"


def test_the_command_line_explains_itself(installed, tmp_path):
    done = _run(installed / "robust-lr", "--help", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert all(command in done.stdout for command in ("plan", "run", "analyze", "demo"))


def test_plans_a_grid(installed, tmp_path):
    options = ["--schedule", "cosine", "--lr-min", "1e-4", "--lr-max", "1", "--tolerance", "0.5"]
    done = _run(installed / "robust-lr", "plan", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "0.0001" in done.stdout and "ratio" in done.stdout


def test_the_demo_names_the_extras_it_needs(installed, tmp_path):
    done = _run(installed / "robust-lr", "demo", cwd=tmp_path)
    assert done.returncode != 0
    assert len(done.stderr.strip().splitlines()) == 1, f"one line is enough: {done.stderr}"
    assert "pip install 'robust-lr[" in done.stderr


def test_the_options_of_a_plugin_show_without_its_framework_and_name_the_extra_on_use(installed, tmp_path):
    shown = _run(installed / "python", "-m", "robust_lr", "analyze", "--help", cwd=tmp_path).stdout
    assert "--optuna STORAGE" in shown and "--ray DIR" in shown
    (tmp_path / "train.py").write_text("def train(*, lr, schedule, seed):\n    return lr\n")
    options = ["--lr-min", "0.1", "--lr-max", "1", "--n-points", "3", "--schedules", "cosine"]
    for words in (["analyze", "--optuna", "study.log"], ["run", "train.py:train", *options, "--ray"]):
        done = _run(installed / "robust-lr", *words, cwd=tmp_path)
        name = "optuna" if "--optuna" in words else "ray"
        assert done.returncode == 2
        assert done.stderr.startswith(f"error: this needs an extra: pip install 'robust-lr[{name}]' (")
        assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("line", "extra"),
    [
        ("import robust_lr_torch", "torch"),
        ("from robust_lr_hf import annealed", "hf"),
        ("from robust_lr_lightning import annealed", "lightning"),
    ],
)
def test_training_names_its_extra(line, extra, installed, tmp_path):
    done = _run(installed / "python", "-c", line, cwd=tmp_path)
    assert done.returncode != 0
    assert f"pip install 'robust-lr[{extra}]'" in done.stderr.strip().splitlines()[-1], done.stderr


CONSUMER = ROOT / "tests" / "consumer" / "consumer.py"


def test_a_program_that_uses_it_is_type_checked_by_mypy(installed, tmp_path):
    options = ["--strict", "--no-incremental", "--python-executable", installed / "python", "--config-file="]
    done = _run(sys.executable, "-m", "mypy", *options, shutil.copy(CONSUMER, tmp_path), cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pyright") is None, reason="pyright is not installed")
def test_a_program_that_uses_it_is_type_checked_by_pyright(installed, tmp_path):
    done = _run("pyright", "--pythonpath", installed / "python", shutil.copy(CONSUMER, tmp_path), cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
