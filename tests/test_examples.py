"""Every example runs as its first lines say, and says what it promises."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
PROMISES = {
    "wrn.py": "images/s",
    "quickstart_numpy.py": "cosine: ratio ",
    "search_digits.py": "cosine from 2.06\nBest learning rate: ",
    "branched.py": "0 of 24 losses differ from those from scratch",
    "char_lm_packed.py": " comparisons, seed by seed; ",
    "custom_schedule.py": "bound, not prediction",
    "optuna_many_processes.py": "144 of 144 cells, each run {1} time",
    "optuna_search.py": "trials; nothing in the range is better by more than the tolerance",
    "optuna_study.py": "Grid for new seeds of this task",
    "ray_ddp_trial.py": "8 trials, each trained by 2 workers",
    "sklearn_search.py": "Stopped: nothing in the range is better by more than the tolerance.",
    "digits_torch.py": "Every schedule breaks at the same learning rate",
}
ARGUMENTS = {
    "branched.py": ["--horizons", "40,50,60,70", "--from-scratch"],
    "char_lm_packed.py": ["--steps", "20", "--seeds", "2"],
    "wrn.py": [
        "--speed",
        "--device",
        "cpu",
        "--networks",
        "10-1",
        "--packs",
        "2",
        "--batch-size",
        "4",
        "--steps",
        "2",
    ],
}


# tests/ray/test_job_submit.py runs the first on a cluster, tests/test_examples_wrn.py the second.
ELSEWHERE = {"ray_sweep.py", "wrn_trial.py"}
# More than 5 s each; what they show is tested elsewhere in less time.
SLOW = {"branched.py", "char_lm_packed.py", "wrn.py", "digits_torch.py", "ray_ddp_trial.py", "sklearn_search.py"}
NAMES = sorted(path.name for path in EXAMPLES.glob("*.py") if path.name not in ELSEWHERE)


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in NAMES])
def test_example_runs_and_keeps_its_promise(name, tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / name), *ARGUMENTS.get(name, [])],
        cwd=tmp_path,
        env={**os.environ, "RAY_AUTH_MODE": "disabled"},  # else Ray writes a token into the home folder
        check=False,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    assert PROMISES[name] in done.stdout
