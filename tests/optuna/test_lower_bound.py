"""The lowest version of Optuna that pyproject.toml allows has every name that the plug-in imports."""

from __future__ import annotations

import ast
import importlib
import tomllib
from pathlib import Path

import optuna
import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[2]
SINCE = {  # the version that brought a name, of those that 4.0 did not have yet
    "optuna.exceptions.UpdateFinishedTrialError": "4.3.0",
}
IN_4_0 = {
    "optuna.artifacts": "upload_artifact",
    "optuna.artifacts._protocol": "ArtifactStore",
    "optuna.distributions": "BaseDistribution CategoricalDistribution FloatDistribution IntDistribution",
    "optuna.pruners": "BasePruner HyperbandPruner MedianPruner SuccessiveHalvingPruner",
    "optuna.samplers": "BaseSampler RandomSampler TPESampler",
    "optuna.storages": "BaseStorage InMemoryStorage JournalStorage RDBStorage",
    "optuna.storages.journal": "JournalFileBackend JournalFileOpenLock JournalFileSymlinkLock",
    "optuna.study": "Study StudyDirection",
    "optuna.trial": "FrozenTrial TrialState create_trial",
}


def imported_names():
    for path in (ROOT / "integrations" / "robust_lr_optuna").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "optuna":
                yield from ((node.module, alias.name) for alias in node.names)


def lower_bound():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (requirement,) = map(Requirement, extras["optuna"])
    (bound,) = [each.version for each in requirement.specifier if each.operator == ">="]
    return Version(bound)


@pytest.mark.parametrize(("module", "name"), sorted(set(imported_names())))
def test_the_lowest_version_has_what_is_imported(module, name):
    known = "4.0.0" if name in IN_4_0.get(module, "").split() else SINCE.get(f"{module}.{name}")
    assert known, f"look up which version of Optuna brought {module}.{name}, and add it here"
    assert Version(known) <= lower_bound() <= Version(optuna.__version__)
    assert hasattr(importlib.import_module(module), name)


def test_the_lowest_version_is_not_higher_than_needed():
    assert lower_bound() == max(map(Version, SINCE.values()))
