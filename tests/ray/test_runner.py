"""A sweep on Ray has the results of any runner, loses nothing, and says in one line what it cannot do."""

from __future__ import annotations

import dataclasses
import functools
import os
import signal
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

from robust_lr import (
    Constant,
    CosineDecay,
    FunctionSchedule,
    GeometricGrid,
    PackedRunner,
    RobustLRError,
    SerialRunner,
    SweepResult,
    TrialPreempted,
    TrialSpec,
    preempted,
    run_sweep,
)
from robust_lr.cli.demo import demo_task
from robust_lr.exceptions import OptionError, RobustLRWarning, ScheduleError, TrialError
from robust_lr.runners import TrialList
from robust_lr.testing import LEARNING_RATES, SCHEDULES, RunnerContract, run_trials, train_quadratic
from robust_lr.trials import expand_trials
from robust_lr_ray import RayRunner, trial_checkpoint

GRID = GeometricGrid(0.125, 1.0, 4)
ONE_CPU = {"cpu": 1}
N_CPUS = 8  # of `ray_local`
# An actor a trial, packs, and several ranks, which load torch.
WAYS = [{}, {"slots": 4}, pytest.param({"num_workers": 2}, marks=pytest.mark.slow)]


@pytest.fixture(autouse=True)
def on_local_ray(ray_local):
    return ray_local


class TestRayRunner(RunnerContract):
    @pytest.fixture
    def runner(self):
        return RayRunner(ONE_CPU, max_concurrent=2)


@pytest.mark.slow
class TestRayRunnerWithPacks(RunnerContract):
    @pytest.fixture
    def runner(self, recwarn):
        return RayRunner(ONE_CPU, max_concurrent=1, slots="auto")

    @pytest.fixture(autouse=True)
    def says_that_plain_functions_do_not_pack(self):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("robust_lr_ray._pack_worker.warnings.warn", lambda *args, **options: None)
            yield


def results_of(runner, train, trials, schedules=SCHEDULES, max_retries=2):
    return {result.spec: result for result in run_trials(runner, train, trials, schedules, max_retries=max_retries)}


def note(folder, **what):
    """Leave a file that says what was run; training functions of these tests do."""
    name = "-".join(f"{key}={value}" for key, value in what.items())
    Path(folder, f"{name}-{time.monotonic_ns()}").touch()


def train_and_note(*, lr, schedule, seed, folder):
    note(folder, lr=lr, seed=seed)
    return lr


def train_that_kills_its_process_once(*, lr, schedule, seed, folder, seconds):
    if lr == 0.5 and not Path(folder, "killed").exists():
        Path(folder, "killed").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(seconds)
    note(folder, lr=lr, seed=seed)
    return lr


def train_that_always_exits(*, lr, schedule, seed):
    if lr == 0.5:
        os._exit(3)
    return lr


def train_in_the_main_thread(*, lr, schedule, seed):
    assert threading.current_thread() is threading.main_thread()
    return float(os.environ["OMP_NUM_THREADS"])


def train_on_gpus(*, lr, schedule, seed):
    devices = os.environ["CUDA_VISIBLE_DEVICES"].split(",")
    time.sleep(0.2)
    return {"loss": lr, "n_devices": len(devices), "device": int(devices[0])}


def train_in_company(*, lr, schedule, seed, folder):
    """Run until more than four trials have run at the same time, two minutes at most; note how many did."""
    running, enough, most = Path(folder, f"running-{lr}-{seed}"), Path(folder, "enough"), 0
    running.touch()
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not enough.exists():
        time.sleep(0.05)
        most = max(most, len(list(Path(folder).glob("running-*"))))
        if most > 4:
            time.sleep(0.3)
            most = max(most, len(list(Path(folder).glob("running-*"))))
            enough.touch()
    Path(folder, f"most-{lr}-{seed}").write_text(str(most))
    running.unlink()
    return lr


