"""Who runs a trial: known dead only when it is known."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from robust_lr_optuna._workers import in_this_process, is_gone, this_worker, where

ASK = "import json; from robust_lr_optuna._workers import this_worker; print(json.dumps(this_worker()))"


def worker_of_a_process_that_has_ended():
    return json.loads(subprocess.run([sys.executable, "-c", ASK], capture_output=True, check=True).stdout)


def test_a_process_that_runs_is_not_gone():
    assert not is_gone(this_worker())


def test_a_process_that_has_ended_is_gone():
    assert is_gone(worker_of_a_process_that_has_ended())


def test_a_process_that_has_ended_and_was_not_waited_for_is_gone():
    if not Path("/proc/self/stat").exists():
        pytest.skip("needs /proc")
    process = subprocess.Popen([sys.executable, "-c", ASK + "; import sys; sys.stdout.flush()"], stdout=subprocess.PIPE)
    worker = json.loads(process.stdout.readline())
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert is_gone(worker)
    process.communicate()


def test_a_process_with_the_number_of_another_one_is_not_that_one():
    worker = this_worker()
    if worker["started"] is None:
        pytest.skip("the system does not tell when a process started")
    assert is_gone({**worker, "started": worker["started"] - 1})


def test_of_a_process_on_another_machine_nothing_is_known():
    assert not is_gone({**worker_of_a_process_that_has_ended(), "machine": "another"})


def test_a_worker_says_where_it_runs():
    here = this_worker()
    assert in_this_process(here) and where(here) == "in this process"
    assert not in_this_process({**here, "pid": here["pid"] + 1})
    assert where({**here, "pid": 7}) == "process 7 on this machine"
    assert where({**here, "machine": "node3/boot/ns", "pid": 7}) == "process 7 on node3"
    assert where(None) == "worker unknown"
