"""PackedRunner with a SupervisedTask: which engine it takes and why, memory, falling back, processes, resuming."""

from __future__ import annotations

import logging
import math
import os
import re
import signal
import subprocess
import sys
import time
import warnings
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from robust_lr import PackedRunner, RobustLRError, SerialRunner, run_sweep
from robust_lr.exceptions import NotVectorizable, RobustLRWarning
from robust_lr.journal.journal import read_journal
from robust_lr.runners import TrialList
from robust_lr.testing import run_trials, train_quadratic
from robust_lr.trials import TrialSpec
from robust_lr_torch.packing._choice import SMALL_STEP
from robust_lr_torch.packing._pack import Pack
from tests.torch import models_that_do_not_pack
from tests.torch.packing.test_inspect import REASONS, line_of
from tests.torch.tasks import ENVIRONMENT, SCHEDULES, D, K, examples, make_dropout_network, make_network, task, trials

torch.set_num_threads(1)

SPECS = trials(seeds=range(3), schedules=SCHEDULES)


def run(runner, t, specs=SPECS):
    results = {r.spec: r for r in run_trials(runner, t, specs, SCHEDULES)}
    assert len(results) == len(specs)
    return {spec: (r.status, r.loss, dict(r.metrics)) for spec, r in results.items()}


def plan(t, specs=SPECS, **options):
    """The plan and its note."""
    options = {"engine": "auto", "slots": "auto", "n_workers": 1, "device": None, "memory_limit": None} | options
    return t.plan_packs(specs, SCHEDULES, **options)


@pytest.fixture
def timed(monkeypatch):
    """What "auto" measures: 300 us a step alone, 100 us a replica in any pack, and no time to make one."""

    def share_of_alone(planner, pack, steps_alone):
        pack.steps(1)
        return 100 / 300

    monkeypatch.setattr("robust_lr_torch.packing._plan._Timed.median", lambda timed, *, of_steps: 300e-6)
    monkeypatch.setattr("robust_lr_torch.packing._plan.Planner._share_of_alone", share_of_alone)
    monkeypatch.setattr("robust_lr_torch.packing._plan._seconds_of_small_step", lambda clock: SMALL_STEP)
    clock = SimpleNamespace(perf_counter=lambda: 0.0, thread_time=lambda: 0.0)
    monkeypatch.setattr("robust_lr_torch.packing._plan.time", clock)


def assert_close(results, expected, tolerance=1e-6):
    for spec, (status, loss, metrics) in expected.items():
        assert results[spec][0] == status and results[spec][2].keys() == metrics.keys()
        assert loss == results[spec][1] or abs(loss - results[spec][1]) <= tolerance


# The choice


def test_a_sweep_that_is_over_in_a_moment_is_not_packed(timed):
    t = task()
    n_steps = 2 * t.total_steps
    assert plan(t, SPECS[:2]).note == f"sequential: {n_steps} steps in all are over before a pack is made"
    longer = replace(t, total_steps=200)
    assert plan(longer, SPECS[:2]).note == "sequential: it takes about 0.12 s as it is"
    assert plan(task(), []).note == "sequential: there are no trials"


def test_a_linear_model_is_trained_in_closed_form():
    t = task(partial(nn.Linear, D, K), total_steps=400)
    chosen = plan(t)
    assert chosen.engine == "closed_form" and chosen.note == "closed form in numpy, 12 slots"
    assert 0 < chosen.seconds < 6, "so that it is not worth starting processes"
    assert_close(run(PackedRunner(), t), run(SerialRunner(), t))


def test_a_long_sweep_of_a_small_model_is_packed_and_the_note_says_what_was_measured(timed):
    t = task(make_dropout_network, total_steps=1000)
    chosen = plan(t, trials(seeds=range(16), schedules=SCHEDULES))
    assert (chosen.engine, chosen.slots, chosen.gain) == ("packed", 32, pytest.approx(3))
    measured = r"3 times as fast as sequential training \(300 us a step alone, 100 us in a pack\)"
    assert re.fullmatch(rf"packed, 32 slots, [\d.]+ kB a replica: {measured}", chosen.note)


def test_the_engine_asked_for_is_taken_and_the_packs_are_of_one_size():
    t = task()
    assert plan(t, engine="sequential").note == "sequential: as requested"
    for slots, n_workers, expected in (("auto", 1, 12), ("auto", 2, 6), (8, 1, 6), (5, 1, 4), (3, 2, 3), (99, 1, 12)):
        chosen = plan(t, engine="packed", slots=slots, n_workers=n_workers)
        assert (chosen.engine, chosen.slots) == ("packed", expected) and math.isnan(chosen.gain)
    with pytest.raises(NotVectorizable, match="the closed-form engine does not fit: the model must be one"):
        plan(t, engine="closed_form")