@pytest.mark.parametrize(("seconds", "n_others"), [(0.25, 0), (0.0, 1)])
def test_a_trial_whose_process_is_killed_runs_again_and_of_others_one_short_one_at_most(tmp_path, seconds, n_others):
    """The trial before it may have ended with its result still on the way, but only a short one is followed so soon."""
    trials = expand_trials(["constant"], LEARNING_RATES, range(2))
    train = functools.partial(train_that_kills_its_process_once, folder=str(tmp_path), seconds=seconds)
    results = results_of(RayRunner(ONE_CPU, max_concurrent=2), train, trials)
    assert {r.status for r in results.values()} == {"ok"}
    notes = [path.name.rpartition("-")[0] for path in tmp_path.iterdir() if path.name != "killed"]
    assert len(set(notes)) == len(trials) <= len(notes) <= len(trials) + n_others


def test_a_trial_that_always_kills_its_process_fails_alone_with_the_reason():
    trials = expand_trials(["constant"], LEARNING_RATES, (0,))
    results = results_of(RayRunner(ONE_CPU, max_concurrent=2), train_that_always_exits, trials, max_retries=0)
    failed = {spec.lr for spec, r in results.items() if r.status == "failed"}
    assert failed == {0.5}
    assert all("worker died" in r.error for r in results.values() if r.status == "failed")


def test_a_gpu_is_shared_by_as_many_trials_as_were_asked_for(tmp_path):
    train = functools.partial(train_in_company, folder=str(tmp_path))
    trials = expand_trials(["constant"], LEARNING_RATES, range(4))
    results_of(RayRunner({"cpu": 1.6, "gpu": 0.5}), train, trials)  # the CPUs allow five
    at_once = max(int(path.read_text()) for path in tmp_path.glob("most-*"))
    assert at_once == 5, "there are 4 GPUs"


