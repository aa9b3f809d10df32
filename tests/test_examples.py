"""Every example runs as its first lines say, and says what it promises."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
PROMISES = {
    "quickstart_numpy.py": "cosine: ratio ",
    "char_lm_packed.py": " comparisons, seed by seed; ",
    "custom_schedule.py": "bound, not prediction",
    "optuna_many_processes.py": "144 of 144 cells, each run {1} time",
    "optuna_study.py": "Grid for the next search",
    "digits_torch.py": "Every schedule breaks at the same learning rate",
}
ARGUMENTS = {"char_lm_packed.py": ["--steps", "20", "--seeds", "2"]}


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.glob("*.py")))
def test_example_runs_and_keeps_its_promise(name, tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / name), *ARGUMENTS.get(name, [])],
        cwd=tmp_path,
        check=False,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    assert PROMISES[name] in done.stdout
