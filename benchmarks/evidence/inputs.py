"""Nonsense as input: the fuzzer of tests/fuzz on every reader, command line and function for users.

A round is 1,000 inputs. Each is made from a number, so a find can be run again: `python -m tests.fuzz.fuzzer --target
NAME --seed NUMBER`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable

from tests.fuzz.fuzzer import SECONDS_ALLOWED, fuzz
from tests.fuzz.targets import TARGETS

from .rows import Row, main


def fuzzed(rounds: int = 100, seed: int = 0) -> Iterable[Row]:
    """Feed every target in turn, beginning with this number."""
    n, began = 1000 * rounds, time.perf_counter()
    finds = fuzz(TARGETS, seconds=math.inf, first_seed=seed, at_most=n)
    yield Row(
        f"inputs fuzzed, numbers {seed:,} to {seed + -(-n // len(TARGETS)) - 1:,}",
        f"{n:,} inputs of {len(TARGETS)} kinds: {', '.join(TARGETS)}",
        f"{len(finds)} tracebacks, answers later than {SECONDS_ALLOWED} s, imports or files outside the folder; "
        f"{1e3 * (time.perf_counter() - began) / n:.0f} ms an input",
        not finds,
    )


if __name__ == "__main__":
    main(fuzzed)
