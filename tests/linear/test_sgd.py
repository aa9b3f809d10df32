"""The closed-form engine: what it trains, by a plain loop for each trial, alone and in any company."""

import math
import pickle
import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robust_lr import TrialDiverged, TrialSpec, parse_schedule
from robust_lr.divergence import DivergenceWatch
from robust_lr.exceptions import DataError
from robust_lr.linear._sgd import ClosedFormPacks
from robust_lr.linear.models import LinearModelTask
from robust_lr.schedules.closed_forms import tabulated

KINDS = ("linear", "logistic", "softmax")
SCHEDULES = {name: parse_schedule(name) for name in ("constant", "cosine", "warmup(0.1)+polynomial(2.5)")}
N, D, K, T, B = 40, 5, 3, 130, 4


class Task(LinearModelTask):
    """A task that starts anywhere."""

    def initial(self, seed):
        rng = np.random.default_rng(seed + 100)
        return tuple(None if a is None else rng.standard_normal(a.shape).astype(a.dtype) for a in super().initial(0))


class Source:
    """Gives its trials in chunks, None for none at the moment, and remembers what it was asked for."""

    def __init__(self, *chunks):
        self.chunks, self.asked = [c if c is None else list(c) for c in chunks], []

    def take(self, n, *, wait):
        assert n >= 1
        while self.chunks and not self.chunks[0]:
            if self.chunks.pop(0) is None and not wait:
                self.asked.append((n, wait, 0))
                return []
        taken = self.chunks[0][:n] if self.chunks else []
        if taken:
            del self.chunks[0][:n]
        self.asked.append((n, wait, len(taken)))
        return taken


def data(kind, *, n=N, d=D, k=K, dtype="float64", seed=1):
    rng = np.random.default_rng(seed)
    inputs = rng.standard_normal((n, d)).astype(dtype)
    targets = rng.permutation(np.arange(n) % k) if kind == "softmax" else rng.random((n, k))
    return inputs, targets


def task_of(kind="softmax", *, cls=Task, **changes):
    shape = {name: changes.pop(name) for name in ("n", "d", "k", "dtype") if name in changes}
    options = {"train_data": data(kind, **shape), "total_steps": T, "batch_size": B, **changes}
    return cls(kind=kind, **options)


def problem(kind="softmax", *, decays_bias=True, **changes):
    return replace(task_of(kind, **changes).problem, decays_bias=decays_bias)


def trials(lrs=(0.01, 0.05, 0.1), seeds=(0, 1), schedules=SCHEDULES):
    return [TrialSpec(name, lr, seed) for lr in lrs for seed in seeds for name in schedules]


def run(task, specs, *, slots=16):
    results = list(ClosedFormPacks(problem=task, schedules=SCHEDULES, slots=slots).results(Source(specs)))
    assert len(results) == len(specs) and {r.spec for r in results} == set(specs)
    return {r.spec: r for r in results}


def figures(result):
    return {"loss": result.loss, **result.metrics}


def objective_and_residual(kind, outputs, targets):
    if kind == "linear":
        return np.mean((outputs - targets) ** 2), 2 * (outputs - targets) / outputs.size
    if kind == "logistic":
        losses = np.logaddexp(0, outputs) - targets * outputs
        return np.mean(losses), (1 / (1 + np.exp(-outputs)) - targets) / outputs.size
    shifted = outputs - outputs.max(axis=1, keepdims=True)
    sums = np.exp(shifted).sum(axis=1, keepdims=True)
    one_hot = np.eye(outputs.shape[1], dtype=outputs.dtype)[targets]
    losses = np.log(sums[:, 0]) - shifted[np.arange(len(targets)), targets]
    return np.mean(losses), (np.exp(shifted) / sums - one_hot) / len(targets)


