"""How long robust-lr takes to start, as a multiple of ``import numpy``, for which every user waits anyway.

Every round runs each command once, so that a busy moment of the machine affects all of them. The figures are medians
over the rounds.

    python benchmarks/start_time.py --rounds 50
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

BASE = "import numpy"
HELP = "import sys; sys.argv = ['robust-lr', {}]; from robust_lr.cli.main import main; main()"
COMMANDS = {
    "python, nothing imported": "pass",
    BASE: BASE,
    "import robust_lr": "import robust_lr",
    "from robust_lr import run_sweep": "from robust_lr import run_sweep",
    "robust-lr --help": HELP.format("'--help'"),
    "robust-lr run --help": HELP.format("'run', '--help'"),
}


def seconds(code: str) -> float:
    """Return the time that a fresh Python takes for this code."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    """Measure, and print a line for each command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=50)
    rounds = parser.parse_args().rounds
    for code in COMMANDS.values():  # once without counting: compiled files, the file cache
        seconds(code)
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(rounds):
        for name, code in COMMANDS.items():
            times[name].append(seconds(code))
    base = statistics.median(times[BASE])
    print(f"medians of {rounds} interleaved rounds, Python {sys.version.split()[0]}")
    for name, measured in times.items():
        median = statistics.median(measured)
        print(f"{name:32} {1000 * median:5.0f} ms, {median / base:4.2f} times import numpy")


if __name__ == "__main__":
    main()
