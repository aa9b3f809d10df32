"""Whether the memory of worker processes grows from trial to trial."""

from __future__ import annotations

import logging
import os
from collections import defaultdict, deque
from pathlib import Path

_N_TRIALS = 10  # after the first, which loads libraries and data
_LEAST_BYTES, _LEAST_SHARE = 100e6, 0.2  # of growth

_log = logging.getLogger("robust_lr")


class MemoryWatch:
    """Says once if the process of a worker keeps growing: nearly every one of ten trials in a row leaves it larger.

    Example:
        >>> watch = MemoryWatch()
        >>> [watch.note(0, n_bytes) for n_bytes in (100_000_000, 300_000_000)]
        [False, False]
    """

    def __init__(self) -> None:
        self._sizes = defaultdict[int, deque[int]](lambda: deque(maxlen=_N_TRIALS + 1))
        self._has_said = False

    def begin(self, worker: int) -> None:
        """Note that a worker has a new process."""
        self._sizes.pop(worker, None)

    def note(self, worker: int, n_bytes: int) -> bool:
        """Note the size of a worker's process after a trial; return whether this was the time to warn."""
        sizes = self._sizes[worker]
        sizes.append(n_bytes)
        if self._has_said or len(sizes) <= _N_TRIALS or not sizes[0]:
            return False
        growth, pairs = sizes[-1] - sizes[0], zip(sizes, list(sizes)[1:], strict=False)
        is_steady = sum(later > earlier for earlier, later in pairs) >= _N_TRIALS - 1
        if not is_steady or growth < max(_LEAST_BYTES, _LEAST_SHARE * sizes[0]):
            return False
        self._has_said = True
        _log.warning(
            "the process of a worker grew from %.2g to %.2g GB in %d trials: training leaks memory; "
            "trials_per_worker=%d (--trials-per-worker) replaces the process after so many trials",
            sizes[0] / 1e9, sizes[-1] / 1e9, _N_TRIALS, _N_TRIALS,
        )  # fmt: skip
        return True


def resident_bytes(process: int | None = None) -> int:
    """Return the resident memory of a process, by default of this one; 0 where the system does not show it."""
    try:
        n_pages = int(Path(f"/proc/{process or os.getpid()}/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return 0
    return n_pages * os.sysconf("SC_PAGE_SIZE")
