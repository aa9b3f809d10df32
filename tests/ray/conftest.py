"""One local Ray for all tests of the plug-in, with logical GPUs, in a temporary folder that goes when it ends."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

# Ray reads these when it is imported; the workers that it starts inherit them.
os.environ.pop("RAY_ADDRESS", None)
os.environ["RAY_AUTH_MODE"] = "disabled"  # else Ray writes a token into the home folder
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
os.environ["RAY_TRAIN_HEALTH_CHECK_INTERVAL_S"] = "0.2"

N_CPUS, N_GPUS = 8, 4  # logical: what the tests ask for, not what the machine has


@pytest.fixture(scope="session")
def ray_folder() -> Iterator[Path]:
    """A folder for the files of Ray; short, since the names of sockets have a limit of about 100 characters."""
    folder = Path(tempfile.mkdtemp(prefix="rlr-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def ray_local(ray_folder: Path) -> Iterator[ModuleType]:
    """Ray on this machine, with 8 logical CPUs and 4 logical GPUs."""
    import ray

    ray.init(
        address="local",
        num_cpus=N_CPUS,
        num_gpus=N_GPUS,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        object_store_memory=100 * 2**20,
        _temp_dir=str(ray_folder / "ray"),
    )
    yield ray
    ray.shutdown()
