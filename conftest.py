"""Settings that every test and doctest shares. The environment comes first: numpy, torch and Ray read it on import."""

import os

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ["RAY_AUTH_MODE"] = "disabled"  # else Ray writes a token into the home folder
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
# What a test reads from a terminal must not depend on the terminal.
for _variable in ("FORCE_COLOR", "COLUMNS"):
    os.environ.pop(_variable, None)

from hypothesis import settings  # noqa: E402

settings.register_profile("robust-lr", deadline=None, max_examples=50)
settings.register_profile("robust-lr-ci", settings.get_profile("robust-lr"), derandomize=True, database=None)
settings.load_profile("robust-lr-ci" if os.environ.get("CI") == "true" else "robust-lr")
