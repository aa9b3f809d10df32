"""What the tests of the Optuna plug-in share: storages of every kind, and a quiet Optuna."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import optuna
import pytest

pytest.register_assert_rewrite("optuna.testing.pytest_samplers")

CHAOS = Path(__file__).parents[2] / "benchmarks" / "optuna_chaos.py"


@pytest.fixture(autouse=True)
def _quiet():
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    yield
    optuna.logging.set_verbosity(before)


@pytest.fixture(scope="session")
def chaos():
    """The benchmark with many processes, as a module that its workers can import."""
    spec = importlib.util.spec_from_file_location("optuna_chaos", CHAOS)
    module = importlib.util.module_from_spec(spec)
    sys.modules["optuna_chaos"] = module
    sys.path.insert(0, str(CHAOS.parent))
    spec.loader.exec_module(module)
    yield module
    sys.path.remove(str(CHAOS.parent))
    del sys.modules["optuna_chaos"]


@pytest.fixture(scope="session")
def postgresql(chaos):
    """The URL of a PostgreSQL server that runs while the tests do."""
    if chaos.postgresql_programs() is None:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    with chaos.postgresql_server() as url:
        yield url


@pytest.fixture(params=["journal", "safe sqlite", "sqlite", "postgresql"])
def storage_url(request, chaos, tmp_path):
    """Kind and URL of a fresh storage that several processes may open."""
    if request.param == "postgresql":
        return request.param, request.getfixturevalue("postgresql")
    return request.param, str(
        tmp_path / "study.log"
    ) if request.param == "journal" else f"sqlite:///{tmp_path}/study.db"
