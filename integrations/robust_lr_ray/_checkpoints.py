"""The checkpoint of a trial: a training function saves its state there, to continue after an interruption."""

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

from robust_lr._text import first_line
from robust_lr.exceptions import DataError, OptionError, RobustLRWarning

from ._ranks import rank, world_size

_FORMAT = "robust_lr_ray checkpoint 1"


class TrialCheckpoint:
    """The last saved state of a trial, if any. Get it from `trial_checkpoint`.

    A state is a mapping of tensors and plain values, such as the `state_dict` of the model, the optimizer and the
    `AnnealedLR`, the number of steps done, and ``torch.get_rng_state()``. With several ranks it is the state of rank 0,
    and all ranks get it back. Derive whatever differs between ranks from the seed, the step and the rank.
    """

    def __init__(self, folder: str | os.PathLike[str] | None, digest: str) -> None:
        if folder is not None and "://" in str(folder):
            raise OptionError(f"checkpoints need a folder that every node mounts, got {str(folder)!r}")
        self._path = None if folder is None else Path(folder, f"{digest}.pt")
        self._digest = digest
        self._is_proven = False

    def load(self) -> dict[str, Any] | None:
        """Return the last saved state, its tensors on the CPU; None if there is none.

        Every rank must call it. Rank 0 reads, so that all ranks have the same state. A file that is damaged or belongs
        to another trial is ignored with a `RobustLRWarning`, and the trial starts over.

        Raises:
            OSError: when there is a file but it cannot be reached.
        """
        if self._path is None:
            return None
        if world_size() == 1:
            return self._read()
        import torch.distributed as dist

        shared: list[dict[str, Any] | OSError | None] = [None]
        if rank() == 0:
            try:
                shared[0] = self._read()
            except OSError as error:
                shared[0] = error
        dist.broadcast_object_list(shared)
        if isinstance(shared[0], OSError):
            raise shared[0]
        return shared[0]

    def save(self, state: Mapping[str, Any]) -> None:
        """Replace the saved state; a crash during the write leaves the previous one.

        Rank 0 writes. The other ranks may call it or not, and do not wait.

        Args:
            state: tensors and plain values by name, which ``torch.load(weights_only=True)`` can read.

        Raises:
            DataError: when the state holds anything else.
            OSError: when it cannot be written.
        """
        if self._path is None or rank() != 0:
            return
        import torch

        buffer = io.BytesIO()
        torch.save({"format": _FORMAT, "digest": self._digest, "state": dict(state)}, buffer)
        if not self._is_proven:  # an unreadable state must show now, not when it is needed
            _check_readable(buffer)
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
        """Remove the saved state, and any temporary file of a killed writer."""
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
        except Exception as error:  # the class depends on the damage
            reason = first_line(error)
        else:
            if isinstance(found, dict) and (found.get("format"), found.get("digest")) == (_FORMAT, self._digest):
                state: dict[str, Any] = found["state"]
                return state
            reason = "it belongs to something else"
        warnings.warn(f"the checkpoint {path} cannot be used, the trial starts over: {reason}", RobustLRWarning, 3)
        return None


_current: ContextVar[TrialCheckpoint | None] = ContextVar("robust_lr_checkpoint", default=None)


def trial_checkpoint() -> TrialCheckpoint:
    """Return the checkpoint of the trial that runs in this thread, for use in its training function.

    If no runner keeps checkpoints, `load` returns None and `save` does nothing, so the same training function works
    everywhere. The runner removes the checkpoint once the trial has its result.

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
    """Set the checkpoint of the trial that runs inside; the first save makes the folder, None saves nothing."""
    checkpoint = TrialCheckpoint(folder, digest)
    token = _current.set(checkpoint)
    try:
        yield checkpoint
    finally:
        _current.reset(token)


def _check_readable(buffer: io.BytesIO) -> None:
    import torch

    buffer.seek(0)
    try:
        torch.load(buffer, weights_only=True, map_location="cpu")
    except pickle.UnpicklingError as error:
        found = str(error)
        line = next((line for line in found.splitlines() if "GLOBAL" in line or "Unsupported" in line), "")
        raise DataError(f"a saved state may hold tensors and plain values only: {line.strip() or found}") from None


def _sync_folder(folder: Path) -> None:
    with contextlib.suppress(OSError):  # not every file system can
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)
