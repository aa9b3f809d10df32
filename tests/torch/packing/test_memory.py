"""How many bytes a recorded graph takes: tensors of 1000 numbers in float32, counted by hand."""

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from robust_lr_torch.packing._memory import free_memory, peak_bytes


def plain(x):
    a = x + 1
    b = a + 1  # a ends here
    return (b + 1).sum()


def view_outlives(x):
    view = (x + 1)[:1]
    b = x + 2
    c = b + 1  # beside x, b and c there is still the tensor of the view
    return c.sum() + view.sum()


def reshaped_outlives(x):
    view = torch.ops.aten._unsafe_view.default(x + 1, [10, 100])
    b = x + 2
    return (b + 1).sum() + view.sum()


def part_outlives(x):
    _, last = (x + 1).split(500)
    b = x + 2
    return (b + 1).sum() + last.sum()


def in_place(x):
    return (x + 1).add_(1).mul_(2).sum()


@pytest.mark.parametrize(
    ("function", "n_tensors"),
    [(plain, 3), (view_outlives, 4), (reshaped_outlives, 4), (part_outlives, 4), (in_place, 2)],
)
def test_a_view_keeps_its_tensor_alive_and_takes_nothing_itself(function, n_tensors):
    n_bytes = peak_bytes(make_fx(function)(torch.zeros(1000)))
    assert 0 <= n_bytes - 4000 * n_tensors < 100, "beside them there are sums of 4 bytes"


def test_workers_share_the_free_memory():
    assert free_memory("cpu", 1) > 0 and free_memory("cpu", 4) < 0.5 * free_memory("cpu", 1)
