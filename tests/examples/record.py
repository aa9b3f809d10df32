"""Runs a training script and notes the learning rate of each step that an optimizer really makes.

``python record.py RATES SCRIPT ARGUMENT...`` writes them to RATES.rank as JSON, one list a step, one number a parameter
group. With STOP_BEFORE=k in the environment the process ends before its step k, as a kill would end it.
"""

import json
import os
import runpy
import sys
from pathlib import Path

from torch.optim.optimizer import register_optimizer_step_pre_hook


class Stopped(BaseException):
    """Ends a script as a kill does: no handler of the script or its library takes it for an error."""


def rates_of(script, arguments, stop_before=None, note=lambda rates: None):
    """Run a script in this process; return the rates, up to the step before which it was stopped."""
    rates = []

    def see(optimizer, args, kwargs):
        if len(rates) == stop_before:
            raise Stopped
        rates.append([float(group["lr"]) for group in optimizer.param_groups])
        note(rates)

    handle, argv = register_optimizer_step_pre_hook(see), sys.argv
    sys.argv = [str(script), *arguments]
    try:
        runpy.run_path(str(script), run_name="__main__")
    except Stopped:
        pass
    finally:
        sys.argv = argv
        handle.remove()
    return rates


def main():
    path, script, *arguments = sys.argv[1:]
    path = Path(f"{path}.{os.environ.get('RANK', os.environ.get('LOCAL_RANK', '0'))}")
    stop_before = int(os.environ["STOP_BEFORE"]) if "STOP_BEFORE" in os.environ else None

    def note(rates):
        path.write_text(json.dumps(rates))
        if len(rates) == stop_before:
            os._exit(0)

    rates_of(script, arguments, note=note)


if __name__ == "__main__":
    main()
