"""What a cluster can hold is known before anything starts, and a cluster that is not there is said in one line."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import pytest

from robust_lr import RobustLRError
from robust_lr_ray import _cluster
from robust_lr_ray._cluster import Cluster, connected
from robust_lr_ray._resources import check_resources


@pytest.mark.parametrize(
    ("resources", "num_workers", "expected"),
    [
        ({"cpu": 1}, 1, 8),
        ({"cpu": 3}, 1, 2),
        ({"cpu": 0.5}, 1, 16),
        ({"gpu": 1}, 1, 4),
        ({"gpu": 0.5}, 1, 8),
        ({"gpu": 0.3}, 1, 12),  # three on each of four GPUs: none is shared out over two
        ({"gpu": 0.7}, 1, 4),
        ({"gpu": 2}, 1, 2),
        ({"cpu": 4, "gpu": 1}, 1, 2),
        ({"cpu": 1, "gpu": 1}, 2, 2),
        ({"cpu": 1}, 3, 2),
        ({"gpu": 5}, 1, 0),
        ({"tpu": 1}, 1, 0),
    ],
    ids=str,
)
def test_the_trials_that_fit_are_counted(ray_local, resources, num_workers, expected):
    assert Cluster(is_own=False).capacity(resources, num_workers=num_workers) == expected


def test_workers_that_must_be_on_one_node_or_on_several_are_counted_so(ray_local):
    cluster = Cluster(is_own=False)
    assert cluster.capacity({"cpu": 3}, num_workers=2, placement_strategy="STRICT_PACK") == 1
    assert cluster.capacity({"cpu": 1}, num_workers=2, placement_strategy="STRICT_SPREAD") == 0
    assert cluster.capacity({"cpu": 1}, num_workers=1, placement_strategy="STRICT_SPREAD") == 8


def test_ray_holds_as_many_at_once_as_were_counted(ray_local):
    @ray_local.remote(num_cpus=0, num_gpus=0.7)
    class Holder:
        def there(self):
            return True

    holders = [Holder.remote() for _ in range(5)]
    answers = [holder.there.remote() for holder in holders]
    ray_local.wait(answers, num_returns=4, timeout=120)
    ready, waiting = ray_local.wait(answers, num_returns=5, timeout=0.5)
    assert (len(ready), len(waiting)) == (Cluster(is_own=False).capacity({"gpu": 0.7}), 1)


def test_by_default_a_trial_takes_a_gpu_where_there_are_gpus(ray_local):
    assert Cluster(is_own=False).default_resources() == {"cpu": 1, "gpu": 1}


def test_resources_are_named_as_in_ray_or_as_in_tune():
    assert check_resources("resources_per_trial", {"CPU": 2, "GPU": 0.5, "TPU": 1}) == {"cpu": 2, "gpu": 0.5, "TPU": 1}


def test_a_ray_of_our_own_that_can_never_hold_a_trial_is_an_error(ray_local):
    said = "the cluster cannot hold a trial of 2 workers of 8 cpu each: it has 1 node with at most 8 cpu"
    with pytest.raises(RobustLRError, match=said):
        Cluster(is_own=True).check_can_hold({"cpu": 8}, num_workers=2)


def test_a_connection_that_is_there_is_used_and_kept(ray_local):
    port = ray_local.get_runtime_context().gcs_address.rpartition(":")[2]
    for address in ("auto", f"localhost:{port}", f"127.0.0.1:{port}"):
        with connected(address) as cluster:
            assert not cluster.is_own
    assert ray_local.is_initialized()
    with (
        pytest.raises(RobustLRError, match=r"connected to Ray at .* already, not to elsewhere:1234"),
        connected("elsewhere:1234"),
    ):
        pass


def in_a_process(code, **environment):
    """Run code in a process that is connected to nothing; return what it printed, and its seconds."""
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    return done.stdout + done.stderr, time.monotonic() - start


def errors_of_connecting(*addresses, **environment):
    """What a process prints that connects to where no Ray is: the kind of error and its message; and its seconds."""
    code = f"""
        from robust_lr_ray._cluster import connected
        for address in {addresses!r}:
            try:
                with connected(address):
                    pass
            except Exception as error:
                print(type(error).__name__, error)
    """
    return in_a_process(code, **environment)


def test_an_address_where_no_ray_is_gives_one_line_at_once():
    nowhere = ["127.0.0.1:9", "ray://127.0.0.1:9", "no.such.host.invalid:6379"]
    output, seconds = errors_of_connecting(*nowhere, "127.0.0.1:port")
    said = [f"RobustLRError no Ray answers at {address}: " for address in nowhere]
    said += ["OptionError address must be 'auto', 'host:port' or 'ray://host:port', got '127.0.0.1:port'"]
    for line, words in zip(output.splitlines(), said, strict=True):
        assert line.startswith(words)
    assert seconds < 100, "Ray itself would try for five minutes"


@pytest.mark.skipif(not Path("/tmp").is_dir(), reason="needs a temporary folder with a short name")
@pytest.mark.slow
def test_what_answers_and_is_no_ray_gives_one_line(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        output, seconds = errors_of_connecting(address)
    assert output.startswith(f"RobustLRError what answers at {address} is not the head of a Ray")
    assert output.count("\n") == 1
    assert seconds < 150, "Ray itself would try for five minutes"


def test_auto_is_the_cluster_of_the_environment():
    output, seconds = errors_of_connecting("auto", RAY_ADDRESS="127.0.0.1:9")
    assert "no Ray answers at 127.0.0.1:9" in output
    assert seconds < 100, "Ray itself would try for five minutes"


def test_auto_does_not_wait_for_a_cluster_that_was_killed_and_left_its_address(tmp_path):
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text("127.0.0.1:9")
    output, seconds = errors_of_connecting("auto", RAY_TMPDIR=str(tmp_path))
    assert output.startswith("RobustLRError no Ray answers at 127.0.0.1:9: ")
    assert seconds < 100, "Ray itself would try for five minutes"


@pytest.mark.slow
def test_a_ray_that_was_started_here_lasts_from_the_first_round_of_a_search_to_its_end_and_leaves_no_file():
    code = """
        import math, os, tempfile, ray
        from robust_lr import search_learning_rate
        from robust_lr_ray import RayRunner

        starts, init = [], ray.init
        ray.init = lambda **options: (starts.append(options), init(**options))

        def train(*, lr, schedule, seed):
            return math.log(lr / 0.02) ** 2

        found = search_learning_rate(train, 1e-3, 0.1, tolerance=0.2, runner=RayRunner({"cpu": 1}, max_concurrent=2))
        print(found.stop, found.n_trials > 2, len(starts))
        print(ray.is_initialized(), os.listdir(tempfile.gettempdir()))
    """
    with tempfile.TemporaryDirectory(prefix="r-", dir="/tmp") as folder:
        output, _ = in_a_process(code, TMPDIR=folder)
    assert output.splitlines() == ["tolerance True 1", "False []"]


def test_starting_ray_leaves_the_handler_of_sigterm_as_it_was(monkeypatch):
    """That of Ray prints a stack of C++ and aborts; a sweep has one of its own."""
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(_cluster.ray, "init", lambda **options: signal.signal(signal.SIGTERM, lambda *about: None))
    _cluster._init({"address": "local"})
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.slow
def test_sigterm_ends_a_sweep_on_ray_in_one_line():
    code = """
        import os, signal
        from robust_lr import run_sweep
        from robust_lr_ray import RayRunner

        def train(*, lr, schedule, seed):
            if lr == 0.1:
                os.kill(int(os.environ["DRIVER"]), signal.SIGTERM)
            return lr

        os.environ["DRIVER"] = str(os.getpid())
        run_sweep(train, [0.3, 0.1, 0.2], ["constant"], 50, runner=RayRunner({"cpu": 1}, max_concurrent=1))
    """
    output, _ = in_a_process(code)
    assert output.startswith("ended by SIGTERM; ")
    assert output.count("\n") == 1