def plain_loop(task, spec):
    """One trial, one step at a time, as `torch.optim.SGD` does it."""
    with np.errstate(all="ignore"):
        schedule = SCHEDULES[spec.schedule]
        weights, bias = task.initial(spec.seed)
        parameters = [
            (weights, task.weight_decay),
            *([] if bias is None else [(bias, task.decays_bias * task.weight_decay)]),
        ]
        velocities = [np.zeros_like(weights), np.zeros_like(bias)]
        watch = DivergenceWatch(factor=task.divergence_factor, patience=task.divergence_patience)
        for t, rows in enumerate(task.batches(spec.seed)):
            inputs, targets = task.inputs[rows], task.targets[rows]
            outputs = inputs @ weights + (0 if bias is None else bias)
            objective, residual = objective_and_residual(task.kind, outputs, targets)
            step = watch.see([objective + 0.5 * task.penalty * np.sum(weights**2)])
            if step is not None:
                return task.diverged(step)
            gradients = [inputs.T @ residual, residual.sum(axis=0)]
            for (w, decay), v, g in zip(parameters, velocities, gradients, strict=False):
                g = g + decay * w
                v[...] = g if t == 0 else task.momentum * v + (1 - task.dampening) * g
                direction = (g + task.momentum * v if task.nesterov else v) if task.momentum else g
                w -= w.dtype.type(spec.lr * float(schedule(t, task.total_steps))) * direction
        results = task.evaluate(weights, bias)
        return results if math.isfinite(results["loss"]) else task.diverged(task.total_steps)


@pytest.mark.parametrize("dtype, tolerance", [("float64", 1e-12), ("float32", 1e-6)])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"has_bias": False, "weight_decay": 0.1},
        {"weight_decay": 0.1},
        {"weight_decay": 0.1, "decays_bias": False},
        {"momentum": 0.9, "weight_decay": 0.1},
        {"momentum": 0.8, "dampening": 0.3},
        {"momentum": 0.9, "nesterov": True, "has_bias": False},
        {"batch_size": 1, "d": 1},
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", KINDS)
def test_a_pack_ends_where_a_plain_loop_for_each_trial_ends(kind, options, dtype, tolerance):
    task = problem(kind, dtype=dtype, validation_data=data(kind, seed=2, dtype=dtype, d=options.get("d", D)), **options)
    for spec, result in run(task, trials(lrs=(0.001, 0.01, 0.05))).items():
        expected = plain_loop(task, spec)
        assert math.isfinite(expected["loss"])
        assert figures(result) == pytest.approx(expected, rel=tolerance, abs=tolerance)


@pytest.mark.parametrize("nesterov, dampening", [(False, 0.0), (False, 0.4), (True, 0.0)])
def test_the_steps_are_those_of_torch(nesterov, dampening):
    torch = pytest.importorskip("torch")
    momentum = {"momentum": 0.9, "nesterov": nesterov, "dampening": dampening}
    task = problem("linear", weight_decay=0.1, **momentum)
    spec = TrialSpec("cosine", 0.02, 3)
    weights, bias = (torch.tensor(a, requires_grad=True) for a in task.initial(3))
    groups = [{"params": [weights], "weight_decay": 0.1}, {"params": [bias], "weight_decay": 0.1}]
    optimizer = torch.optim.SGD(groups, lr=1.0, **momentum)
    x, y = torch.tensor(task.inputs), torch.tensor(task.targets)
    for t, rows in enumerate(task.batches(3)):
        for group in optimizer.param_groups:
            group["lr"] = 0.02 * float(SCHEDULES["cosine"](t, T))
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(x[rows] @ weights + bias, y[rows]).backward()
        optimizer.step()
    expected = task.evaluate(weights.detach().numpy(), bias.detach().numpy())
    assert figures(run(task, [spec])[spec]) == pytest.approx(expected, rel=1e-11)


