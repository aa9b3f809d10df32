"""CIFAR-10's own binary archive: downloaded where it is missing, checked, and decoded."""

import hashlib
import http.client
import shutil
import tarfile
import tempfile
import urllib.request
from pathlib import Path

import numpy as np

from robust_lr.exceptions import DataError

URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
MD5 = "c32a1d4ab5d03f1284b67883e8d87530"
UNPACKED = "cifar-10-batches-bin"
FILES = (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin")
SIDE, N_CLASSES, N_PIXELS = 32, 10, 3 * 32 * 32


def read(folder: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return pixels, uint8 (n, 32, 32, 3), and labels, int64 (n,), of each file; the last one holds the test images.

    Args:
        folder: holds cifar-10-binary.tar.gz, which is downloaded if missing, or the unpacked cifar-10-batches-bin.
    """
    contents = read_files(folder)
    return [decode(contents[name], folder / UNPACKED / name) for name in FILES]


def read_files(folder: Path) -> dict[str, bytes]:
    """Return the content of the six files by name, from the unpacked folder if there is one, else from the archive."""
    if not (folder / UNPACKED).is_dir():
        return read_archive(fetch_archive(folder))
    paths = [folder / UNPACKED / name for name in FILES]
    if missing := [path.name for path in paths if not path.is_file()]:
        raise DataError(f"{folder / UNPACKED} lacks {', '.join(missing)}; delete it to have all downloaded")
    return {path.name: path.read_bytes() for path in paths}


def read_archive(path: Path) -> dict[str, bytes]:
    """Return the content of the six files by name."""
    contents = {}
    with tarfile.open(path, "r:gz") as archive:
        for member in archive:  # in their order: going back would unpack it all again
            if (file := archive.extractfile(member)) is not None and member.name.endswith(".bin"):
                contents[Path(member.name).name] = file.read()
    if missing := [name for name in FILES if name not in contents]:
        raise DataError(f"{path} lacks {', '.join(missing)}")
    return contents


def fetch_archive(folder: Path, *, url: str = URL, md5: str = MD5) -> Path:
    """Return the path of the archive, after a download if it is missing and a check in any case.

    Raises:
        DataError: when it cannot be downloaded, or its MD5 is wrong.
    """
    path = folder / "cifar-10-binary.tar.gz"
    if not path.exists():
        part = None
        try:
            with urllib.request.urlopen(url, timeout=60) as response:
                folder.mkdir(parents=True, exist_ok=True)
                with tempfile.NamedTemporaryFile(dir=folder, prefix="cifar-10-", suffix=".part", delete=False) as file:
                    part = Path(file.name)
                    shutil.copyfileobj(response, file)
            _check_md5(part, md5, f"what came from {url} is not the archive: it")
            part.chmod(0o644)  # a temporary file is its owner's alone
            part.replace(path)
        except (OSError, http.client.HTTPException) as error:  # URLError is an OSError
            raise DataError(f"CIFAR-10 must be at {path}, and could not be downloaded from {url}: {error}") from None
        finally:
            if part is not None:
                part.unlink(missing_ok=True)
    _check_md5(path, md5, f"{path} is not the archive, delete it to have it downloaded again: it")
    return path


def decode(content: bytes, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the images of one file: each is a byte for its class, then 1024 bytes of red, of green and of blue."""
    if not content or len(content) % (1 + N_PIXELS):
        raise DataError(f"{path} must hold whole images of {1 + N_PIXELS} bytes, got {len(content)} bytes: truncated?")
    records = np.frombuffer(content, np.uint8).reshape(-1, 1 + N_PIXELS)
    if (highest := records[:, 0].max()) >= N_CLASSES:
        raise DataError(f"{path} must hold classes 0..9, got {highest}")
    pixels = records[:, 1:].reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)
    return pixels.copy(), records[:, 0].astype(np.int64)


def _check_md5(path: Path, expected: str, what: str) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if found != expected:
        raise DataError(f"{what} has MD5 {found}, expected {expected}")
