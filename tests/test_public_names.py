"""The names that `robust_lr` exports, and those that moved."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import robust_lr

ROOT = Path(__file__).resolve().parent.parent

NAMES = """
Analysis BranchedSweep CommandTask Constant Cooldown CosineDecay DegradationCurve DivergenceWatch FunctionSchedule
GeometricGrid InverseSqrt LearningRateProfile LearningRateSearch LinearDecay LinearModelTask PackedRunner
PolynomialDecay ProcessPoolRunner Recommendation RobustLRError Schedule ScheduleComparison SearchOptions SearchResult
SerialRunner SweepCollection SweepResult TableSchedule TrainFunction TrialDiverged TrialPreempted TrialResult
TrialSpec Warmup WarmupStableDecay analyze_sweep compare_schedules degradation_curve learning_rate_profile
parse_schedule preempted recommend run_sweep search_learning_rate transfer_learning_rate
"""

# What version 0.1 exported too: each works with a warning until version 0.3.
MOVED = {
    "robust_lr.exceptions": "DataError GridError InsufficientDataError JournalError NotVectorizable RobustLRWarning "
    "ScheduleError TrialError",
    "robust_lr.runners": "Runner evaluate_trial",
    "robust_lr.theory": "GridGuarantee SuffixBounds TunedBound asymptotic_exponent grid_guarantee last_iterate_bound "
    "misspecification_curve resolution_for_tolerance robustness_exponent suffix_bounds transfer_ratio tuned_bound",
}


def offered(package):
    """The public names of a package that are not modules of it."""
    return {n for n in dir(package) if n[0] != "_" and f"{package.__name__}.{n}" not in sys.modules}


def test_the_top_exports_these_names_and_no_other():
    assert offered(robust_lr) == set(NAMES.split())


@pytest.mark.parametrize("name", NAMES.split())
def test_every_public_name_is_explained(name):
    doc = getattr(robust_lr, name).__doc__ or ""
    # A dataclass without a docstring is given its signature for one.
    assert doc and not doc.startswith(f"{name}("), f"robust_lr.{name} has no docstring"


LAZY = ["robust_lr", *(f"integrations/robust_lr_{name}" for name in ("hf", "lightning", "optuna", "ray"))]


@pytest.mark.parametrize("path", LAZY)
def test_type_checkers_see_the_names_that_python_finds(path):
    tree = ast.parse((ROOT / path / "__init__.py").read_text(encoding="utf-8"))
    blocks = [node.body for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    static = {alias.asname: node.module for block in blocks for node in block for alias in node.names}
    package = import_module(Path(path).name)
    assert set(static) == offered(package)
    for name, module in static.items():
        home = import_module(f"{package.__name__}.{module}")
        assert getattr(package, name) is getattr(home, name)


@pytest.mark.parametrize(("home", "name"), [(home, name) for home, names in MOVED.items() for name in names.split()])
def test_a_name_that_moved_works_and_says_where_it_is_now(home, name):
    with pytest.warns(DeprecationWarning) as warned:  # one of them has another spelling too, and a second warning
        assert getattr(robust_lr, name) is getattr(import_module(home), name)
    assert str(warned[0].message).startswith(f"robust_lr.{name} has moved: from {home} import {name} ")


def test_a_name_that_is_none_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'robust_lr' has no attribute 'run_swep'"):
        robust_lr.run_swep  # noqa: B018


# The import lines of README and docs in version 0.1.0.
OLD_LINES = """
from robust_lr import GeometricGrid, degradation_curve, recommend, run_sweep
from robust_lr import GeometricGrid, PackedRunner, run_sweep
from robust_lr import LearningRateSearch, ProcessPoolRunner, search_learning_rate, transfer_learning_rate
from robust_lr import GeometricGrid, parse_schedule
from robust_lr.training import AnnealedLR, SupervisedTask
from robust_lr_optuna import GeometricGridSampler, LearningRateSampler, analyze_study, search_of
from robust_lr_ray import GridSearcher, LearningRateSearcher, RayRunner, param_space, sweep_from_result_grid
from robust_lr_sklearn import LearningRateSearchCV
from robust_lr.testing import RunnerContract, ScheduleContract
"""


@pytest.mark.parametrize("line", OLD_LINES.strip().splitlines())
def test_the_import_lines_of_the_first_version_work(line):
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", line], check=False, cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    old_place = "robust_lr.training" in line
    assert ("robust_lr.training is now robust_lr_torch" in done.stderr) == old_place