@st.composite
def packs(draw):
    kind = draw(st.sampled_from(KINDS))
    momentum = draw(st.sampled_from([0.0, 0.9]))
    task = task_of(
        kind,
        d=draw(st.integers(1, 40)),
        k=draw(st.integers(1, 12)),
        dtype=draw(st.sampled_from(["float32", "float64"])),
        batch_size=draw(st.integers(1, 40)),
        total_steps=draw(st.sampled_from([1, 7, 60])),
        momentum=momentum,
        nesterov=momentum > 0 and draw(st.booleans()),
        weight_decay=draw(st.sampled_from([0.0, 0.1])),
        has_bias=draw(st.booleans()),
        divergence_patience=draw(st.sampled_from([1, 20])),
    )
    lrs = draw(st.lists(st.sampled_from([2.0**-i for i in range(12)] + [1e3, 1e30, 1e300]), min_size=1, max_size=12))
    specs = trials(sorted(set(lrs)), seeds=range(draw(st.integers(1, 4))), schedules=("constant", "cosine"))
    return task, draw(st.permutations(specs)), draw(st.sampled_from([1, 3, 8, 24, 200]))


@settings(max_examples=60, deadline=None)
@given(packs())
def test_a_result_is_the_same_in_any_company_and_alone(pack):
    task, specs, slots = pack
    in_packs, elsewhere = run(task.problem, specs, slots=slots), run(task.problem, specs[::-1], slots=40)
    tolerance = 1e-9 if task.train_data[0].dtype == np.float64 else 1e-4
    for spec in specs:
        if spec.lr <= 0.05:  # above, the edge of stability magnifies the rounding
            assert figures(in_packs[spec]) == pytest.approx(figures(elsewhere[spec]), rel=tolerance)
    for spec in [spec for spec in specs if spec.lr <= 0.05][:3]:
        alone = task(lr=spec.lr, schedule=SCHEDULES[spec.schedule], seed=spec.seed)
        assert figures(in_packs[spec]) == pytest.approx(alone, rel=tolerance)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_trial_beside_others_that_overflow_is_what_it_is_alone(kind, dtype):
    task = task_of(kind, dtype=dtype, d=17, k=5, divergence_factor=math.inf, total_steps=49)
    alone = task(lr=0.05, schedule="cosine", seed=0)
    assert math.isfinite(alone["loss"])
    tame = TrialSpec("cosine", 0.05, 0)
    specs = [TrialSpec("constant", 1e300 * (1 + i), 0) for i in range(7)]
    result = run(task.problem, [*specs[:3], tame, *specs[3:]], slots=8)[tame]
    assert figures(result) == pytest.approx(alone, rel=1e-12 if dtype == "float64" else 1e-5)


