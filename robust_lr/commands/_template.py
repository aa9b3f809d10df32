"""The template of a command: placeholders in braces, and files named relative to the folder of the sweep."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path

from .._paths import is_file
from .._text import did_you_mean, listed, near_file
from ..exceptions import OptionError

PLACEHOLDERS = ("lr", "schedule", "seed", "total_steps", "trial_dir")

# {{lr}} is a literal {lr}. In ${NAME} the shell fills in a variable; JSON such as {"a": 1} has no name in its braces.
_PLACEHOLDER = re.compile(r"\{\{(\w+)\}\}|(?<!\$)\{(\w+)\}")
_WITH_FORMAT = re.compile(rf"(?<!\$)\{{({'|'.join(PLACEHOLDERS)})[:!][^{{}}]*\}}")
_SHELL_WORD = re.compile(r"""[^\s=;&|<>()'"`$]+""")


def split_command(command: str, *, shell: bool) -> tuple[str, ...]:
    """Return the words of a command; for a shell, those that start it with the command as one text.

    Raises:
        OptionError: when the command is empty, or a quotation mark is not closed.
    """
    if not isinstance(command, str) or not command.strip():
        raise OptionError(f"command must be a command line, got {command!r}")
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise OptionError(f"cannot read the command: {str(error).lower()}: {command}") from None
    return ("/bin/sh", "-c", command) if shell else tuple(words)


def check_placeholders(command: str, *, total_steps: int | None) -> None:
    """Raise an `OptionError` if a command has an unknown placeholder, or one without a value."""
    if found := _WITH_FORMAT.search(command):
        raise OptionError(f"a placeholder takes no format: write {{{found[1]}}} for {found[0]}")
    for name in (match[2] for match in _PLACEHOLDER.finditer(command) if match[2]):
        if name not in PLACEHOLDERS:
            near = did_you_mean(name, PLACEHOLDERS)
            known = listed(f"{{{each}}}" for each in PLACEHOLDERS)
            raise OptionError(
                f"the command has an unknown placeholder {{{name}}}{near}"
                f"{' Known' if near else '; known'}: {known}; {{{{{name}}}}} is a literal {{{name}}}"
            )
        if name == "total_steps" and total_steps is None:
            raise OptionError("the command uses {total_steps}: give the number of steps, --total-steps (total_steps=)")


def check_files(words: tuple[str, ...], folder: Path) -> None:
    """Raise an `OptionError` if the program of a command, or its script, does not exist."""
    program = words[0]
    if "{" not in program and shutil.which(str(folder / program) if "/" in program else program) is None:
        near = did_you_mean(program, ("python", "python3", "torchrun", "accelerate", "deepspeed", "srun", "sh", "bash"))
        raise OptionError(f"there is no program {program!r} to run{near}")
    for word in words[1:]:
        path = folder / word
        if path.suffix in (".py", ".sh") and not word.startswith("-") and "{" not in word:
            if not is_file(path):
                raise OptionError(f"the command names {word}, but there is no such file{near_file(path)}")
            return


def fill(word: str, values: Mapping[str, str]) -> str:
    """Return a word with its placeholders replaced.

    Example:
        >>> fill("--out={trial_dir}/{{lr}}", {"trial_dir": "here"})
        '--out=here/{lr}'
    """
    return _PLACEHOLDER.sub(lambda m: f"{{{m[1]}}}" if m[1] else values[m[2]], word)


def anchored(word: str, folder: Path, *, shell: bool = False) -> str:
    """Return a word in which the paths of existing files are absolute, since a trial runs in a folder of its own.

    A word counts as a path if it has a slash or a suffix: a folder `gpt` must not change ``--model gpt``.
    """
    if shell:
        return _SHELL_WORD.sub(lambda m: path if (path := _anchor(m[0], folder)) == m[0] else shlex.quote(path), word)
    if (path := _anchor(word, folder)) != word:
        return path
    option, sign, value = word.partition("=")
    return option + sign + _anchor(value, folder) if sign else word


def filled_path(word: str, values: Mapping[str, str], folder: Path) -> str:
    """Return a word with its placeholders replaced; absolute if it then is the path of a file, see `anchored`."""
    filled = fill(word, values)
    is_path = filled != word and _looks_like_a_path(_PLACEHOLDER.sub("", word))
    return anchored(filled, folder) if is_path else filled


def _looks_like_a_path(text: str) -> bool:
    return "/" in text or "." in text.strip(".") or text in (".", "..")


def _anchor(text: str, folder: Path) -> str:
    if not _looks_like_a_path(text) or "{" in text:
        return text
    path = folder / text
    return str(path) if os.path.exists(path) else text  # noqa: PTH110  # Path.exists raises if the name is too long
