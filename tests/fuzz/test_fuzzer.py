"""A short run of the fuzzer; `make fuzz` is a long one. What it has found is tested where it belongs."""

from __future__ import annotations

import pytest

from robust_lr.exceptions import RobustLRError

from .fuzzer import PLANTED, FoundError, fuzz, run_one
from .targets import TARGETS


@pytest.mark.timeout(600)
def test_nothing_is_found_in_a_short_run():
    assert fuzz(TARGETS, seconds=500, first_seed=10_000, at_most=240) == []


def multiline(rng, folder):
    raise RobustLRError("one\ntwo")


def raw(rng, folder):
    raise ZeroDivisionError


def import_code(rng, folder):
    __import__(PLANTED)


def write_outside(rng, folder):
    (folder.parent / "outside").touch()


def print_controls(rng, folder):
    print("\x1b[2J")


@pytest.mark.parametrize(
    ("target", "error"),
    [
        (multiline, FoundError), (raw, ZeroDivisionError), (import_code, FoundError), (write_outside, FoundError),
        (print_controls, FoundError),
    ],
    ids=["multiline", "raw", "import", "outside", "controls"],
)  # fmt: skip
def test_the_fuzzer_sees(target, error):
    with pytest.raises(error):
        run_one(target, 0)
