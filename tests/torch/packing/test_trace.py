"""The traced step of a pack: what it changes, and the memory that it takes."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from robust_lr_torch.packing._pack import Pack
from tests.torch.tasks import SCHEDULES, K, examples, make_dropout_network, task, trials

torch.set_num_threads(1)


def test_tracing_changes_nothing_and_a_step_changes_what_it_is_given():
    t = task(make_dropout_network, optimizer=torch.optim.AdamW)
    pack = Pack(t, SCHEDULES, 3)
    for spec in trials()[:3]:
        pack.load(spec)
    for slot, spec in enumerate(trials()[:3]):
        initial = pack.task.initial_model(spec.seed).state_dict()
        assert all(torch.equal(value, initial[name]) for name, value in pack.model(slot).state_dict().items())
    *changing, inputs, targets = pack.traced.fixed
    before = [tensor.clone() for tensor in changing]
    pack.steps(1)
    assert not any(torch.equal(a, b) for a, b in zip(before, changing, strict=True))
    assert all(map(torch.equal, (inputs, targets), t.train_data))


def test_a_traced_step_is_the_step_of_each_replica():
    t = task(make_dropout_network)
    pack = Pack(t, SCHEDULES, 2)
    for spec in trials(lrs=(0.1,)):
        pack.load(spec)
    objectives = pack.steps(4)
    for slot, spec in enumerate(trials(lrs=(0.1,))):
        model = t.initial_model(spec.seed)
        steps = t.steps(model, lr=spec.lr, schedule="cosine", seed=spec.seed)
        expected = [float(value) for value, _ in zip(steps, range(4), strict=False)]
        assert np.allclose(objectives[:, slot], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("optimizer", ["SGD", "AdamW"])
def test_the_bytes_of_a_replica_are_what_a_step_really_takes(optimizer):
    """Measured by torch's profiler: what a step allocates at its worst moment, and what it is given."""
    x, y = examples(200, d=64)
    network = partial(lambda: nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, K)))
    t = task(network, train_data=(x, y), batch_size=64, optimizer=getattr(torch.optim, optimizer))
    pack = Pack(t, SCHEDULES, 8)
    rows, numbers, keys = (table[0] for table in pack._block(1))
    batch = pack._batch(rows)
    given = sum(tensor.nbytes for tensor in (*pack.traced.fixed, *batch))
    with torch.inference_mode(), torch.profiler.profile(profile_memory=True) as profiler:
        pack.traced.graph(*pack.traced.fixed, *batch, numbers, keys)
    changes = [e for e in profiler.profiler.kineto_results.events() if e.name() == "[memory]"]
    alive = np.cumsum([e.nbytes() for e in sorted(changes, key=lambda e: e.start_ns())])
    measured = (given + alive.max()) / pack.slots
    assert measured / 1.2 < pack.traced.bytes_per_replica < measured * 1.2
