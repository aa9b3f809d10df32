"""IDX files, the format of MNIST and Fashion-MNIST: big-endian sizes, then one byte per pixel or label."""

import gzip
import math
import zlib
from pathlib import Path

import numpy as np

from robust_lr.exceptions import DataError

UNSIGNED_BYTES = 8  # the third byte of a file


def read_idx(path: Path) -> np.ndarray:
    """Return the array of a file, uint8; the file may be compressed by gzip, whatever its name.

    Raises:
        DataError: when it is no IDX file of bytes, or is truncated.
    """
    content = path.read_bytes()
    try:
        content = gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content
    except (EOFError, OSError, zlib.error) as error:
        raise DataError(f"{path} must be a whole gzip file, got {error}: truncated?") from None
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] != UNSIGNED_BYTES:
        raise DataError(f"{path} must be an IDX file of bytes, which begins with 00 00 08, got {content[:3].hex(' ')}")
    n_axes, start = content[3], 4 + 4 * content[3]
    if len(content) < start:
        raise DataError(f"{path} must hold {n_axes} sizes of 4 bytes, got {len(content) - 4} bytes: truncated?")
    shape = tuple(np.frombuffer(content, ">u4", n_axes, offset=4).tolist())
    if len(content) - start != math.prod(shape):
        raise DataError(f"{path} must hold {' x '.join(map(str, shape))} bytes, got {len(content) - start}: truncated?")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def find_idx(folder: Path, name: str) -> Path:
    """Return the path of a file such as train-images-idx3-ubyte, with or without .gz.

    Raises:
        DataError: when there is none.
    """
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    raise DataError(
        f"{folder} lacks {name} (.gz); the four IDX files of Fashion-MNIST come with Debian's package "
        f"dataset-fashion-mnist, or from https://github.com/zalandoresearch/fashion-mnist; --folder says where they are"
    )