def test_the_choice_and_the_bytes_of_a_replica_are_logged(caplog):
    caplog.set_level(logging.INFO, "robust_lr")
    t = task()
    run(PackedRunner(engine="packed", slots=4), t, SPECS[:4])
    (message,) = caplog.messages
    assert re.fullmatch(r"packed, 4 slots, \d\.\d+ kB a replica", message)
    assert t.optimizer_options == {}


@pytest.mark.parametrize("engine", ["auto", "sequential", "packed"])
def test_every_engine_gives_the_results_of_one_after_the_other(engine):
    t = task(make_dropout_network, validation_data=examples(9, seed=3))
    assert_close(run(PackedRunner(engine=engine), t), run(SerialRunner(), t))


# Memory


def test_a_small_limit_means_fewer_slots_and_the_same_results():
    t = task()
    everything = plan(t, engine="packed")
    limited = plan(t, engine="packed", memory_limit=10_000)
    assert everything.slots == 12 and 1 <= limited.slots < 12
    assert plan(t, engine="packed", memory_limit=1).slots == 1
    expected = run(PackedRunner(engine="packed"), t)
    for limit in (10_000, 1):
        assert_close(run(PackedRunner(engine="packed", memory_limit=limit), t), expected)


OUT_OF_MEMORY = """
import resource, sys
from functools import partial
import torch
from torch import nn
from robust_lr import PackedRunner
from robust_lr.runners import TrialList
from tests.torch.tasks import ENVIRONMENT, SCHEDULES, D, K, task, trials

def wide():
    return nn.Sequential(nn.Linear(D, 20_000), nn.ReLU(), nn.Linear(20_000, K))

torch.set_num_threads(1)
t = task(wide, batch_size=40, total_steps=2)
specs = trials(lrs=(0.001, 0.01), seeds=range(8))
plan = t.plan_packs(specs, SCHEDULES, engine="packed", slots=16, n_workers=1, device=None, memory_limit=2**40)
assert plan.slots == 16
def used():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used() + 120 * 2**20,) * 2)
runner = PackedRunner(engine="packed", slots=16, memory_limit=2**40)
results = list(runner.run(t, TrialList(specs), SCHEDULES))
print(len({r.spec for r in results}), {r.status for r in results})
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="RLIMIT_AS is kept by Linux only")
def test_a_pack_that_does_not_fit_is_split_and_finishes():
    done = subprocess.run(
        [sys.executable, "-c", OUT_OF_MEMORY], env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split("\n")[-2] == "16 {'ok'}"
    assert "they run again, at most 8 at a time" in done.stderr


def test_without_memory_for_the_first_pack_auto_tries_a_smaller_one(timed, monkeypatch):
    made = []

    class SmallPack(Pack):
        def __init__(self, task, schedules, slots, *, compiled=False):
            made.append(slots)
            if slots > 10:
                raise MemoryError
            super().__init__(task, schedules, slots, compiled=compiled)

    monkeypatch.setattr("robust_lr_torch.packing._plan.Pack", SmallPack)
    chosen = plan(task(make_dropout_network, total_steps=1000), trials(seeds=range(16)))
    assert made == [32, 8] and (chosen.engine, chosen.slots) == ("packed", 8)


def test_auto_makes_no_larger_pack_than_the_memory_limit_allows(timed):
    t = task(make_dropout_network, total_steps=1000)
    n_bytes = Pack(t, SCHEDULES, 2).traced.bytes_per_replica
    chosen = plan(t, trials(seeds=range(16)), memory_limit=round(9.5 * n_bytes))
    assert chosen.engine == "packed" and 8 <= chosen.slots <= 10


# What cannot be packed


@pytest.mark.parametrize("name", [*REASONS, "CountsItsCalls"])
def test_what_cannot_be_packed_is_run_one_after_the_other_with_one_warning(name):
    t = task(getattr(models_that_do_not_pack, name))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        results = run(PackedRunner(engine="packed"), t, SPECS[:4])
    (text,) = [str(w.message) for w in caught if w.category is RobustLRWarning]
    assert text.startswith("training sequentially: ") and "\n" not in text
    assert text.endswith(f"({line_of(name)})") if name in REASONS else "n_calls changes with each step" in text
    assert results == run(SerialRunner(), t, SPECS[:4])
    with pytest.raises(NotVectorizable):
        run(PackedRunner(engine="packed", strict=True), t, SPECS[:4])


@pytest.mark.parametrize("engine", ["auto", "packed"])
def test_an_optimizer_that_calls_a_closure_is_run_one_after_the_other_with_one_warning(engine):
    t = task(optimizer=torch.optim.LBFGS)
    with pytest.warns(RobustLRWarning, match="training sequentially: torch.optim.LBFGS .* calls a closure") as caught:
        results = run(PackedRunner(engine=engine), t, SPECS[:4])
    assert len(caught) == 1 and results == run(SerialRunner(), t, SPECS[:4])
    assert all(status == "ok" and math.isfinite(loss) for status, loss, _ in results.values())


# Processes


def test_packs_in_two_processes_give_the_results_of_one():
    t = task(make_network, optimizer=torch.optim.AdamW)
    expected = run(PackedRunner(engine="packed", slots=3), t)
    assert_close(run(PackedRunner(2, engine="packed", slots=3), t), expected)


KILLED = """
import sys
import torch
from robust_lr import PackedRunner, run_sweep
from tests.torch.tasks import SCHEDULES
from tests.torch.packing.test_plan import slow_task

