"""The parts of messages: the line of an error that names its cause, and near misses."""

from __future__ import annotations

import traceback

import pytest

from robust_lr._text import did_you_mean, main_line, near_file


def text_of(error):
    try:
        raise error
    except BaseException:
        return traceback.format_exc()


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (RuntimeError("CUDA error: device-side assert\nFor debugging consider ...\nCompile with `X`.\n"), "CUDA error"),
        (ValueError("bad\n  indented hint"), "ValueError: bad"),
        (ValueError("\nthe cause\na hint"), "ValueError: the cause"),
        (RuntimeError("backend raised:\nCppCompileError: no compiler\n\nCommand: g++"), "raised: CppCompileError"),
        (KeyError("x"), "KeyError: 'x'"),
        (SystemExit(3), "SystemExit: 3"),
    ],
)
def test_the_main_line_names_the_cause_and_no_hint(error, line):
    found = main_line(text_of(error))
    assert line in found and "\n" not in found
    assert not any(hint in found for hint in ("hint", "Compile with", "Command", "debugging"))


def test_the_innermost_error_of_a_worker_is_the_cause():
    inner = text_of(OSError("no such record"))
    assert main_line(text_of(RuntimeError(f"Caught OSError in worker process 0.\nOriginal {inner}"))) == (
        "OSError: no such record"
    )


def test_a_text_without_a_traceback_is_its_first_line():
    assert main_line("the worker was killed\nby the kernel") == "the worker was killed"
    assert main_line("") == main_line(None) == "no reason given"


def test_near_misses_are_named_and_nothing_else():
    assert did_you_mean("cosin", ["constant", "cosine"]) == "; did you mean 'cosine'?"
    assert did_you_mean("Val_Loss", ["val-loss"]) == "; did you mean 'val-loss'?"
    assert did_you_mean("xyz", ["constant", "cosine"]) == did_you_mean("x", []) == ""


def test_a_missing_file_is_answered_with_the_one_beside_it(tmp_path):
    (tmp_path / "sweep.csv").touch()
    assert near_file(tmp_path / "swep.csv") == "; did you mean 'sweep.csv'?"
    assert near_file(tmp_path / "none" / "sweep.csv") == ""


def test_a_missing_file_is_not_taken_for_another_that_shares_only_its_suffix(tmp_path):
    for name in ("conftest.py", "train.py"):
        (tmp_path / name).touch()
    assert near_file(tmp_path / "nofile.py") == ""
    assert near_file(tmp_path / "trian.py") == "; did you mean 'train.py'?"
