"""The checkpoint of a trial: where a training function leaves what it needs to go on after it was interrupted."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from robust_lr import RobustLRError
from robust_lr.exceptions import DataError, RobustLRWarning

from .ranks import rank, world_size

_FORMAT = "robust_lr_ray checkpoint 1"


class TrialCheckpoint:
    """The last state that a trial has saved, of which there is at most one. Get it from `trial_checkpoint`.

    A state is a mapping of tensors and plain values, such as the `state_dict` of the model, the optimizer and the
    `AnnealedLR`, the number of steps done, and ``torch.get_rng_state()``. With several ranks it is that of rank 0, and
    all get it back: what differs from rank to rank is to be made from the seed, the step and the rank.
    """

    def __init__(self, folder: str | os.PathLike[str] | None, digest: str) -> None:
        if folder is not None and "://" in str(folder):
            raise RobustLRError(f"checkpoints need a folder that every node mounts, got {str(folder)!r}")
        self._path = None if folder is None else Path(folder, f"{digest}.pt")
        self._digest = digest
        self._is_proven = False

    def load(self) -> dict[str, Any] | None:
        """Return the state that was saved last, its tensors on the CPU; None where there is none.

        Every rank must call it; rank 0 reads, so that all have the same. A file that is damaged, or of another trial,
        is not used: a trial that begins anew has the same result, while one that trips over it would never have any.

        Raises:
            OSError: when there is a file and it cannot be reached.

        Warns:
            RobustLRWarning: when there is a file and it cannot be used.
        """
        if self._path is None:
            return None
        if world_size() == 1:
            return self._read()
        import torch.distributed as dist

        shared: list[Any] = [None]
        if rank() == 0:
            try:
                shared[0] = self._read()
            except OSError as error:
                shared[0] = error
        dist.broadcast_object_list(shared)
        if isinstance(shared[0], OSError):
            raise shared[0]
        state: dict[str, Any] | None = shared[0]
        return state

    def save(self, state: Mapping[str, Any]) -> None:
        """Keep this state in place of the one before, by writing it to the disk and then renaming it.

        Rank 0 writes; the other ranks may call it or not, and do not wait.

        Args:
            state: tensors and plain values by name; what ``torch.load(weights_only=True)`` reads.

        Raises:
            DataError: when there is something else in it.
            OSError: when it cannot be written.
        """
        if self._path is None or rank() != 0:
            return
        import torch

        buffer = io.BytesIO()
        torch.save({"format": _FORMAT, "digest": self._digest, "state": dict(state)}, buffer)
        if not self._is_proven:  # else it would be known only when it is needed
            _prove(buffer)
            self._is_proven = True
        self._path.parent.mkdir(parents=True, exist_ok=True)
        number, name = tempfile.mkstemp(dir=self._path.parent, prefix=f"{self._path.stem}.", suffix=".tmp")
        try:
            with os.fdopen(number, "wb") as file:
                file.write(buffer.getbuffer())
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(self._path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        _sync_folder(self._path.parent)

    def remove(self) -> None:
        """Remove it, with what a writer that was killed has left; for who has the trial's result."""
        if self._path is not None:
            for path in (self._path, *self._path.parent.glob(f"{self._path.stem}.*.tmp")):
                path.unlink(missing_ok=True)

    def _read(self) -> dict[str, Any] | None:
        import torch

        path = self._path
        if path is None or not path.exists():
            return None
        data = path.read_bytes()
        try:
            found = torch.load(io.BytesIO(data), weights_only=True, map_location="cpu")
        except Exception as error:  # of any class, by what the damage is
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        else:
            if isinstance(found, dict) and (found.get("format"), found.get("digest")) == (_FORMAT, self._digest):
                state: dict[str, Any] = found["state"]
                return state
            reason = "it is of something else"
        warnings.warn(f"the checkpoint {path} cannot be used, the trial begins anew: {reason}", RobustLRWarning, 3)
        return None


_current: ContextVar[TrialCheckpoint | None] = ContextVar("robust_lr_checkpoint", default=None)


def trial_checkpoint() -> TrialCheckpoint:
    """Return the checkpoint of the trial that this thread runs, for its training function.

    Where no runner keeps checkpoints, `load` gives None and `save` does nothing, so that the training function is the
    same everywhere. The runner removes the checkpoint when the trial has its result.

    Example:
        >>> checkpoint = trial_checkpoint()
        >>> state = checkpoint.load() or {"step": 0, "x": 1.0}
        >>> for step in range(state["step"], 3):
        ...     state = {"step": step + 1, "x": state["x"] / 2}
        ...     checkpoint.save(state)
        >>> state
        {'step': 3, 'x': 0.125}
    """
    return _current.get() or TrialCheckpoint(None, "")


@contextlib.contextmanager
def checkpointing(folder: str | os.PathLike[str] | None, digest: str) -> Iterator[TrialCheckpoint]:
    """Say where the trial that is run inside keeps its checkpoint; for runners.

    Args:
        folder: a folder that every node mounts, made when something is saved; None to keep nothing.
        digest: name of the trial in it; see `cell_digest`.

    Raises:
        RobustLRError: when the folder is a URI.

    Example:
        >>> with checkpointing(None, "3a47b2f5d1781ad1") as checkpoint:
        ...     trial_checkpoint() is checkpoint
        True
    """
    checkpoint = TrialCheckpoint(folder, digest)
    token = _current.set(checkpoint)
    try:
        yield checkpoint
    finally:
        _current.reset(token)


def _prove(buffer: io.BytesIO) -> None:
    import torch

    buffer.seek(0)
    try:
        torch.load(buffer, weights_only=True, map_location="cpu")
    except pickle.UnpicklingError as error:
        found = str(error)
        line = next((line for line in found.splitlines() if "GLOBAL" in line or "Unsupported" in line), "")
        raise DataError(f"a state to save must be of tensors and plain values: {line.strip() or found}") from None


def _sync_folder(folder: Path) -> None:
    """Make a rename last through a power cut, where the file system can."""
    with contextlib.suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)