@pytest.mark.parametrize("gpus", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_each_trial_sees_the_gpus_that_it_was_given(gpus):
    trials = expand_trials(["constant"], LEARNING_RATES[: 3 - gpus], (0,))
    results = results_of(RayRunner({"cpu": 1, "gpu": gpus}), train_on_gpus, trials).values()
    assert {r.metrics["n_devices"] for r in results} == {gpus}


def test_trials_run_in_the_main_thread_with_as_many_threads_as_asked_for():
    trials = expand_trials(["constant"], LEARNING_RATES[:1], (0,))
    (result,) = results_of(RayRunner(ONE_CPU, threads_per_worker=3), train_in_the_main_thread, trials).values()
    assert (result.status, result.loss) == ("ok", 3), result.error


def test_a_larger_grid_in_the_same_journal_runs_only_the_new_cells(tmp_path):
    folder = tmp_path / "notes"
    folder.mkdir()
    train = functools.partial(train_and_note, folder=str(folder))
    journal = tmp_path / "sweep.jsonl"
    runner = RayRunner(ONE_CPU, max_concurrent=1)
    run_sweep(train, GRID, ["cosine"], 2, runner=runner, journal=journal)
    sweep = run_sweep(train, GRID.refine(), ["cosine"], 2, runner=runner, journal=journal)
    assert sweep.n_trials == len(list(folder.iterdir())) == 2 * len(GRID.refine())


def test_packs_on_the_cluster_train_what_packs_here_train():
    here = run_sweep(demo_task(), GRID, SCHEDULES, 1, runner=PackedRunner())
    there = run_sweep(demo_task(), GRID, SCHEDULES, 1, runner=RayRunner(ONE_CPU, max_concurrent=2, slots="auto"))
    np.testing.assert_allclose(here.loss, there.loss, rtol=1e-9)


def test_a_function_that_does_not_pack_is_said_and_runs_one_after_the_other():
    runner = RayRunner(ONE_CPU, max_concurrent=1, slots=4)
    with pytest.warns(RobustLRWarning, match="running one trial at a time: the training function has no plan_packs"):
        sweep = run_sweep(train_quadratic, GRID, SCHEDULES, 1, runner=runner)
    assert sweep.loss.tolist() == run_sweep(train_quadratic, GRID, SCHEDULES, 1).loss.tolist()


def train_to_the_middle(*, lr, schedule, seed, folder):
    """Save a state, and fail the first time in this folder; the result is the state that was there before."""
    checkpoint = trial_checkpoint()
    before = checkpoint.load()
    checkpoint.save({"step": 1})
    if not Path(folder, "failed").exists():
        Path(folder, "failed").touch()
        raise OSError("the file server is away")
    return 0.0 if before is None else 1.0


@dataclasses.dataclass
class TaskWithAnAddressInItsName:
    """Prints as something else in each process."""

    make: object

    def __call__(self, *, lr, schedule, seed):
        return lr


@pytest.mark.slow
def test_a_checkpoint_is_used_by_its_own_experiment_only(tmp_path):
    runner = RayRunner(ONE_CPU, max_concurrent=1, storage_path=tmp_path / "storage")
    losses = []
    train = functools.partial(train_to_the_middle, folder=str(tmp_path))
    for label in ("mine", "another", "mine"):
        try:
            sweep = run_sweep(train, [0.5], ["cosine"], 1, runner=runner, label=label, max_retries=0)
        except TrialError:
            continue  # the first one
        losses.append(float(sweep.loss[0, 0, 0]))
    assert losses == [0.0, 1.0]


def test_a_function_whose_name_says_nothing_keeps_no_checkpoints_unless_it_is_given_a_label(tmp_path):
    runner = RayRunner(ONE_CPU, max_concurrent=1, storage_path=tmp_path)
    with pytest.raises(RobustLRError, match="checkpoints cannot identify train by its name"):
        run_sweep(lambda *, lr, schedule, seed: lr, [0.5], ["cosine"], 1, runner=runner)
    sweep = run_sweep(lambda *, lr, schedule, seed: lr, [0.5], ["cosine"], 1, runner=runner, label="mine")
    assert sweep.loss.tolist() == [[[0.5]]]


@pytest.mark.slow
def test_several_workers_agree_on_a_task_that_prints_as_something_else_in_each():
    task = TaskWithAnAddressInItsName(lambda: None)
    sweep = run_sweep(task, [0.5], ["cosine"], 1, runner=RayRunner(ONE_CPU, num_workers=2, max_concurrent=1))
    assert sweep.loss.tolist() == [[[0.5]]]


def train_that_asks_to_exit(*, lr, schedule, seed):
    if lr == 0.5:
        raise SystemExit(3)
    return lr


@pytest.mark.filterwarnings("ignore:running one trial at a time")
def test_a_training_function_that_exits_fails_its_trial_in_packs_too():
    trials = expand_trials(["constant"], LEARNING_RATES, (0,))
    runner = RayRunner(ONE_CPU, max_concurrent=1, slots=2)
    results = results_of(runner, train_that_asks_to_exit, trials, max_retries=0)
    assert {spec.lr: r.status for spec, r in results.items() if r.status != "ok"} == {0.5: "failed"}


def test_the_trial_that_ends_a_process_is_the_one_to_blame_however_short_they_are():
    trials = [TrialSpec("constant", 0.25 if i % 10 else 0.5, i) for i in range(1, 15)]
    results = results_of(RayRunner(ONE_CPU, max_concurrent=2), train_that_always_exits, trials, max_retries=0)
    assert {spec.lr for spec, r in results.items() if r.status == "failed"} == {0.5}
    assert {spec.lr for spec, r in results.items() if r.status == "ok"} == {0.25}


def train_that_breaks_its_process(*, lr, schedule, seed, folder):
    """At lr 0.25 fail once, and leave a process in which every later trial fails."""
    note(folder, pid=os.getpid(), lr=lr, seed=seed)
    if lr == 0.25 and not Path(folder, "broken").exists():
        Path(folder, "broken").touch()
        os.environ["ROBUST_LR_TESTS_BROKEN"] = "1"
    if "ROBUST_LR_TESTS_BROKEN" in os.environ:
        raise RuntimeError("CUDA error: device-side assert triggered")
    return lr


@pytest.mark.parametrize("options", WAYS, ids=str)
@pytest.mark.filterwarnings("ignore:running one trial at a time")
def test_a_broken_process_costs_one_retry_and_no_other_trial(tmp_path, options):
    trials = expand_trials(["constant"], LEARNING_RATES, (0, 1))
    train = functools.partial(train_that_breaks_its_process, folder=str(tmp_path))
    results = results_of(RayRunner(ONE_CPU, max_concurrent=1, **options), train, trials, max_retries=1)
    assert {spec: r.loss for spec, r in results.items()} == {spec: spec.lr for spec in trials}
    n_trainings = len([path for path in tmp_path.iterdir() if path.name.startswith("pid")])
    assert n_trainings == (len(trials) + 1) * options.get("num_workers", 1)


def train_until_preempted(*, lr, schedule, seed, folder):
    """At lr 0.25, have this process preempted once, and note that there was time to save."""
    saved = Path(folder, "saved")
    if lr == 0.25 and not saved.exists():
        while not preempted():
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)
        saved.touch()
        raise TrialPreempted
    return lr


