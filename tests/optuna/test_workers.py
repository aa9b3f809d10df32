"""Who runs a trial: known dead only when it is known."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from robust_lr_optuna._workers import is_gone, is_in_other_thread, this_worker

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


def test_another_thread_is_known_while_it_lives():
    there, go_on, seen = threading.Event(), threading.Event(), []

    def run():
        seen.append(this_worker())
        there.set()
        go_on.wait()

    thread = threading.Thread(target=run)
    thread.start()
    there.wait()
    assert is_in_other_thread(seen[0])
    assert not is_in_other_thread(this_worker())
    assert not is_in_other_thread({**seen[0], "pid": seen[0]["pid"] + 1})
    go_on.set()
    thread.join()
    assert not is_in_other_thread(seen[0])