torch.set_num_threads(1)
run_sweep(slow_task(), [0.01, 0.02, 0.05, 0.1], SCHEDULES, 3, runner=PackedRunner(engine="packed", slots=4),
          journal=sys.argv[1])
"""


def slow_task():
    return task(make_network, total_steps=1000, check_every=100)


@pytest.mark.slow
def test_a_sweep_that_was_killed_does_not_run_again_what_it_has_finished(tmp_path):
    journal = tmp_path / "journal.jsonl"
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(journal)], env=ENVIRONMENT, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 200
        while time.monotonic() < deadline and (not journal.exists() or len(journal.read_text().splitlines()) < 6):
            assert process.poll() is None
            time.sleep(0.002)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    finished = [line for line in journal.read_text().splitlines() if '"loss"' in line]
    assert 4 <= len(finished) < 24
    before = {r.spec for r in read_journal(journal).results}
    again = []

    class Watched(PackedRunner):
        def run(self, train, source, schedules):
            again.extend(source.waiting)
            return super().run(train, source, schedules)

    lrs = [0.01, 0.02, 0.05, 0.1]
    sweep = run_sweep(slow_task(), lrs, SCHEDULES, 3, runner=Watched(engine="packed", slots=4), journal=journal)
    specs = [TrialSpec(schedule, lr, seed) for schedule in SCHEDULES for lr in lrs for seed in range(3)]
    assert before and not before & set(again) and before | set(again) == set(specs)
    whole = run_sweep(slow_task(), lrs, SCHEDULES, 3, runner=PackedRunner(engine="packed", slots=5))
    losses = {r.spec: r.loss for r in whole.trials()}
    assert {r.spec: r.loss for r in sweep.trials()} == pytest.approx(losses, rel=1e-4)


# What a pack would do otherwise than the trial alone, and so must not do


def with_hook():
    model = make_network()
    model[0].weight.register_hook(lambda gradient: 0 * gradient)
    return model


class ReplacesItsBuffer(nn.Linear):
    def __init__(self):
        super().__init__(D, K)
        self.register_buffer("mean", torch.zeros(D))

    def forward(self, x):
        if not self.training:
            return nn.Linear.forward(self, x - self.mean)
        self.mean = 0.9 * self.mean + 0.1 * x.mean(0)
        return nn.Linear.forward(self, x)


class KeepsATensor(nn.Linear):
    def __init__(self):
        super().__init__(D, K)
        self.mean = torch.zeros(D)

    forward = ReplacesItsBuffer.forward


class RandomFeatures(nn.Linear):
    """Each seed has features of its own, in a plain attribute that a pack does not know of."""

    def __init__(self):
        super().__init__(9, K)
        self.features = torch.randn(D, 9)

    def forward(self, x):
        return 1e-4 * super().forward(x @ self.features)


class FillsABufferLater(nn.Linear):
    def __init__(self):
        super().__init__(D, K)
        self.register_buffer("first", None)

    def forward(self, x):
        if self.first is None:
            self.first = x[:1].detach()
        return super().forward(x - self.first)


def sgd_at_the_root(parameters, lr):
    return torch.optim.SGD(parameters, lr=lr**0.5)


def sgd_at_a_tenth(parameters, lr):
    return torch.optim.SGD(parameters, lr=0.1 * lr)


def decay_by_lr(parameters, lr):
    return torch.optim.AdamW(parameters, lr=lr, weight_decay=1e-4 / lr)


def tiny_squares(outputs, targets):
    return 1e-6 * outputs.square().mean()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"optimizer": sgd_at_the_root}, "another learning rate than it is given"),
        ({"optimizer": decay_by_lr}, "another weight_decay at another learning rate"),
        ({"make_model": with_hook}, "hook on its gradient"),
        ({"make_model": ReplacesItsBuffer}, "attribute mean changes with each step"),
        ({"make_model": KeepsATensor}, "attribute mean changes with each step"),
        ({"make_model": FillsABufferLater}, "attribute first changes with each step"),
        ({"make_model": RandomFeatures, "loss": tiny_squares}, "another objective than a trial alone"),
        (
            {"make_model": RandomFeatures, "loss": tiny_squares, "autocast": torch.bfloat16},
            "another objective than a trial alone",
        ),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_pack_that_would_not_be_the_trials_alone_is_refused(changes, reason):
    t = task(**{"make_model": make_network, **changes})
    specs = [TrialSpec("constant", lr, seed) for lr in (1e-4, 0.1) for seed in (0, 1)]
    with pytest.raises(NotVectorizable, match=reason):
        run(PackedRunner(engine="packed", strict=True), t, specs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert run(PackedRunner(engine="packed"), t, specs) == run(SerialRunner(), t, specs)


class LogitsInHalf(nn.Sequential):
    """Its loss too is rounded to bfloat16, and may be off by 1 % in a pack and alone."""

    def forward(self, x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return super().forward(x)


def make_logits_in_half():
    return LogitsInHalf(*make_network())


@pytest.mark.parametrize(
    "changes", [{"autocast": torch.bfloat16}, {"make_model": make_logits_in_half}], ids=["autocast", "logits in half"]
)
@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.AdamW])
def test_bfloat16_is_packed(changes, optimizer):
    specs = [TrialSpec("constant", lr, seed) for lr in (1e-3, 0.03) for seed in (0, 1)]
    t = task(**{"make_model": make_network, "optimizer": optimizer, **changes})
    results = run(PackedRunner(engine="packed", strict=True), t, specs)
    assert_close(results, run(SerialRunner(), t, specs), tolerance=0.03)


@pytest.mark.parametrize("optimizer", [sgd_at_the_root, sgd_at_a_tenth])
def test_the_closed_form_too_asks_what_the_optimizer_makes_of_a_learning_rate(optimizer):
    t = task(lambda: nn.Linear(D, K), optimizer=optimizer)
    with pytest.raises(NotVectorizable, match="another learning rate"):
        run(PackedRunner(engine="closed_form", strict=True), t, SPECS[:2])


class DataWithNoise:
    """Draws its augmentation when it is read."""

    def __init__(self, inputs):
        self.inputs = inputs

    def __len__(self):
        return len(self.inputs)

    def __getitem__(self, rows):
        return self.inputs[rows] + 0.01 * torch.randn_like(self.inputs[rows])


def test_data_that_draw_random_numbers_are_not_packed():
    inputs, targets = task().train_data
    t = task(train_data=(DataWithNoise(inputs), targets))
    with pytest.raises(NotVectorizable, match="data draw random numbers"):
        run(PackedRunner(engine="packed", strict=True), t, SPECS[:2])


class FailsForSeed3:
    """Data that cannot be read twice in the batches of seed 3."""

    def __init__(self, inputs, first_row):
        self.inputs, self.first_row, self.failures = inputs, first_row, 0

    def __len__(self):
        return len(self.inputs)

    def __getitem__(self, rows):
        if rows[0] == self.first_row and self.failures < 2:
            self.failures += 1
            raise OSError("the disk is away")
        return self.inputs[rows]


def test_a_pack_that_broke_down_is_not_used_again():
    plain = task()
    inputs, targets = plain.train_data
    data = FailsForSeed3(inputs, plain.batch_indices(3)[1][0])
    t = task(train_data=(data, targets))
    specs = [TrialSpec("constant", 0.1, seed) for seed in range(6)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = [r.spec for r in run_trials(PackedRunner(engine="packed", slots=2), t, specs, SCHEDULES)]
    assert sorted(spec.seed for spec in found) == list(range(6)), "each trial has one result"


def test_a_device_is_for_the_task_in_every_engine():
    with pytest.raises(RobustLRError, match="device='cuda' is for a task"):
        PackedRunner(device="cuda").run(train_quadratic, TrialList(SPECS[:1]), SCHEDULES)
    asked = PackedRunner(engine="sequential", device="cuda")
    evaluator = asked._plan(task(), SPECS[:1], SCHEDULES).make_evaluator(1)
    assert evaluator.train.device == "cuda"
    with pytest.raises(RobustLRError, match="each worker sees one GPU"):
        PackedRunner(device="cuda:1", devices=("0", "1"))