def test_a_preempted_trial_may_save_its_state_and_runs_again_without_using_up_a_retry(tmp_path):
    train = functools.partial(train_until_preempted, folder=str(tmp_path))
    trials = expand_trials(["constant"], LEARNING_RATES[:3], (0,))
    results = results_of(RayRunner(ONE_CPU, max_concurrent=1), train, trials, max_retries=0)
    assert {spec.lr: r.loss for spec, r in results.items()} == {spec.lr: spec.lr for spec in trials}
    assert (tmp_path / "saved").exists()


def train_without_a_number(*, lr, schedule, seed, folder):
    note(folder, lr=lr)
    return {"loss": lr, "run_id": "abc"}


@pytest.mark.parametrize("options", WAYS, ids=str)
@pytest.mark.filterwarnings("ignore:running one trial at a time")
def test_a_return_value_that_is_no_number_ends_the_sweep_after_one_training(tmp_path, options):
    train = functools.partial(train_without_a_number, folder=str(tmp_path))
    with pytest.raises(TrialError, match=r"^train must return the metric 'run_id' as a number, got .*'abc'"):
        run_sweep(train, GRID, ["cosine"], 2, runner=RayRunner(ONE_CPU, max_concurrent=1, **options))
    assert len(list(tmp_path.iterdir())) == options.get("num_workers", 1)


def test_a_ray_that_was_running_is_left_as_it_was(ray_local):
    run_sweep(train_quadratic, GRID, SCHEDULES, 1, runner=RayRunner(ONE_CPU, max_concurrent=2))
    assert ray_local.is_initialized()
    assert _until(lambda: ray_local.available_resources().get("CPU") == N_CPUS)


def test_closing_the_iterator_gives_everything_back(ray_local):
    results = RayRunner(ONE_CPU, max_concurrent=2).run(
        train_quadratic, TrialList(expand_trials(SCHEDULES, LEARNING_RATES, range(50))), SCHEDULES
    )
    next(results)
    results.close()
    assert _until(lambda: ray_local.available_resources().get("CPU") == N_CPUS)


def test_a_closure_travels_and_what_does_not_pickle_is_said():
    factor, runner = 2.0, RayRunner(ONE_CPU, max_concurrent=1)
    sweep = run_sweep(lambda *, lr, schedule, seed: factor * lr, GRID, ["cosine"], 1, runner=runner)
    assert sweep.loss[0, :, 0].tolist() == [2 * lr for lr in GRID.values]
    lock = threading.Lock()
    with pytest.raises(RobustLRError, match="train must pickle to travel to the cluster"):
        run_sweep(lambda *, lr, schedule, seed: lock, GRID, ["cosine"], 1, runner=runner)


def test_schedules_travel_as_texts_and_one_without_is_refused_before_anything_starts():
    schedules = {"mine": CosineDecay(floor=0.25), "constant": Constant()}
    trials = expand_trials(schedules, [0.5], (0,))

    def train(*, lr, schedule, seed):
        return float(schedule(100, 100))

    results = results_of(RayRunner(ONE_CPU, max_concurrent=1), train, trials, schedules)
    assert results[TrialSpec("mine", 0.5, 0)].loss == 0.25
    local = FunctionSchedule(lambda u: 1 - u, degree=1.0)
    with pytest.raises(ScheduleError, match="a schedule travels to the cluster as its text"):
        results_of(RayRunner(ONE_CPU), train_quadratic, [TrialSpec("local", 0.5, 0)], {"local": local})


