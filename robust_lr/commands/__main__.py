"""One trial of a job, as its script runs it: ``python -m robust_lr.commands FOLDER NUMBER``."""

from __future__ import annotations

import sys

from ..exceptions import RobustLRError
from .job import run_job_trial

if __name__ == "__main__":
    try:
        result = run_job_trial(sys.argv[1], int(sys.argv[2]))
    except (RobustLRError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(1)
    print(f"{result.spec.schedule}, lr {result.spec.lr:.4g}, seed {result.spec.seed}: {result.status}")  # noqa: T201
