"""What of a task can be packed: the replica as found, what stands in the way, and where."""

from __future__ import annotations

import inspect
import pickle
from functools import partial

import pytest
import torch
from torch import nn

from robust_lr.exceptions import NotVectorizable
from robust_lr_torch.packing._inspect import _obstacle, inspect_replica, state_of
from robust_lr_torch.packing._pack import Pack
from robust_lr_torch.packing._verify import verify_pack
from tests.torch import models_that_do_not_pack
from tests.torch.tasks import SCHEDULES, D, K, task, trials

torch.set_num_threads(1)

REASONS = {
    "Branches": "it reads the value of a tensor",
    "ReadsItsValue": "it reads the value of a tensor",
    "Masks": "a shape depends on the data",
    "OldStyle": "torch.func cannot batch it: In order to use an autograd.Function",
    "Draws": "it draws random numbers (aten.randn_like.default)",
    "make_spectral": "torch.func cannot batch it",
    "Recurrent": "torch.func cannot batch it",
}


def line_of(name):
    """Return the place that is marked with this name, or else where it is defined, as ``file:line``."""
    path = inspect.getsourcefile(models_that_do_not_pack)
    lines, start = inspect.getsourcelines(models_that_do_not_pack)
    marked = [i for i, line in enumerate(lines, max(start, 1)) if f"# here: {name}\n" in line]
    return f"{path}:{marked[0] if marked else inspect.getsourcelines(getattr(models_that_do_not_pack, name))[1]}"


@pytest.mark.parametrize("name", REASONS)
def test_what_cannot_be_packed_is_refused_in_one_line_that_names_the_place(name):
    with pytest.raises(NotVectorizable) as error:
        Pack(task(getattr(models_that_do_not_pack, name)), SCHEDULES, 2)
    assert error.value.reason.startswith(REASONS[name])
    assert error.value.where == line_of(name)
    assert "\n" not in str(error.value) and str(error.value).endswith(f"({error.value.where})")
    again = pickle.loads(pickle.dumps(error.value))
    assert (again.reason, again.where) == (error.value.reason, error.value.where)


class Recurrent(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer, self.last = layer(2, 4, batch_first=True), nn.Linear(4, K)

    def forward(self, x):
        return self.last(self.layer(x.unflatten(1, (4, 2)))[0][:, -1])


@pytest.mark.parametrize("layer", [nn.GRU, nn.RNN])
def test_recurrent_layers_can_be_packed_on_a_cpu(layer):
    verify_pack(Pack(task(partial(Recurrent, layer)), SCHEDULES, 2), SCHEDULES, trials())


def test_recurrent_layers_of_cudnn_have_a_reason_of_their_own():
    reason = _obstacle(torch.ops.aten._cudnn_rnn.default, ())
    assert reason == "torch.func cannot batch it: cuDNN's recurrent layers have no rule for vmap"


@pytest.mark.parametrize("optimizer", ["Adafactor", "ASGD", "LBFGS"])
def test_an_optimizer_that_cannot_step_a_stack_is_refused_by_name(optimizer):
    with pytest.raises(NotVectorizable, match=f"torch.optim.{optimizer} "):
        inspect_replica(task(optimizer=getattr(torch.optim, optimizer)), seed=0)


def reads_the_loss(outputs, targets):
    return nn.functional.cross_entropy(outputs, targets) * (1 + 0 * outputs.sum().item())


def test_the_place_is_that_of_the_loss_when_the_loss_is_to_blame():
    with pytest.raises(NotVectorizable) as error:
        inspect_replica(task(loss=reads_the_loss), seed=0)
    assert error.value.where == f"{__file__}:{inspect.getsourcelines(reads_the_loss)[1] + 1}"


class Nothing(nn.Linear):
    def forward(self, x):
        return super().forward(x).detach() + 0 * x.sum().requires_grad_()


def test_a_model_without_a_parameter_to_train_is_refused():
    with pytest.raises(NotVectorizable, match="no parameter gets a gradient"):
        inspect_replica(task(partial(Nothing, D, K)), seed=0)


def make_partly_frozen():
    model = nn.ModuleDict({"frozen": nn.Linear(D, D), "unused": nn.Linear(D, D), "last": nn.Linear(D, K)})
    model["frozen"].weight.requires_grad_(False)
    model["norm"] = nn.BatchNorm1d(D)
    model.forward = lambda x: model["last"](model["norm"](model["frozen"](x)))
    return model


def test_what_is_trained_is_what_gets_a_gradient():
    replica = inspect_replica(task(make_partly_frozen), seed=0)
    assert replica.trained == ("frozen.bias", "last.weight", "last.bias", "norm.weight", "norm.bias")
    assert set(replica.state) - set(replica.trained) == {
        "frozen.weight",
        "unused.weight",
        "unused.bias",
        "norm.running_mean",
        "norm.running_var",
        "norm.num_batches_tracked",
    }


def test_looking_at_a_replica_changes_nothing():
    t = task(make_partly_frozen)
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    replica = inspect_replica(t, seed=3)
    assert torch.equal(torch.rand(3), expected)
    untouched = state_of(t.initial_model(3))
    assert all(torch.equal(value, untouched[name]) for name, value in replica.state.items())
    assert all(p.grad is None for p in replica.model.parameters())
