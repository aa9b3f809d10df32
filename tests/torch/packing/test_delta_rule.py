"""Which optimizers are elementwise and linear in the learning rate, and that the probe finds those that are not."""

from contextlib import suppress

import pytest
import torch
from torch.optim import SGD, Optimizer

from robust_lr.exceptions import NotVectorizable
from robust_lr_torch.packing._delta_rule import DeltaRule
from tests.torch.tasks import rule_for


class Plain(Optimizer):
    """SGD, for optimizers that differ from it in one line."""

    def __init__(self, params, lr=1.0):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self):
        group = self.param_groups[0]
        for param in group["params"]:
            self.update(param, param.grad, group["lr"], self.state[param])

    def update(self, param, grad, lr, state):
        param -= lr * grad


class Lion(Plain):
    def update(self, param, grad, lr, state):
        mean = state.setdefault("mean", torch.zeros_like(param))
        param -= lr * (0.9 * mean + 0.1 * grad).sign() + lr * 0.1 * param
        mean.lerp_(grad, 0.01)


class Normalized(Plain):
    def update(self, param, grad, lr, state):
        param -= lr * grad / (grad.norm() + 1e-8)


class SkipsNaN(Plain):
    def update(self, param, grad, lr, state):
        if grad.isfinite().all():
            param -= lr * grad


class ReadsTheSign(Plain):
    def update(self, param, grad, lr, state):
        if grad.sum() > 0:
            param -= lr * grad


class LearningRateInMomentum(Plain):
    def update(self, param, grad, lr, state):
        step = state.setdefault("step", torch.zeros_like(param))
        param -= step.mul_(0.9).add_(lr * grad)


class Squared(Plain):
    def update(self, param, grad, lr, state):
        param -= lr * grad * (1 + 1e-6 * lr)


class Capped(Plain):
    def update(self, param, grad, lr, state):
        param -= (lr * grad).clamp(-0.1, 0.1)


class DecaysMatrices(Plain):
    def update(self, param, grad, lr, state):
        param -= lr * (grad + 0.1 * param) if param.ndim > 1 else lr * grad


class LooksAhead(Plain):
    """Every fifth step it goes back half of the way to where it was after the last fifth step."""

    def update(self, param, grad, lr, state):
        state.setdefault("slow", param.clone())
        state["step"] = state.get("step", 0) + 1
        param -= lr * grad
        if state["step"] % 5 == 0:
            state["slow"].lerp_(param, 0.5)
            param.copy_(state["slow"])


class Noisy(Plain):
    def update(self, param, grad, lr, state):
        param -= lr * (grad + 0.1 * torch.randn_like(grad))


class Talkative(Plain):
    def update(self, param, grad, lr, state):
        raise RuntimeError("first line\nsecond line")


class Speechless(Plain):
    def update(self, param, grad, lr, state):
        raise KeyboardError


class KeyboardError(Exception):
    """An error without a text."""


@pytest.mark.parametrize("kind", [Plain, Lion])
def test_an_own_optimizer_that_is_elementwise_and_linear_is_accepted(kind):
    rule = rule_for(kind)
    assert isinstance(rule, DeltaRule)
    assert rule.in_phase


@pytest.mark.parametrize(
    "kind",
    [
        *(Normalized, SkipsNaN, ReadsTheSign, LearningRateInMomentum, Squared, Capped, DecaysMatrices),
        *(LooksAhead, Noisy, torch.optim.ASGD, torch.optim.Rprop, getattr(torch.optim, "Adafactor", torch.optim.ASGD)),
    ],
)
def test_an_optimizer_that_is_not_elementwise_and_linear_is_refused(kind):
    name = kind.__name__
    with pytest.raises(
        NotVectorizable, match=rf"{name} is not elementwise and linear in the learning rate: at step \d+ "
    ):
        rule_for(kind)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (torch.optim.LBFGS, "torch.optim.LBFGS cannot step a stack of replicas: .*closure"),
        (torch.optim.SparseAdam, "torch.optim.SparseAdam cannot step a stack of replicas: .*dense gradients"),
        (Talkative, "Talkative cannot step a stack of replicas: first line$"),
        (Speechless, "Speechless cannot step a stack of replicas: KeyboardError$"),
    ],
)
def test_an_optimizer_that_fails_on_a_stack_is_refused_with_what_it_says(kind, reason):
    with pytest.raises(NotVectorizable, match=reason) as caught:
        rule_for(kind)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="a newer version of torch has it")
def test_an_optimizer_of_matrices_only_is_refused():
    with pytest.raises(NotVectorizable, match="the parameters of the model: Muon only supports 2D parameters"):
        rule_for(torch.optim.Muon)


@pytest.mark.parametrize("kind", [Noisy, torch.optim.RAdam])
def test_the_probe_leaves_the_random_state_alone(kind):
    before = torch.get_rng_state()
    with suppress(NotVectorizable):
        rule_for(kind)
    assert torch.equal(torch.get_rng_state(), before)


def test_each_stack_starts_with_an_optimizer_of_its_own():
    rule = rule_for(lambda params: type("OwnSGD", (SGD,), {})(params, lr=1.0, momentum=0.9))
    ends = []
    for _ in range(2):
        params = {"w": torch.ones(2, 3)}
        state = rule.initial_state(params)
        assert state == {}
        for _ in range(3):
            rule.update(params, {"w": torch.ones(2, 3)}, state, torch.tensor([[0.1, 0.2]]))
        ends.append(params["w"])
    torch.testing.assert_close(*ends)


@pytest.mark.parametrize("lr", [1e-6, 1e-2, 1.0, 30.0, 3000.0])
def test_in_float32_it_is_as_exact_as_the_optimizer_at_any_learning_rate(lr):
    generator = torch.Generator().manual_seed(0)
    start, grad = torch.randn(2, 2, 1000, generator=generator)
    stack = {"w": start.clone()}
    rule = rule_for(Plain)
    rule.update(stack, {"w": grad}, rule.initial_state(stack), torch.tensor([[lr, lr / 7]]))
    exact = start.double() - torch.tensor([[lr], [lr / 7]]).double() * grad.double()
    assert ((stack["w"] - exact).abs() <= 3e-7 * (start.abs() + exact.abs() + lr * grad.abs())).all()
