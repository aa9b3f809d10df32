"""AnnealedLR beside torch's schedulers: a resumed run has the learning rates of the uninterrupted one."""

import copy
import itertools

import pytest
import torch
from torch.optim.lr_scheduler import (
    ChainedScheduler,
    CosineAnnealingLR,
    ExponentialLR,
    LambdaLR,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
)
from torch.optim.swa_utils import SWALR

from robust_lr.exceptions import OptionError, RobustLRWarning, ScheduleError
from robust_lr_torch import AnnealedLR

pytestmark = pytest.mark.filterwarnings("ignore:The epoch parameter")  # torch's own call inside SequentialLR

N_STEPS = 12
PARTS = {
    "annealed": lambda optimizer: AnnealedLR(optimizer, "linear", N_STEPS),
    "another annealed": lambda optimizer: AnnealedLR(optimizer, "warmup(steps=2)+cosine(floor=0.1)", N_STEPS),
    "lambda": lambda optimizer: LambdaLR(optimizer, lambda k: 0.9**k),
    "step": lambda optimizer: StepLR(optimizer, 2, 0.5),
    "exponential": lambda optimizer: ExponentialLR(optimizer, 0.7),
    "cosine": lambda optimizer: CosineAnnealingLR(optimizer, N_STEPS),
}
PAIRS = [pair for pair in itertools.permutations(PARTS, 2) if any("annealed" in name for name in pair)]


def optimizer_of(lr=1.0):
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)


def lr_of(optimizer):
    return float(optimizer.param_groups[0]["lr"])


def lrs_of_steps(optimizer, step, steps):
    used = []
    for k in steps:
        used.append(lr_of(optimizer))
        optimizer.step()
        step(k)
    return used


def sequential(first, second):
    def build():
        optimizer = optimizer_of()
        chain = SequentialLR(optimizer, [PARTS[first](optimizer), PARTS[second](optimizer)], milestones=[5])
        return optimizer, {"chain": chain}, lambda k: chain.step()

    return build


def chained(first, second):
    def build():
        optimizer = optimizer_of()
        chain = ChainedScheduler([PARTS[first](optimizer), PARTS[second](optimizer)])
        return optimizer, {"chain": chain}, lambda k: chain.step()

    return build


def then_swa(first, second):
    """Both schedulers are stepped by hand, then SWALR takes over."""

    def build():
        optimizer = optimizer_of()
        parts = {"first": PARTS[first](optimizer), "second": PARTS[second](optimizer)}
        parts["swa"] = SWALR(optimizer, swa_lr=0.05, anneal_epochs=2)

        def step(k):
            for name in ("first", "second") if k < 5 else ("swa",):
                parts[name].step()

        return optimizer, parts, step

    return build


@pytest.mark.parametrize("pair", PAIRS, ids=" and ".join)
@pytest.mark.parametrize("together", [sequential, chained, then_swa])
def test_resumed_at_any_step_and_loaded_in_any_order_the_rates_are_those_of_the_uninterrupted_run(together, pair):
    build = together(*pair)
    optimizer, parts, step = build()
    used, checkpoints = [], []
    for k in range(N_STEPS):
        checkpoints.append(copy.deepcopy((optimizer.state_dict(), {n: s.state_dict() for n, s in parts.items()})))
        used += lrs_of_steps(optimizer, step, [k])
    for k, (optimizer_state, states) in enumerate(checkpoints):
        for optimizer_comes_first in (True, False):
            optimizer, parts, step = build()
            if optimizer_comes_first:
                optimizer.load_state_dict(copy.deepcopy(optimizer_state))
            for name, part in parts.items():
                part.load_state_dict(copy.deepcopy(states[name]))
            if not optimizer_comes_first:
                optimizer.load_state_dict(copy.deepcopy(optimizer_state))
            assert lrs_of_steps(optimizer, step, range(k, N_STEPS)) == pytest.approx(used[k:], rel=1e-12), k


