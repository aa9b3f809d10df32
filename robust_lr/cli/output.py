"""The output of a command: its files, and the log on stderr."""

from __future__ import annotations

import argparse
import contextlib
import errno
import faulthandler
import io
import json
import logging
import os
import shlex
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._text import printable, without_passwords
from ..exceptions import OptionError, RobustLRError, RobustLRWarning

if TYPE_CHECKING:
    from ..analysis import Analysis
    from .plugins import SweepSource


def figures(analysis: Analysis) -> dict[str, Any]:
    """Return the figures of an analysis and its conclusion, as docs/reference/analysis-json.md describes them."""
    from ..report.answer import conclusion

    return analysis.to_dict() | {"conclusion": conclusion(analysis)}


def write_json(options: argparse.Namespace, content: dict[str, Any]) -> None:
    """Write strict JSON where ``--json`` says, if it was given."""
    if options.json is None:
        return
    if options.json == "-":
        options.json_stream.write(_json_text(content))
    else:
        save_json(Path(options.json), content)


def check_outputs(options: argparse.Namespace) -> None:
    """Raise unless ``--json`` and ``--report`` can be written, and overwrite neither results nor what is read."""
    from ..readers._files import is_journal

    read = [value for name in ("file", "files", "journal") for value in _listed(getattr(options, name, None))]
    for name in ("json", "report"):
        target = getattr(options, name, None)
        if not isinstance(target, str) or target == "-":
            continue
        path = Path(target)
        with writing(path):
            _check_writable(path)
            if path.is_file() and is_journal(path):
                raise OptionError(f"--{name} would overwrite {target}, which is a journal: name another file")
            if any(path.absolute() == Path(each).absolute() for each in read):
                raise OptionError(f"--{name} would overwrite {target}, which this command reads: name another file")


def _listed(value: object) -> list[str]:
    return [each for each in (value if isinstance(value, list) else [value]) if isinstance(each, str)]


def _check_writable(path: Path) -> None:
    # Before a command that trains for hours, not after it.
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    nearest = path if path.exists() else path.parent
    if not nearest.exists():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    if not os.access(nearest, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))


def save_json(path: Path, content: dict[str, Any]) -> None:
    """Write strict JSON to a file."""
    with writing(path):
        path.write_text(_json_text(content), encoding="utf-8")


def _json_text(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


@contextlib.contextmanager
def words_on_stderr(options: argparse.Namespace) -> Iterator[None]:
    """Keep stdout for the JSON: what else is printed there, by training functions and their processes too, moves."""
    sys.stdout.flush()
    options.json_stream = io.StringIO()
    try:
        with contextlib.redirect_stdout(sys.stderr), _file_1_to_stderr():
            yield
    finally:
        sys.stdout.write(options.json_stream.getvalue())


@contextlib.contextmanager
def _file_1_to_stderr() -> Iterator[None]:
    stdout = os.dup(1)
    try:
        os.dup2(2, 1)
        yield
    finally:
        os.dup2(stdout, 1)
        os.close(stdout)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn a failed write into a one-line error that names the file."""
    try:
        yield
    except OSError as error:
        raise RobustLRError(f"cannot write {error.filename or path}: {error.strerror or error}") from None


@contextlib.contextmanager
def writing_report(options: argparse.Namespace, source: SweepSource) -> Iterator[dict[str, Any]]:
    """Give the arguments that every report of `robust-lr analyze` has, and turn a failed write into one line."""
    path = Path(options.report)
    with writing(path):
        yield {
            "path": path,
            "title": f"Learning-rate sweep: {source.name}",
            "source": f"Read from {source.description}.",
            "reproduce": [f"robust-lr {shlex.join(map(without_passwords, sys.argv[1:]))}"],
        }


class _StderrHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        # Looked up each time: a progress bar replaces stderr, to stay below other output.
        print(printable(self.format(record)), file=sys.stderr)


@contextlib.contextmanager
def log_on_stderr() -> Iterator[None]:
    """Show the library's log, such as a packed runner's choice, and its warnings, one line each.

    Should training crash this process, as by a segmentation fault, the place in its code is shown too.
    """
    with contextlib.suppress(OSError, ValueError, AttributeError):  # stderr is no file
        faulthandler.enable()
    logger, handler = logging.getLogger("robust_lr"), _StderrHandler()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", RobustLRWarning)
            others = warnings.showwarning

            def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
                if issubclass(category, RobustLRWarning):
                    print(printable(f"warning: {message}"), file=sys.stderr)
                else:
                    others(message, category, *where, **more)

            warnings.showwarning = show
            yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)
