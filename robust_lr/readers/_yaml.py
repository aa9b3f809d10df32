"""YAML files of trackers, read as plain data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..exceptions import DataError, OptionError


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the mapping in a YAML file.

    Raises:
        DataError: when the file cannot be read or holds no mapping. References (&, *) are refused, because a few lines
            of them can stand for more than fits into memory.
        OptionError: when no library for YAML is installed.
    """
    try:
        import yaml
    except ImportError:
        raise OptionError(f"{path} is a YAML file, which needs a library: pip install pyyaml") from None
    try:
        text = path.read_text(encoding="utf-8")
        has_references = ("&" in text or "*" in text) and any(
            isinstance(token, yaml.AliasToken | yaml.AnchorToken) for token in yaml.scan(text)
        )
        found = None if has_references else yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise DataError(f"cannot read {path} as YAML: {' '.join(str(error).split())}") from None
    if has_references:
        raise DataError(f"cannot read {path}: it has references (& and *)")
    if not isinstance(found, dict):
        raise DataError(f"cannot read {path}: it holds no mapping")
    return found