def test_a_rate_that_a_plateau_has_lowered_stays_low_after_a_resume():
    def build():
        optimizer = optimizer_of()
        return optimizer, AnnealedLR(optimizer, "constant", 4), ReduceLROnPlateau(optimizer, factor=0.1, patience=0)

    optimizer, annealed, plateau = build()
    lrs_of_steps(optimizer, lambda k: annealed.step(), range(4))
    plateau.step(1.0)
    plateau.step(2.0)
    assert lr_of(optimizer) == pytest.approx(0.1)
    states = copy.deepcopy([part.state_dict() for part in (optimizer, annealed, plateau)])
    for order in itertools.permutations(range(3)):
        parts = build()
        for i in order:
            parts[i].load_state_dict(copy.deepcopy(states[i]))
        assert lr_of(parts[0]) == pytest.approx(0.1), order


def test_a_state_of_version_0_1_0_which_does_not_say_who_was_in_charge_is_in_charge():
    optimizer = optimizer_of()
    scheduler = AnnealedLR(optimizer, "linear", 10)
    state = {**scheduler.state_dict(), "last_epoch": 5}
    del state["in_charge"]
    scheduler.load_state_dict(state)
    assert lr_of(optimizer) == 0.5


@pytest.mark.parametrize(("saved", "now"), [(torch.tensor(0.1), 0.1), (0.1, torch.tensor(0.1))])
def test_a_checkpoint_of_a_tensor_rate_fits_a_float_rate_and_the_other_way_around(saved, now):
    state = AnnealedLR(torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=saved), "linear", 10).state_dict()
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=now)
    AnnealedLR(optimizer, "linear", 10).load_state_dict({**state, "last_epoch": 5})
    assert lr_of(optimizer) == pytest.approx(0.05, rel=1e-6)


@pytest.mark.parametrize(("on_new_horizon", "lrs", "horizon"), [("stretch", [0.75, 0.7], 20), ("keep", [0.5, 0.4], 10)])
def test_a_longer_run_under_a_trainer_that_loads_the_state_itself(on_new_horizon, lrs, horizon):
    state = {**AnnealedLR(optimizer_of(), "linear", 10).state_dict(), "last_epoch": 5}
    optimizer = optimizer_of()
    scheduler = AnnealedLR(optimizer, "linear", 20, on_new_horizon=on_new_horizon)
    scheduler.load_state_dict(state)
    assert lrs_of_steps(optimizer, lambda k: scheduler.step(), range(2)) == pytest.approx(lrs)
    assert scheduler.total_steps == horizon


def test_a_new_horizon_is_an_error_unless_the_user_says_what_it_means():
    state = AnnealedLR(optimizer_of(), "linear", 10).state_dict()
    with pytest.raises(ScheduleError, match="saved with total_steps=10, this scheduler has 20"):
        AnnealedLR(optimizer_of(), "linear", 20).load_state_dict(state)
    with pytest.raises(OptionError, match='on_new_horizon must be "error", "stretch" or "keep", got \'grow\''):
        AnnealedLR(optimizer_of(), "linear", 20, on_new_horizon="grow")


def test_stepping_past_the_end_is_said_once():
    optimizer = optimizer_of()
    scheduler = AnnealedLR(optimizer, "cosine(floor=0.1)", 3)
    with pytest.warns(RobustLRWarning, match="step 4 of a schedule of total_steps=3: .* stays at 0.1") as caught:
        lrs_of_steps(optimizer, lambda k: scheduler.step(), range(8))
    assert len(caught) == 1 and caught[0].filename == __file__


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # torch's own
@pytest.mark.parametrize("schedule_inside", [False, True], ids=["only the optimizer", "the scheduler too"])
def test_a_compiled_step_with_a_tensor_rate_is_compiled_once(schedule_inside):
    torch.compiler.reset()
    model = torch.nn.Linear(4, 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=torch.tensor(0.01))
    scheduler = AnnealedLR(optimizer, "linear", 100)

    @torch.compile(backend="eager")
    def step():
        optimizer.step()
        if schedule_inside:
            scheduler.step()

    def train(n_steps):
        for _ in range(n_steps):
            optimizer.zero_grad()
            model(torch.ones(2, 4)).square().mean().backward()
            step()
            if not schedule_inside:
                scheduler.step()

    train(2)
    with torch.compiler.set_stance("fail_on_recompile"):
        train(60)
    assert lr_of(optimizer) == pytest.approx(0.01 * 0.38, rel=1e-5)
