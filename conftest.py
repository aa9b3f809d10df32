"""Settings that every test and doctest shares. The environment comes first: numpy, torch and Ray read it on import."""

import os
from typing import Any

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ["RAY_AUTH_MODE"] = "disabled"  # else Ray writes a token into the home folder
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
# What a test reads from a terminal must not depend on the terminal.
for _variable in ("FORCE_COLOR", "COLUMNS"):
    os.environ.pop(_variable, None)

import pytest  # noqa: E402
from hypothesis import settings  # noqa: E402

settings.register_profile("robust-lr", deadline=None, max_examples=50)
settings.register_profile("robust-lr-ci", settings.get_profile("robust-lr"), derandomize=True, database=None)
settings.load_profile("robust-lr-ci" if os.environ.get("CI") == "true" else "robust-lr")

# What takes longest begins first, so that the processes of `make test` end together.
_LONGEST_FIRST = ("tests/ray/", "tests/optuna/", "tests/torch/", "tests/runners/")


def _group(nodeid: str) -> str:
    """All tests of Ray share one local Ray; the tests of another file share its fixtures."""
    uses_ray = nodeid.startswith(("tests/ray/", "integrations/robust_lr_ray/"))
    return "ray" if uses_ray else nodeid.split("::")[0]


def _turn(item: pytest.Item) -> int:
    return next((i for i, folder in enumerate(_LONGEST_FIRST) if item.nodeid.startswith(folder)), len(_LONGEST_FIRST))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the longest begin first."""
    items.sort(key=_turn)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Run each group in one process; the marks that `--dist loadgroup` reads have no effect with pytest 9."""
    from xdist.scheduler import LoadScopeScheduling

    class ByGroup(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _group(nodeid)

    return ByGroup(config, log)
