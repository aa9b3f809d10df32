"""Fashion-MNIST's four files with a handful of images."""

import gzip

import numpy as np

PARTS = {"train-images-idx3-ubyte": 80, "t10k-images-idx3-ubyte": 20}


def write_idx(path, array):
    """Write an array of bytes as an IDX file, compressed if the name ends with .gz."""
    content = bytes([0, 0, 8, array.ndim]) + np.asarray(array.shape, ">u4").tobytes() + array.tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def write_fashion(folder, suffix):
    """Write four IDX files of 80 and 20 gray images, noise that is brighter the higher the class is."""
    rng, written = np.random.default_rng(0), []
    folder.mkdir(exist_ok=True)
    for name, n in PARTS.items():
        labels = rng.integers(10, size=n).astype(np.uint8)
        pixels = (rng.integers(60, size=(n, 28, 28)) + 20 * labels[:, None, None]).astype(np.uint8)
        write_idx(folder / f"{name}{suffix}", pixels)
        write_idx(folder / f"{name.replace('images-idx3', 'labels-idx1')}{suffix}", labels)
        written.append((pixels, labels))
    return written
