"""Parquet files, through the first library that is installed."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import Any

from ..exceptions import DataError, OptionError
from ._json_records import as_table, by_rows
from ._rows import Table

_Columns = dict[str, list[Any]]
_LIBRARIES: dict[str, Callable[[Any, BytesIO], _Columns]] = {
    "pyarrow.parquet": lambda pyarrow, file: pyarrow.read_table(file).to_pydict(),
    "polars": lambda polars, file: polars.read_parquet(file).to_dict(as_series=False),
    "pandas": lambda pandas, file: pandas.read_parquet(file).astype(object).to_dict("list"),
}


def read_parquet(path: str | Path, data: bytes) -> Table:
    """Return the rows of a parquet file.

    Raises:
        DataError: when the file is damaged.
        OptionError: when no library for it is installed.
    """
    for name, read in _LIBRARIES.items():
        try:
            columns = read(import_module(name), BytesIO(data))
        except ImportError:
            continue
        except (OSError, ValueError) as error:
            raise DataError(f"cannot read {path} as parquet: {' '.join(str(error).split())}") from None
        return as_table(enumerate(by_rows(columns), 1), "row")
    raise OptionError(f"{path} is a parquet file, which needs a library: pip install pyarrow")