def test_one_is_told_at_once_when_no_node_can_hold_a_trial():
    trials = expand_trials(["constant"], [0.5], (0,))
    said = "the cluster cannot hold a trial of 5 gpu: it has 1 node with at most 4 gpu; waiting for a node that can"
    with warnings.catch_warnings():
        warnings.simplefilter("error", RobustLRWarning)
        with pytest.raises(RobustLRWarning, match=said):
            results_of(RayRunner({"gpu": 5}), train_quadratic, trials)


def _until(holds, seconds=120.0):
    """Wait until something holds; Ray counts what it got back a moment later."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if holds():
            return True
        time.sleep(0.1)
    return False


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"resources_per_trial": {"gpu": 1.5}}, "a fraction of one GPU, or whole GPUs, got 1.5"),
        ({"resources_per_trial": {"cpu": -1}}, "must be numbers of at least 0"),
        ({"resources_per_trial": {"cpu": 0}}, "a trial must take something"),
        ({"resources_per_trial": 1}, "must be a mapping"),
        ({"resources_per_trial": {"gpu": 1e-5}}, "must be 0 or at least 0.0001"),
        ({"resources_per_trial": {"object_store_memory": 1}}, "cannot reserve object_store_memory"),
        ({"address": "ray://head:10001", "slots": 2}, "packs cannot be used through ray://"),
        ({"num_workers": 0}, "num_workers must be"),
        ({"max_concurrent": 0}, "max_concurrent must be"),
        ({"slots": 0}, "slots must be"),
        ({"slots": 2, "num_workers": 2}, "slots are for trials of one worker"),
        ({"placement_strategy": "NEAR"}, "placement_strategy must be one of"),
        ({"storage_path": "s3://bucket/sweep"}, "a folder that every node mounts"),
        ({"address": ""}, "address must be"),
    ],
    ids=str,
)
def test_wrong_arguments_are_refused_at_once(options, said):
    with pytest.raises(OptionError, match=said):
        RayRunner(**options)


def test_what_was_run_elsewhere_is_the_same_sweep(tmp_path):
    journal = tmp_path / "sweep.jsonl"
    run_sweep(train_quadratic, GRID, SCHEDULES, 2, runner=SerialRunner(), journal=journal)
    sweep = run_sweep(train_quadratic, GRID, SCHEDULES, 3, runner=RayRunner(ONE_CPU, max_concurrent=1), journal=journal)
    assert isinstance(sweep, SweepResult)
    np.testing.assert_array_equal(sweep.loss, run_sweep(train_quadratic, GRID, SCHEDULES, 3).loss)


@pytest.mark.parametrize(
    "runner",
    [
        pytest.param(RayRunner(ONE_CPU, max_concurrent=2, trial_timeout=2), id="one worker"),
        pytest.param(RayRunner(ONE_CPU, num_workers=2, trial_timeout=2), id="two ranks", marks=pytest.mark.slow),
    ],
)
def test_a_trial_past_its_time_limit_fails_and_the_others_go_on(runner):
    def hang(*, lr, schedule, seed):
        while lr == 0.25:
            time.sleep(60)
        return lr

    with pytest.warns(
        RobustLRWarning, match="1 of 4 trials failed and count as missing; the first: timed out after 2 s"
    ):
        sweep = run_sweep(hang, GRID, ["constant"], 1, runner=runner, max_retries=0, progress=False)
    assert sweep.n_trials == 3


def test_an_actor_is_replaced_after_its_share_of_trials():
    def report_process(*, lr, schedule, seed):
        return {"loss": lr + seed, "process": os.getpid()}

    trials = [TrialSpec("constant", lr, seed) for lr in (0.1, 0.2) for seed in range(2)]
    runner = RayRunner(ONE_CPU, max_concurrent=1, trials_per_worker=2)
    processes = [result.metrics["process"] for result in run_trials(runner, report_process, trials)]
    assert sorted(map(processes.count, set(processes))) == [2, 2]
