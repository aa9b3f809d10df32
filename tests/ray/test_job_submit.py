"""A sweep as a job of a cluster, and what a person sees who interrupts one or mistypes the address."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from pathlib import Path

import pytest

from robust_lr import SweepResult

pytestmark = pytest.mark.timeout(300)
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
MARK = "ROBUST_LR_TEST"  # in the environment of all that a test starts, and of what that starts
TRAIN = """
import time

def train(*, lr, schedule, seed):
    time.sleep(0.2)
    return (lr - 0.1) ** 2 + 0.001 * (seed + 7 * lr) % 0.003
"""
BIN = Path(sys.executable).parent
RUN = [BIN / "robust-lr", "run", "mine.py:train", "--lr-min", "0.01", "--lr-max", "1", "--schedules", "cosine", "--ray"]


def free_port() -> int:
    with socket.socket() as end:
        end.bind(("127.0.0.1", 0))
        return int(end.getsockname()[1])


@contextlib.contextmanager
def processes_marked():
    """An environment for what a test starts; whatever still has it at the end is killed."""
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    environment[MARK] = uuid.uuid4().hex
    try:
        yield environment
    finally:
        for process in alive(environment):
            os.kill(process, signal.SIGKILL)


def alive(environment) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # of another user, or gone
            if f"{MARK}={environment[MARK]}".encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
    return found


def wait_until(condition, seconds):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.1)
    return condition()


@pytest.fixture(scope="module")
def head(ray_folder):
    """A cluster of one node, such as `ray up` would start: the addresses of its head and of its dashboard."""
    port, dashboard, agent = free_port(), free_port(), free_port()
    command = f"start --head --block --port={port} --dashboard-host=127.0.0.1 --dashboard-port={dashboard} --num-cpus=1"
    command += f" --num-gpus=0 --ray-client-server-port={free_port()} --object-store-memory={100 * 2**20}"
    command += f" --dashboard-agent-listen-port={agent} --disable-usage-stats --temp-dir={ray_folder}/head"
    with processes_marked() as environment:
        started = subprocess.Popen(
            [BIN / "ray", *command.split()],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            assert wait_until(lambda: listens(dashboard) and listens(port) and is_healthy(agent), 100)
            yield f"127.0.0.1:{port}", f"http://127.0.0.1:{dashboard}"
        finally:
            started.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                started.wait(40)


def listens(port: int) -> bool:
    with socket.socket() as end:
        return end.connect_ex(("127.0.0.1", port)) == 0


def is_healthy(agent: int) -> bool:
    """Whether the agent of the dashboard, which starts jobs, is up."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{agent}/api/local_raylet_healthz", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


@pytest.mark.slow
def test_a_submitted_job_sweeps_on_its_cluster_and_leaves_a_report(head, ray_local, tmp_path):
    from ray.util.state import list_actors

    (tmp_path / "job").mkdir()
    (tmp_path / "job" / "ray_sweep.py").write_text((EXAMPLES / "ray_sweep.py").read_text())
    command = [BIN / "ray", "job", "submit", "--address", head[1]]
    command += ["--working-dir", str(tmp_path / "job"), "--", sys.executable, "ray_sweep.py", "--address", "auto"]
    command += ["--seeds", "1", "--output", str(tmp_path / "report.html"), "--journal", str(tmp_path / "sweep.jsonl")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "succeeded" in done.stdout
    assert f"report: {tmp_path / 'report.html'}" in done.stdout
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")
    assert SweepResult.from_journal(tmp_path / "sweep.jsonl").n_trials == 20
    assert list_actors(address=head[1], filters=[("class_name", "=", "_TrialActor")])  # here, and not on ray_local


@pytest.mark.slow
def test_an_interrupted_sweep_says_so_in_one_line_and_the_same_command_goes_on(head, tmp_path):
    (tmp_path / "mine.py").write_text(TRAIN)
    command = [*RUN, "--n-points", "5", "--seeds", "3", "--gpus-per-trial", "0"]
    journal = tmp_path / "sweep.jsonl"
    with processes_marked() as environment:
        run = {"cwd": tmp_path, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        first = subprocess.Popen(command, env=environment, **run)  # on a Ray of its own
        assert wait_until(lambda: journal.exists() and len(journal.read_text().splitlines()) > 3, 120)
        first.send_signal(signal.SIGINT)
        out, err = first.communicate(timeout=90)
        assert first.returncode == 130
        assert out == ""
        assert [line for line in err.splitlines() if not line.startswith("trial ")] == [
            "interrupted; every finished trial is in the journal, and the same command continues"
        ]
        assert wait_until(lambda: not alive(environment), 60), alive(environment)
        n_before = SweepResult.from_journal(journal).n_trials
        assert 0 < n_before < 15
        again = subprocess.run(command, env=environment | {"RAY_ADDRESS": head[0]}, timeout=200, check=False, **run)
    assert again.returncode == 0, again.stderr
    assert SweepResult.from_journal(journal).n_trials == 15
    assert len(journal.read_text().splitlines()) == 1 + 15  # each trial once


def test_a_wrong_address_is_said_in_one_line_and_soon(tmp_path):
    (tmp_path / "mine.py").write_text(TRAIN)
    command = [*RUN, "--n-points", "3", "--address", "127.0.0.1:9"]
    start = time.monotonic()
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch("error: no Ray answers at 127.0.0.1:9: .*refused\n", done.stderr)
    assert time.monotonic() - start < 60, "Ray itself would try for five minutes"
