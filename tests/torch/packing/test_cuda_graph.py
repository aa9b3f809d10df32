"""Steps that read their arguments from tables, and so can be replayed: the same as steps that are called."""

import pytest
import torch

from robust_lr_torch.packing._cuda_graph import ReplayedSteps, capture_cuda_graph


def call_again(function):
    """What a CUDA graph does, by calling the function: warms up, then replays."""
    for _ in range(3):
        function()
    return function


@pytest.mark.parametrize("blocks", [[(0, 4), (4, 5)], [(0, 5)]], ids=["as many as the tables hold", "more"])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_replayed_steps_are_the_steps(device, blocks):
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU")
    data = torch.arange(10.0, device=device)
    weights = torch.ones(3, device=device)

    def step(rows, numbers, keys):
        losses = (weights - data[rows].mean(1)) * keys
        weights.sub_(numbers[0] * losses)
        return losses

    generator = torch.Generator().manual_seed(0)
    rows = torch.randint(10, (5, 3, 2), generator=generator).to(device)
    numbers = torch.rand(5, 1, 3, generator=generator).to(device)
    keys = torch.randint(5, (5, 3), generator=generator, dtype=torch.int32).to(device)
    expected = torch.stack([step(*arguments) for arguments in zip(rows, numbers, keys, strict=True)])
    final = weights.clone()

    weights.fill_(1.0)
    capture = capture_cuda_graph if device == "cuda" else call_again
    replayed = ReplayedSteps(step, 4, (rows[0], numbers[0], keys[0]), [weights], capture)
    assert weights.tolist() == [1.0] * 3, "warming up leaves what it changes as it was"
    found = [replayed.run(rows[a:b], numbers[a:b], keys[a:b]) for a, b in blocks]
    assert torch.equal(torch.cat(found), expected) and torch.equal(weights, final)
