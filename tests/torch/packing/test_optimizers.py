"""A stack of replicas under one update rule: each as it would be alone, whatever optimizer, company and step."""

import copy
import inspect
from functools import cache, partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.fx.experimental.proxy_tensor import make_fx
from torch.optim import SGD, Adadelta, Adagrad, Adam, Adamax, AdamW, NAdam, RAdam, RMSprop

from robust_lr.exceptions import NotVectorizable
from robust_lr_torch.packing._delta_rule import DeltaRule
from robust_lr_torch.packing._rules import SGDRule, clip_grad_norm_per_replica
from tests.torch.tasks import Shapes, rule_for

torch.set_num_threads(1)

SHAPES = Shapes.shapes
T = 12


class OwnSGD(SGD):
    """What a user would derive from SGD: its type is not exactly that of torch."""


VECTOR_RULES = {
    "sgd": (SGD, {}),
    "sgd, weight decay": (SGD, {"weight_decay": 0.1}),
    "sgd, momentum": (SGD, {"momentum": 0.9}),
    "sgd, nesterov": (SGD, {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    "sgd, dampening": (SGD, {"momentum": 0.9, "dampening": 0.5}),
    "sgd, maximize": (SGD, {"momentum": 0.9, "maximize": True, "weight_decay": 0.1}),
    "sgd, foreach": (SGD, {"momentum": 0.9, "foreach": True}),
    "adam": (Adam, {}),
    "adam, weight decay": (Adam, {"weight_decay": 0.1, "betas": (0.8, 0.95)}),
    "adam, amsgrad": (Adam, {"amsgrad": True, "betas": (0.5, 0.6)}),
    "adam, maximize": (Adam, {"maximize": True, "weight_decay": 0.1}),
    "adam, decoupled": (Adam, {"weight_decay": 0.1, "decoupled_weight_decay": True}),
    "adamw": (AdamW, {"weight_decay": 0.1}),
    "adamw, no decay": (AdamW, {"weight_decay": 0.0, "eps": 1e-3}),
    "adamw, amsgrad": (AdamW, {"amsgrad": True}),
    "adamw, fused": (AdamW, {"fused": True}),
}
DELTA_RULES = {
    "own sgd": (OwnSGD, {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    "nadam": (NAdam, {}),
    "nadam, decoupled": (NAdam, {"weight_decay": 0.1, "decoupled_weight_decay": True}),
    "nadam, foreach": (NAdam, {"foreach": True}),
    "radam": (RAdam, {"weight_decay": 0.1}),
    "rmsprop": (RMSprop, {}),
    "rmsprop, centered": (RMSprop, {"centered": True, "momentum": 0.9}),
    "adagrad": (Adagrad, {"lr_decay": 0.1}),
    "adagrad, fused": (Adagrad, {"fused": True}),
    "adadelta": (Adadelta, {"weight_decay": 0.1}),
    "adamax": (Adamax, {}),
}
OPTIMIZERS = VECTOR_RULES | DELTA_RULES


def maker(name):
    kind, options = OPTIMIZERS[name]
    if not set(options) <= set(inspect.signature(kind).parameters):
        pytest.skip("an option of newer versions of torch")
    return partial(kind, lr=1.0, **options)


@cache
def rule_named(name):
    return rule_for(maker(name))  # which probes the optimizer


class Replica:
    """One replica: where it starts, its learning rates and its gradients, all from its number."""

    def __init__(self, number, dtype=torch.float64):
        generator = torch.Generator().manual_seed(number)
        self.start, *self.grads = [
            {name: torch.randn(shape, generator=generator, dtype=dtype) for name, shape in SHAPES.items()}
            for _ in range(T + 1)
        ]
        self.lrs = 10.0 ** -(number % 4) * (1.1 + np.sin(np.arange(T) + number))

    def to(self, dtype):
        other = copy.copy(self)
        other.start, *other.grads = [{k: v.to(dtype) for k, v in tree.items()} for tree in (self.start, *self.grads)]
        return other

    def rounded(self):
        """The same in numbers that bfloat16 has."""
        return self.to(torch.bfloat16).to(torch.float64)

    def alone(self, make_optimizer, n_steps=T):
        """The slow obvious twin: a torch optimizer of its own, with the learning rate set by hand."""
        params = {name: nn.Parameter(start.clone()) for name, start in self.start.items()}
        optimizer = make_optimizer(list(params.values()))
        for lr, grads in zip(self.lrs[:n_steps], self.grads, strict=False):
            for name, param in params.items():
                param.grad = grads[name].clone()
            optimizer.param_groups[0]["lr"] = float(lr)
            optimizer.step()
        return {name: param.detach() for name, param in params.items()}


def stacked(trees):
    return {name: torch.stack([tree[name] for tree in trees]) for name in trees[0]}


def gathered(rule, replicas, steps, dtype):
    rows = [rule.coefficients(r.lrs)[step] for r, step in zip(replicas, steps, strict=True)]
    return torch.tensor(np.stack(rows, axis=1)).to(dtype)


def packed(rule, replicas):
    """Train replicas together, all from step 0 to the last; return what each of them ends with."""
    params = stacked([r.start for r in replicas])
    state = rule.initial_state(params)
    for step in range(T):
        dtype = torch.promote_types(params["bias"].dtype, torch.float32)
        coefficients = gathered(rule, replicas, [step] * len(replicas), dtype)
        rule.update(params, stacked([r.grads[step] for r in replicas]), state, coefficients)
    return [{name: param[i] for name, param in params.items()} for i in range(len(replicas))]


def assert_close(actual, expected):
    """All but equal: a few roundings of the largest value, for one that is small now was large on its way."""
    largest = max(float(value.abs().max()) for value in expected.values())
    for name, value in expected.items():
        tolerance = 4 * torch.finfo(value.dtype).eps * largest
        torch.testing.assert_close(actual[name], value, rtol=0, atol=tolerance, msg=lambda m, n=name: f"{n}: {m}")


def assert_equal(actual, expected):
    for name, value in expected.items():
        assert torch.equal(actual[name].nan_to_num(nan=12345.0), value.nan_to_num(nan=12345.0)), name


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_each_replica_ends_where_its_own_optimizer_takes_it(name, dtype):
    replicas = [Replica(number, dtype) for number in range(6)]
    for replica, end in zip(replicas, packed(rule_named(name), replicas), strict=True):
        assert_close(end, replica.alone(maker(name)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_replica_does_not_depend_on_its_pack(name, dtype):
    replicas = [Replica(number, dtype) for number in range(8)]
    rule = rule_named(name)
    together = packed(rule, replicas)
    for subset in ([4], [7, 0, 5]):
        for number, end in zip(subset, packed(rule, [replicas[n] for n in subset]), strict=True):
            assert_close(end, together[number])


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_replica_that_is_not_finite_changes_no_other(name, bad):
    def ends(value):
        replicas = [Replica(number) for number in range(5)]
        for grads in replicas[2].grads[3:]:
            grads["weight"] *= value
        return packed(rule_named(name), replicas)

    for number, (healthy, beside_a_bad_one) in enumerate(zip(ends(1.0), ends(bad), strict=True)):
        if number == 2:
            assert not beside_a_bad_one["weight"].isfinite().all()
        else:
            assert_close(beside_a_bad_one, healthy)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_at_a_learning_rate_of_zero_a_replica_stays_where_it_is(name):
    replicas = [Replica(0), Replica(1)]
    for replica in replicas:  # first one of them, then all
        replica.lrs = np.zeros(T)
        assert_equal(packed(rule_named(name), replicas)[0], replicas[0].start)
    assert_equal(packed(rule_named(name), replicas)[1], replicas[1].start)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_gradients_are_left_as_they_are(name):
    replicas, rule = [Replica(0), Replica(1)], rule_named(name)
    params, grads = stacked([r.start for r in replicas]), stacked([r.grads[0] for r in replicas])
    before = {k: grad.clone() for k, grad in grads.items()}
    rule.update(params, grads, rule.initial_state(params), gathered(rule, replicas, [0, 0], torch.float64))
    assert_equal(grads, before)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_in_inference_mode_the_results_are_the_same(name):
    replicas, rule = [Replica(0), Replica(1)], rule_named(name)
    expected = packed(rule, replicas)
    with torch.inference_mode():
        ends = packed(rule, replicas)
    for end, wanted in zip(ends, expected, strict=True):
        assert_close(end, wanted)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_state_starts_at_zero_with_a_row_for_each_replica(name):
    replicas, rule = [Replica(number) for number in range(3)], rule_named(name)
    state = rule.initial_state(stacked([r.start for r in replicas]))
    assert all(len(value) == 3 and not value.any() for value in state.values())
    assert len(rule.coefficients(replicas[0].lrs)) == T


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_complex_parameters_are_refused(name):
    with pytest.raises(NotVectorizable, match=r"real parameters, but w is torch\.complex64"):
        rule_named(name).initial_state({"w": torch.zeros(2, 3, dtype=torch.complex64)})


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_in_bfloat16_a_replica_is_as_near_to_the_exact_numbers_as_it_is_alone(name):
    replicas = [Replica(number).rounded() for number in range(4)]
    exact = [r.alone(maker(name)) for r in replicas]
    halves = [r.to(torch.bfloat16) for r in replicas]
    of_alone = sum(distance(r.alone(maker(name)), x) for r, x in zip(halves, exact, strict=True))
    of_pack = sum(distance(p, x) for p, x in zip(packed(rule_named(name), halves), exact, strict=True))
    assert 0 < of_pack < 2 * of_alone, "1.5 where the fused kernel of AdamW rounds less; at most 1.2 for all others"


def distance(params, others):
    return sum(float((param.double() - others[name]).abs().sum()) for name, param in params.items())


def test_in_bfloat16_no_learning_rate_is_rounded():
    steps = torch.linspace(1, 2, 129).bfloat16()  # all that there are in between
    lrs = torch.tensor([0.001, 0.003, 0.01])
    params = {"w": torch.zeros(3, 129, dtype=torch.bfloat16)}
    SGDRule().update(params, {"w": steps.expand(3, -1)}, {}, lrs[None])
    assert torch.equal(params["w"], (-lrs[:, None] * steps).bfloat16())
    assert not torch.equal(params["w"], -lrs[:, None].bfloat16() * steps)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", VECTOR_RULES)
def test_a_new_replica_takes_the_place_of_another_at_any_step(name, dtype):
    queue = [Replica(number, dtype) for number in range(7)]
    lengths = [5, T, 3, 9, 1, T, 4]
    rule = rule_named(name)
    running = {slot: (slot, 0) for slot in range(3)}  # the replica in each slot, and its step
    params = stacked([queue[number].start for number in range(3)])
    state, n_started, n_ended = rule.initial_state(params), 3, 0
    while running:
        there = [running.get(slot, (slot, 0)) for slot in range(3)]  # an empty slot trains anything at all
        replicas, steps = [queue[number] for number, _ in there], [step for _, step in there]
        grads = stacked([r.grads[step] for r, step in zip(replicas, steps, strict=True)])
        rule.update(params, grads, state, gathered(rule, replicas, steps, dtype))
        for slot, (number, step) in list(running.items()):
            running[slot] = number, step + 1
            if step + 1 < lengths[number]:
                continue
            end = {k: param[slot] for k, param in params.items()}
            assert_close(end, queue[number].alone(maker(name), n_steps=lengths[number]))
            n_ended += 1
            del running[slot]
            if n_started < len(queue):
                running[slot] = n_started, 0
                for k, param in params.items():
                    param[slot] = queue[n_started].start[k]
                for value in state.values():
                    value[slot] = 0
                n_started += 1
    assert n_ended == len(queue)


@pytest.mark.parametrize("name", VECTOR_RULES)
def test_a_traced_update_is_the_eager_one(name):
    replicas, rule = [Replica(number, torch.float32) for number in range(3)], rule_named(name)
    assert not rule.in_phase

    def step(params, grads, state, coefficients):
        rule.update(params, grads, state, coefficients)
        return params, state

    params = stacked([r.start for r in replicas])
    copy = {k: param.clone() for k, param in params.items()}
    example = copy, stacked([r.grads[0] for r in replicas]), rule.initial_state(copy)
    traced = make_fx(step)(*example, gathered(rule, replicas, [0, 0, 0], torch.float32))
    state = rule.initial_state(params)
    for t in range(T):
        coefficients = gathered(rule, replicas, [t] * 3, torch.float32)
        traced(params, stacked([r.grads[t] for r in replicas]), state, coefficients)
    for i, wanted in enumerate(packed(rule, replicas)):
        assert_close({k: param[i] for k, param in params.items()}, wanted)


def test_coefficients_may_be_in_double_precision_beside_float32_parameters():
    replicas, rule = [Replica(number, torch.float32) for number in range(3)], rule_for(maker("adamw"))
    params = stacked([r.start for r in replicas])
    other = {k: v.clone() for k, v in params.items()}
    for stack, dtype in ((params, torch.float32), (other, torch.float64)):
        grads = stacked([r.grads[0] for r in replicas])
        rule.update(stack, grads, rule.initial_state(stack), gathered(rule, replicas, [0, 1, 2], dtype))
    assert_close(params, other)


def test_the_bias_corrections_are_exact_late_in_training():
    k = np.arange(1, 50_001, dtype=np.float64)
    rows = rule_for(Adam).coefficients(np.full(len(k), 1e-3))
    np.testing.assert_allclose(rows[:, 0], -1e-3 / np.expm1(k * np.log(0.9)), rtol=1e-12)
    np.testing.assert_allclose(rows[:, 1], np.sqrt(-np.expm1(k * np.log(0.999))), rtol=1e-12)


def test_a_subclass_is_not_taken_for_the_optimizer_it_derives_from():
    assert isinstance(rule_for(SGD), SGDRule)
    assert isinstance(rule_for(OwnSGD), DeltaRule)


class Replaced(SGD):
    def __init__(self, params, lr=1.0):
        super().__init__(params, lr=lr)
        self.step = lambda: None


class Subset(SGD):
    def __init__(self, params):
        super().__init__(params[1:], lr=1.0)


class WithoutLr(torch.optim.Optimizer):
    def __init__(self, params):
        super().__init__(params, {})


def with_hook(params, register):
    optimizer = SGD(params)
    getattr(optimizer, register)(lambda *args: None)
    return optimizer


@pytest.mark.parametrize(
    ("make_optimizer", "reason"),
    [
        (partial(SGD, lr=torch.tensor(1.0)), "torch.optim.SGD has a tensor for lr; a pack needs a number"),
        (partial(SGD, differentiable=True), "torch.optim.SGD is differentiable=True"),
        (partial(Adam, differentiable=True), "torch.optim.Adam is differentiable=True"),
        (partial(RMSprop, differentiable=True), "torch.optim.RMSprop is differentiable=True"),
        (partial(with_hook, register="register_step_pre_hook"), "torch.optim.SGD has hooks on its step"),
        (partial(with_hook, register="register_step_post_hook"), "torch.optim.SGD has hooks on its step"),
        (Replaced, "Replaced has a step that was replaced"),
        (Subset, "Subset does not hold the parameters of the model; a pack needs them all"),
        (WithoutLr, "WithoutLr has no option lr"),
        (lambda params: "sgd", "a pack needs a torch.optim.Optimizer, got str"),
        (partial(SGD, momentum=-1.0), "the optimizer cannot be made .*: Invalid momentum value: -1.0"),
    ],
)
def test_an_optimizer_with_more_to_it_than_its_options_is_refused_in_one_line(make_optimizer, reason):
    with pytest.raises(NotVectorizable, match=reason) as caught:
        rule_for(make_optimizer)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_the_gradient_of_each_replica_is_clipped_as_if_it_were_alone(dtype):
    replicas = [Replica(number, dtype) for number in range(6)]
    grads = stacked([{k: v * 4.0 ** (i - 4) for k, v in r.grads[0].items()} for i, r in enumerate(replicas)])
    before = {k: v.clone() for k, v in grads.items()}
    clip_grad_norm_per_replica(grads, 2.0)
    for i in range(6):
        alone = {k: nn.Parameter(torch.zeros_like(v[i])) for k, v in before.items()}
        for k, param in alone.items():
            param.grad = before[k][i].clone()
        norm = nn.utils.clip_grad_norm_(alone.values(), 2.0)
        if norm < 1.9:
            assert_equal({k: v[i] for k, v in grads.items()}, {k: v[i] for k, v in before.items()})
        assert_close({k: v[i] for k, v in grads.items()}, {k: param.grad for k, param in alone.items()})


def test_clipping_does_not_depend_on_the_pack_and_nan_does_not_spread():
    replicas = [Replica(number, torch.float32) for number in range(8)]
    together = stacked([r.grads[0] for r in replicas])
    together["weight"][3, 0, 0] = torch.nan
    together["wide"][5, 1] = torch.inf
    clip_grad_norm_per_replica(together, 1.0)
    assert together["bias"][3].isnan().all()
    for subset in ([4], [7, 0, 6]):
        grads = stacked([replicas[n].grads[0] for n in subset])
        clip_grad_norm_per_replica(grads, 1.0)
        for name, value in together.items():
            torch.testing.assert_close(grads[name], value[subset], equal_nan=True)


def test_clipping_can_be_traced():
    def clipped(grads):
        clip_grad_norm_per_replica(grads, 1.0)
        return grads

    first, second = (stacked([Replica(n).grads[t] for n in range(3)]) for t in range(2))
    traced = make_fx(clipped)({k: v.clone() for k, v in first.items()})
    assert_close(traced({k: v.clone() for k, v in second.items()}), clipped(second))
