"""Install the built wheel into clean environments, with the lowest and the newest versions, and use it in each.

In each environment the public names are imported, a sweep, a search, an analysis, a study of Optuna and a search of
scikit-learn run, and the tests of `--tests` on top. Run: python benchmarks/environments.py [--only WORD] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

LOWEST = (
    "numpy==1.26.0",
    "scipy==1.11.3",
    "rich==13.8.0",
    "optuna==4.3.0",
    "scikit-learn==1.4.0",
    "matplotlib==3.10.0",
)
LOWEST_313 = (
    "numpy==2.1.0",
    "scipy==1.14.1",
    "rich==13.8.0",
    "optuna==4.3.0",
    "scikit-learn==1.5.2",
    "matplotlib==3.10.0",
)
NEWEST = ("numpy", "scipy", "rich", "optuna", "scikit-learn", "matplotlib")

USE = """
import sys, warnings
import numpy, scipy, optuna, sklearn, robust_lr
from robust_lr import GeometricGrid, analyze_sweep, run_sweep, search_learning_rate
from robust_lr_optuna import GeometricGridSampler, analyze_study
from robust_lr_sklearn import LearningRateSearchCV

def train(*, lr, schedule, seed):
    rng, x = numpy.random.default_rng(seed), 5.0
    for rate in lr * schedule(numpy.arange(200), 200):
        x -= rate * (x + rng.normal())
    return 0.5 * x**2 + lr**2

if __name__ == "__main__":
    for name in dir(robust_lr):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            getattr(robust_lr, name)
    sweep = run_sweep(train, GeometricGrid(2.0**-8, 1.0, 9), ["constant", "cosine"], 4, journal="sweep.jsonl")
    assert analyze_sweep(sweep, tolerance=1.0).recommendations
    assert search_learning_rate(lambda *, lr, schedule, seed: (lr - 0.1) ** 2, 1e-3, 1.0, tolerance=0.01).stop
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=GeometricGridSampler(GeometricGrid(1e-3, 1.0, 5), seeds=2))
    study.optimize(lambda t: (t.suggest_float("lr", 1e-4, 1, log=True) - 0.1) ** 2 + t.suggest_int("seed", 0, 9) / 1000)
    assert analyze_study(study).sweep.n_trials == 10
    from sklearn.datasets import load_digits
    from sklearn.linear_model import SGDClassifier
    x, y = load_digits(return_X_y=True)
    model = SGDClassifier(loss="log_loss", learning_rate="constant", max_iter=5, tol=None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        search = LearningRateSearchCV(
            model, 1e-4, 1.0, tolerance=0.02, lr_name="eta0", scoring="neg_log_loss", cv=2
        )
        assert search.fit(x[:400] / 16, y[:400]).best_score_ < 0
    names = [numpy, scipy, optuna, sklearn]
    print(" ".join(f"{each.__name__} {each.__version__}" for each in names))
"""


@dataclass(frozen=True)
class Environment:
    """A Python and what is installed beside the wheel."""

    name: str
    python: str
    packages: tuple[str, ...]
    extra: str = ""


ENVIRONMENTS = (
    Environment("3.11, lowest", "python3.11", LOWEST),
    Environment("3.11, newest", "python3.11", NEWEST),
    Environment("3.12, lowest", "python3.12", LOWEST),
    Environment("3.12, newest", "python3.12", NEWEST),
    Environment("3.13, lowest", "python3.13", LOWEST_313),
    Environment("3.13, newest", "python3.13", NEWEST),
)


def run(*words: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command without this environment's variables."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    return subprocess.run([str(w) for w in words], cwd=cwd, env=kept, capture_output=True, text=True, check=False)


def interpreter(name: str) -> str | None:
    """Return the path of a Python, None if it is not on this machine (with pyenv, set PYENV_VERSION to all of them)."""
    path = shutil.which(name)
    if path is None:
        return None
    done = subprocess.run(
        [path, "-c", "import sys; print(sys.executable)"], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() if done.returncode == 0 else None


def tried(environment: Environment, wheel: Path, folder: Path, tests: list[str]) -> dict[str, object]:
    """Return what happened in one environment."""
    row: dict[str, object] = {"environment": environment.name, "python": "", "versions": "", "result": "", "tests": ""}
    python = interpreter(environment.python)
    if python is None:
        return row | {"result": "no such Python here"}
    done = run(python, "-m", "venv", folder / "venv", cwd=folder)
    of_venv = folder / "venv" / "bin" / "python"
    packages = [*environment.packages, *(["pytest", "pytest-timeout", "hypothesis"] if tests else [])]
    done = run(of_venv, "-m", "pip", "install", "-qq", "--disable-pip-version-check", wheel, *packages, cwd=folder)
    if done.returncode:
        return row | {"result": f"not installed: {done.stderr.strip().splitlines()[-1]}"}
    row["python"] = run(of_venv, "-V", cwd=folder).stdout.split()[-1]
    (folder / "use.py").write_text(USE)
    done = run(of_venv, "-W", "error::DeprecationWarning:robust_lr", "use.py", cwd=folder)
    if done.returncode:
        return row | {"result": f"failed: {done.stderr.strip().splitlines()[-1]}"}
    row["versions"] = done.stdout.strip()
    done = run(folder / "venv" / "bin" / "robust-lr", "demo", "--n-jobs", 1, cwd=folder)
    row["result"] = "works" if done.returncode == 0 else f"demo failed: {done.stderr.strip().splitlines()[-1]}"
    if tests:
        for name in ("tests", "conftest.py", "pyproject.toml"):
            (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, folder / name)
        done = run(
            of_venv, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--import-mode=importlib", *tests, cwd=folder
        )
        row["tests"] = done.stdout.strip().splitlines()[-1] if done.stdout.strip() else done.stderr.strip()[-200:]
    return row


def main() -> None:
    """Build the wheel, try each environment, print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="environments whose name has this word")
    parser.add_argument("--tests", nargs="*", default=[], help="tests to run in each, such as tests/analysis")
    parser.add_argument("--strict", action="store_true", help="exit with 1 if one of them does not work")
    parser.add_argument("--json", type=Path, help="write the table there, beside what it has already")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        done = run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT, cwd=Path(folder))
        if done.returncode:
            sys.exit(done.stdout + done.stderr)
        (wheel,) = Path(folder).glob("*.whl")
        rows = []
        print("| environment | Python | versions | result | tests | s |\n| --- | --- | --- | --- | --- | --: |")
        for number, environment in enumerate(e for e in ENVIRONMENTS if options.only in e.name):
            start, place = time.perf_counter(), Path(folder) / str(number)
            place.mkdir()
            row = tried(environment, wheel, place, options.tests) | {"seconds": round(time.perf_counter() - start)}
            rows.append(row)
            print(f"| {' | '.join(str(value) for value in row.values())} |", flush=True)
            shutil.rmtree(place)
    if options.json is not None:
        known = json.loads(options.json.read_text())["rows"] if options.json.exists() else []
        rows = [each for each in known if each["environment"] not in {row["environment"] for row in rows}] + rows
        found = {"date": time.strftime("%Y-%m-%d"), "machine": platform.machine(), "rows": rows}
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    if options.strict and not all(row["result"] == "works" and "failed" not in str(row["tests"]) for row in rows):
        sys.exit(1)


if __name__ == "__main__":
    main()
