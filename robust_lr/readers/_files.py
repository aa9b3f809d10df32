"""The kind of a file of results, and its records as texts: a reader of each format returns a `Table`."""

from __future__ import annotations

import gzip
import re
import zlib
from pathlib import Path

from .._text import near_file
from ..exceptions import DataError
from ._delimited import read_delimited
from ._json_records import read_json
from ._parquet import read_parquet
from ._rows import Table
from .sqlite import start_of

_JOURNAL = re.compile(rb'\s*\{\s*"record"\s*:')


def is_journal(path: Path) -> bool:
    """Return whether a file begins as a journal of `run_sweep` does."""
    return path.is_file() and _JOURNAL.match(start_of(path)) is not None


def read_records(path: str | Path) -> Table:
    """Return the records of a table: CSV and its kin, JSON, JSON lines or parquet, gzipped or not.

    Raises:
        DataError: when the file cannot be read, or is none of these.
    """
    data = _contents(path)
    if data.startswith(b"PAR1"):
        return read_parquet(path, data)
    if data.startswith(b"PK"):
        raise DataError(f"cannot read {path}: it is a workbook or an archive; save the table as CSV")
    text = _decoded(path, data)
    return read_json(path, text) if text.lstrip()[:1] in ("{", "[") else read_delimited(path, text)


def _contents(path: str | Path) -> bytes:
    try:
        data = Path(path).read_bytes()
        return gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data
    except (OSError, EOFError, zlib.error) as error:
        near = _near(path, error)
        raise DataError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}{near}") from None


def _near(path: str | Path, error: Exception) -> str:
    return near_file(Path(path)) if isinstance(error, FileNotFoundError) else ""


def _decoded(path: str | Path, data: bytes) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        encodings = ["utf-16"]
    else:
        # Spreadsheets on Windows still write cp1252, in which nearly any bytes are text.
        encodings = ["utf-8-sig"] if b"\x00" in data else ["utf-8-sig", "cp1252"]
    for encoding in encodings:
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise DataError(f"cannot read {path} as CSV, JSON or parquet: it is not text")
