"""Files of trunks: the last state that the branches of a learning rate and seed parted from."""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class TrunkFiles:
    """A folder with one file for each learning rate and seed, the last state of its trunk.

    Args:
        folder: made with its first file.
        identity: text that identifies the training; a state of another one is not used.
    """

    folder: Path
    identity: str

    def write(self, lr: float, seed: int, multipliers: Sequence[float], state: Any) -> None:
        """Keep the state after these steps, in place of an earlier one."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self._path(lr, seed)
        new = path.with_suffix(f".{os.getpid()}")
        with new.open("wb") as file:
            pickle.dump((len(multipliers), self._digest(lr, seed, multipliers), state), file)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)

    def find(self, lr: float, seed: int, multipliers: Sequence[float]) -> tuple[int, Any]:
        """Return the steps of the kept state and the state, or (0, None) if none belongs to the first of these steps.

        Reading a pickle runs code: the folder must be one that only you write.
        """
        try:
            with self._path(lr, seed).open("rb") as file:
                n_steps, digest, state = pickle.load(file)
        except Exception:  # no file, or one of another version: the trunk is trained again
            return 0, None
        belongs = n_steps <= len(multipliers) and digest == self._digest(lr, seed, multipliers[:n_steps])
        return (n_steps, state) if belongs else (0, None)

    def _path(self, lr: float, seed: int) -> Path:
        return self.folder / f"lr-{lr!r}-seed-{seed}.trunk"

    def _digest(self, lr: float, seed: int, multipliers: Sequence[float]) -> str:
        return hashlib.sha256(
            repr((self.identity, lr, seed, [float(each) for each in multipliers])).encode()
        ).hexdigest()
