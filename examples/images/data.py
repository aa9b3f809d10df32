"""Images to train on, images that choose the learning rate, and images that choose nothing."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from images import cifar10
from images.idx import find_idx, read_idx
from robust_lr.exceptions import DataError

N_CLASSES = 10


@dataclass(frozen=True, eq=False)
class Images:
    """Pixels, uint8 (n, side, side, channels), and labels, int64 (n,); they stay as they are until on the device."""

    pixels: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: slice) -> "Images":
        return Images(self.pixels[rows], self.labels[rows])

    def to(self, device: torch.device) -> "Images":
        """Return the same on a device."""
        return Images(self.pixels.to(device), self.labels.to(device))


@dataclass(frozen=True)
class Source:
    """A data set: its default folder, its shape, and how to read training and test images from a folder.

    Attributes:
        mean, std: of each channel over the training images, in units of a pixel's 0..255.
        sizes: how many training and test images there are, where the files do not say so themselves.
    """

    folder: str
    side: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    read: Callable[[Path], tuple[Images, Images]]
    sizes: tuple[int, int] | None = None

    @property
    def n_channels(self) -> int:
        """1 for gray, 3 for colors."""
        return len(self.mean)


@dataclass(frozen=True)
class ImageData:
    """The images in a folder, read once in each process that uses them; only the path travels to the workers.

    Args:
        name: "fashion-mnist" or "cifar10".
        folder: where its files are.
        max_images: read no more than so many training images, and so many test images; None for all.
    """

    name: str
    folder: str
    max_images: int | None = None

    @property
    def source(self) -> Source:
        """What is known of the data set."""
        return SOURCES[self.name]

    @property
    def parts(self) -> dict[str, Images]:
        """The images to train on, those that choose the learning rate (a tenth of the training images), and the test.

        Raises:
            DataError: when they are missing or malformed.
        """
        return _parts(self)

    def __robust_lr_fingerprint__(self) -> dict[str, object]:
        """Return what a journal compares: the images by their labels, and not where they are."""
        return {"name": self.name, "labels": [images.labels for images in self.parts.values()]}


@functools.cache
def _parts(data: ImageData) -> dict[str, Images]:
    training, test = data.source.read(Path(data.folder))
    found, expected = (len(training), len(test)), data.source.sizes
    if data.max_images is None and expected not in (None, found):
        raise DataError(
            f"{data.folder} must hold {expected} training and test images, got {found}; --tier smoke takes any number"
        )
    known, test = training[: data.max_images], test[: data.max_images]
    n = len(known) - len(known) // 10
    if n == len(known) or len(test) == 0:
        raise DataError(f"at least 10 training images and 1 test image are needed, got {len(known)}, {len(test)}")
    return {"train": known[:n], "validation": known[n:], "test": test}


def read_fashion_mnist(folder: Path) -> tuple[Images, Images]:
    """Return the training and the test images of four IDX files."""
    return _of_idx(folder, "train"), _of_idx(folder, "t10k")


def read_cifar10(folder: Path) -> tuple[Images, Images]:
    """Return the training and the test images of CIFAR-10's binary archive."""
    pixels, labels = zip(*cifar10.read(folder), strict=True)
    training = Images(torch.from_numpy(np.concatenate(pixels[:-1])), torch.from_numpy(np.concatenate(labels[:-1])))
    return training, Images(torch.from_numpy(pixels[-1]), torch.from_numpy(labels[-1]))


def _of_idx(folder: Path, part: str) -> Images:
    paths = find_idx(folder, f"{part}-images-idx3-ubyte"), find_idx(folder, f"{part}-labels-idx1-ubyte")
    pixels, labels = map(read_idx, paths)
    side = SOURCES["fashion-mnist"].side
    if pixels.shape[1:] != (side, side):
        raise DataError(f"{paths[0]} must hold images of {side} x {side} pixels, got shape {pixels.shape}")
    if labels.shape != pixels.shape[:1]:
        raise DataError(f"{paths[1]} must hold one label for each of {len(pixels)} images, got shape {labels.shape}")
    if len(labels) and (highest := int(labels.max())) >= N_CLASSES:
        raise DataError(f"{paths[1]} must hold classes 0..9, got {highest}")
    return Images(torch.from_numpy(pixels[..., None].copy()), torch.from_numpy(labels.astype(np.int64)))


SOURCES = {
    "fashion-mnist": Source("/usr/share/datasets/fashion-mnist", 28, (72.9,), (90.0,), read_fashion_mnist),
    "cifar10": Source("cifar10", 32, (125.3, 123.0, 113.9), (63.0, 62.1, 66.7), read_cifar10, (50_000, 10_000)),
}