@pytest.mark.parametrize("options", [{}, {"weight_decay": 0.1}, {"momentum": 0.9}], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_a_trial_diverges_at_the_step_at_which_it_does_in_a_plain_loop(kind, options):
    task = problem(kind, divergence_factor=20, divergence_patience=60, **options)
    specs = trials(lrs=[0.3 * 4.0**i for i in range(12)])
    steps = set()
    for spec, result in run(task, specs).items():
        expected = plain_loop(task, spec)
        assert ("diverged_at_step" in result.metrics) == ("diverged_at_step" in expected)
        if "diverged_at_step" in expected:
            assert result.status == "diverged" and math.isinf(result.loss)
            assert figures(result) == expected
            steps.add(expected["diverged_at_step"])
    assert steps or kind != "linear"


def test_a_stretch_of_large_objectives_is_counted_across_the_looks():
    """The objectives of these trials lie above their bound for longer than a block, and not always to the end."""
    task = problem("softmax", total_steps=400, divergence_factor=5, divergence_patience=130)
    specs = trials(lrs=[2.0**i for i in range(2, 12)])
    results = run(task, specs)
    outcomes = {spec: result.metrics.get("diverged_at_step") for spec, result in results.items()}
    assert outcomes == {spec: plain_loop(task, spec).get("diverged_at_step") for spec in specs}
    assert any(step and step > 0 for step in outcomes.values()) and None in outcomes.values()


def test_a_final_loss_that_is_not_finite_is_a_divergence_after_the_last_step():
    task = problem("linear", total_steps=1)
    result = run(task, [TrialSpec("constant", 1e300, 0)]).popitem()[1]
    assert (result.status, result.metrics["diverged_at_step"]) == ("diverged", 1)


def test_what_evaluate_raises_fails_its_trial_and_no_other():
    class Broken(Task):
        def evaluate(self, weights, bias):
            figures = super().evaluate(weights, bias)
            if figures["loss"] > 2.0:
                raise ValueError("too large")
            if figures["loss"] > 1.5:
                raise TrialDiverged("large")
            return figures

    task = problem(cls=Broken)
    specs = trials(lrs=[10.0**-i for i in range(6)])
    results, losses = run(task, specs), {s: r.loss for s, r in run(problem(), specs).items()}
    for spec, result in results.items():
        expected = "failed" if losses[spec] > 2.0 else "diverged" if losses[spec] > 1.5 else "ok"
        assert result.status == expected
        if expected == "failed":
            assert "ValueError: too large" in result.error
    assert {result.status for result in results.values()} == {"failed", "diverged", "ok"}


def test_a_trial_that_cannot_start_has_failed_and_the_others_run():
    class Picky(Task):
        def batches(self, seed):
            if seed == 13:
                raise ValueError("no 13")
            return super().batches(seed)

    specs = [
        TrialSpec("constant", 0.1, 0),
        TrialSpec("constant", 0.1, 13),
        TrialSpec("constant", -1.0, 0),
        TrialSpec("too long", 0.1, 0),
    ]
    schedules = {**SCHEDULES, "too long": parse_schedule("warmup(steps=1000)+constant")}
    packs = ClosedFormPacks(problem=problem(cls=Picky), schedules=schedules, slots=8)
    results = {r.spec: r for r in packs.results(Source(specs))}
    assert [results[spec].status for spec in specs] == ["ok", "failed", "failed", "failed"]
    for spec, error in zip(specs[1:], ("no 13", "lr must be a finite number > 0, got -1.0", "1000"), strict=True):
        assert error in results[spec].error
    only_bad = list(packs.results(Source([specs[1]], [specs[2]])))
    assert [r.status for r in only_bad] == ["failed", "failed"]


def test_no_more_trials_are_taken_than_there_is_room_for():
    specs = trials(lrs=[0.01 * i for i in range(1, 6)])
    source, in_flight, most = Source(specs), 0, 0
    asked = 0
    for _ in ClosedFormPacks(problem=problem(), schedules=SCHEDULES, slots=9).results(source):
        in_flight += sum(n for _, _, n in source.asked[asked:])
        asked = len(source.asked)
        most = max(most, in_flight)
        in_flight -= 1
    assert most == 9 and in_flight == 0


def test_it_blocks_only_when_it_has_nothing_to_do_and_ends_when_there_is_nothing_left():
    first, second = trials(lrs=(0.1,)), trials(lrs=(0.2,))
    source = Source(first, second)
    results = list(ClosedFormPacks(problem=problem(), schedules=SCHEDULES, slots=64).results(source))
    assert {r.spec for r in results} == {*first, *second}
    assert source.asked == [(64, True, 6), (64, True, 6), (64, True, 0)]


def test_the_seconds_of_the_trials_add_up_to_the_time_that_it_took():
    started = time.perf_counter()
    results = run(problem(total_steps=2000), trials())
    took = time.perf_counter() - started
    total = sum(r.seconds for r in results.values())
    assert all(r.seconds > 0 for r in results.values())
    assert 0.1 * took < total <= took


def test_the_multipliers_are_those_that_a_training_loop_computes_step_by_step():
    for schedule in SCHEDULES.values():
        assert tabulated(schedule, 50).tolist() == [float(schedule(t, 50)) for t in range(50)]


def test_it_pickles():
    packs = ClosedFormPacks(problem=task_of(cls=LinearModelTask).problem, schedules=SCHEDULES, slots=8)
    specs = trials(lrs=(0.1,))
    again = pickle.loads(pickle.dumps(packs)).results(Source(specs))
    assert [figures(r) for r in again] == [figures(r) for r in packs.results(Source(specs))]


def test_a_learning_rate_out_of_range_is_refused():
    with pytest.raises(DataError, match="lr must be a finite number > 0, got nan"):
        task_of()(lr=math.nan, schedule="constant", seed=0)
