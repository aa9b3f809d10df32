"""The doctor on a command: it runs a training script as it is, and reads what the doctor inside wrote."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import tempfile
from pathlib import Path

from .._text import did_you_mean
from ..exceptions import OptionError
from .attached import FOLDER, TOTAL_STEPS
from .findings import Finding

_HOOK = Path(__file__).parent / "_hook"


Report = tuple[str, tuple[Finding, ...]]


def examine_command(command: str, *, total_steps: int | None = None) -> tuple[int, list[Report]]:
    """Run a command and return its exit code, and for each optimizer what was watched and found.

    Args:
        command: command line, split into words as a shell does. Every Python that it starts is watched, if it reads
            PYTHONPATH and has robust-lr.
        total_steps: optimizer steps that the run is meant to take.

    Raises:
        OptionError: when the command cannot be read or started.
    """
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise OptionError(f"cannot read the command: {str(error).lower()}: {command}") from None
    if not words:
        raise OptionError("the command is empty")
    with tempfile.TemporaryDirectory(prefix="robust-lr-doctor-") as folder:
        path = os.pathsep.join(filter(None, [str(_HOOK), os.environ.get("PYTHONPATH")]))
        extra = {"PYTHONPATH": path, FOLDER: folder} | ({TOTAL_STEPS: str(total_steps)} if total_steps else {})
        try:
            code = subprocess.run(words, env=os.environ | extra, check=False).returncode
        except OSError as error:
            near = did_you_mean(words[0], ("python", "python3", "torchrun", "accelerate"))
            raise OptionError(f"cannot start {words[0]!r}: {error.strerror}{near}") from None
        written = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(Path(folder).glob("*.json"))]
    reports = [(each["watched"], tuple(Finding(**f) for f in each["findings"])) for part in written for each in part]
    return code, list(dict.fromkeys(reports))  # the ranks of one training say the same
