"""A fuzzer: whatever comes in, the answer is a value or one line; it takes seconds, runs no code, and leaves no files.

    python -m tests.fuzz.fuzzer --seconds 600
    python -m tests.fuzz.fuzzer --target command-line --seed 123

Each input is made from its target and a number, so what is found can be run again. `make fuzz SECONDS=600` runs all
targets in turn.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import os
import random
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

from robust_lr.exceptions import RobustLRError, RobustLRWarning

SECONDS_ALLOWED = 10
PLANTED = "planted_by_the_fuzzer"  # a module whose import leaves a file behind

Target = Callable[[random.Random, Path], None]


class FoundError(Exception):
    """An input that ends otherwise than it may."""


def run_one(target: Target, seed: int) -> None:
    """Run a target on the input of a number, in a folder of its own; raise what it found."""
    with tempfile.TemporaryDirectory() as name, _inside(folder := Path(name).resolve() / "folder"):
        (folder.parent / f"{PLANTED}.py").write_text(f"open({str(folder.parent / 'ran')!r}, 'w').close()\n")
        before = _all_of(folder.parent)
        with _time_limit(), warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()) as out:
            warnings.simplefilter("error")
            warnings.simplefilter("ignore", RobustLRWarning)
            with contextlib.redirect_stderr(out):
                try:
                    target(random.Random(seed), folder)
                except RobustLRError as error:
                    if not str(error) or "\n" in str(error):
                        raise FoundError(f"an error of several lines, or none: {error!r}") from error
        if "Traceback" in out.getvalue():
            raise FoundError(f"a traceback was printed: {out.getvalue()[-500:]}")
        if set(out.getvalue()) & {"\x1b", "\x07", "\u202e"}:
            raise FoundError("a control character was printed")
        outside = {path for path in _all_of(folder.parent) - before if folder not in path.parents}
        if outside:
            raise FoundError(f"files outside the folder, or planted code that ran: {sorted(map(str, outside))}")


def _all_of(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


@contextlib.contextmanager
def _inside(folder: Path) -> Iterator[None]:
    folder.mkdir()
    before, path = Path.cwd(), list(sys.path)
    os.chdir(folder)
    sys.path.insert(0, str(folder.parent))
    try:
        yield
    finally:
        sys.path[:] = path  # commands add folders of their own
        sys.modules.pop(PLANTED, None)
        os.chdir(before)


@contextlib.contextmanager
def _time_limit() -> Iterator[None]:
    def ring(number: int, frame: object) -> None:
        raise FoundError(f"no answer within {SECONDS_ALLOWED} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, SECONDS_ALLOWED)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def fuzz(targets: dict[str, Target], *, seconds: float, first_seed: int, at_most: int | None = None) -> list[str]:
    """Run the targets in turn for so many seconds; return what was found, at most one find a target and message."""
    found = dict[tuple[str, str], str]()
    end, n_inputs = time.monotonic() + seconds, 0
    for seed in itertools.count(first_seed):
        for name, target in targets.items():
            if time.monotonic() > end or n_inputs == at_most:
                print(f"{n_inputs} inputs, {len(found)} finds", file=sys.stderr)
                return list(found.values())
            n_inputs += 1
            try:
                run_one(target, seed)
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                frames = traceback.extract_tb(error.__traceback__)
                where = next((f for f in reversed(frames) if "robust_lr" in f.filename), frames[-1])
                key = (name, f"{type(error).__name__} at {Path(where.filename).name}:{where.lineno}")
                text = f"--target {name} --seed {seed}: {key[1]}: {str(error)[:300]}"
                if key not in found:
                    print(text, file=sys.stderr, flush=True)
                found.setdefault(key, text)
    raise AssertionError("unreachable")


def main() -> int:
    """Run the fuzzer from the command line; the exit code is 1 if it found something."""
    from .targets import TARGETS

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--target", choices=TARGETS)
    parser.add_argument("--seed", type=int, help="run only this input")
    parser.add_argument("--first-seed", type=int, default=0)
    options = parser.parse_args()
    targets = TARGETS if options.target is None else {options.target: TARGETS[options.target]}
    if options.seed is not None:
        for target in targets.values():
            run_one(target, options.seed)
        return 0
    return bool(fuzz(targets, seconds=options.seconds, first_seed=options.first_seed))


if __name__ == "__main__":
    sys.exit(main())
