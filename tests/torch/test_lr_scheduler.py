"""AnnealedLR: the learning rate by hand, resume in every order, and what changes only when asked for."""

import copy
import functools
import gc
import importlib
import io
import itertools
import json
import pickle
import subprocess
import sys
import warnings
import weakref

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, SequentialLR

from robust_lr import RobustLRError, parse_schedule
from robust_lr.exceptions import RobustLRWarning, ScheduleError
from robust_lr_torch import AnnealedLR
from tests.torch.tasks import ENVIRONMENT

torch.set_num_threads(1)

T = 16
SCHEDULES = [
    "constant",
    "inverse-sqrt",
    "linear",
    "cosine(floor=0.1)",
    "wsd(0.2)",
    "warmup(0.1)+cosine",
    "warmup(steps=3)+inverse-sqrt+cooldown(0.3)",
]
PEAKS = (0.3, 0.01)


def groups(as_tensor=False, peaks=PEAKS):
    starts = [torch.linspace(-1, 1, 5), torch.full((3,), 2.0)]
    wrap = torch.tensor if as_tensor else float
    return [{"params": [torch.nn.Parameter(x.clone())], "lr": wrap(lr)} for x, lr in zip(starts, peaks, strict=True)]


OPTIMIZERS = {
    "SGD with momentum": lambda **k: torch.optim.SGD(groups(**k), momentum=0.9),
    "AdamW": lambda **k: torch.optim.AdamW(groups(**k), weight_decay=0.1),
    "SGD, tensor lr": lambda **k: torch.optim.SGD(groups(as_tensor=True, **k), momentum=0.9),
    "AdamW, tensor lr": lambda **k: torch.optim.AdamW(groups(as_tensor=True, **k), weight_decay=0.1),
}


def optimizer_step(optimizer, k):
    """One step on a bowl with a slope that depends on the step, so that a lost or repeated step shows."""
    for p in (p for group in optimizer.param_groups for p in group["params"]):
        p.grad = 0.2 * p.detach() + torch.cos(torch.arange(float(len(p))) + k)
    optimizer.step()


def lrs_of(optimizer):
    return [float(group["lr"]) for group in optimizer.param_groups]


def weights_of(optimizer):
    return [p.detach().clone() for group in optimizer.param_groups for p in group["params"]]


def set_weights(optimizer, weights):
    for p, w in zip((p for g in optimizer.param_groups for p in g["params"]), weights, strict=True):
        p.data.copy_(w)


def train(optimizer, scheduler, start=0, stop=T):
    """The user's loop; returns the learning rates it trained with."""
    used = []
    for k in range(start, stop):
        used.append(lrs_of(optimizer))
        optimizer_step(optimizer, k)
        scheduler.step()
    return used


def by_hand(spec, optimizer, total_steps=T):
    """The slow obvious twin: no scheduler, every learning rate written into the groups by a plain loop."""
    schedule, peaks, used = parse_schedule(spec), lrs_of(optimizer), []
    for k in range(total_steps):
        for group, peak in zip(optimizer.param_groups, peaks, strict=True):
            lr = peak * float(schedule(k, total_steps))
            group["lr"] = torch.tensor(lr) if isinstance(group["lr"], torch.Tensor) else lr
        used.append(lrs_of(optimizer))
        optimizer_step(optimizer, k)
    return used


def one_weight(lr=0.5, **options):
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr, **options)


@functools.cache
def saved_run(spec, name):
    """An uninterrupted run: its learning rates and final weights, and the checkpoint before every step."""
    optimizer = OPTIMIZERS[name]()
    scheduler = AnnealedLR(optimizer, spec, T)
    used, checkpoints = [], []
    for k in range(T + 1):
        state = (weights_of(optimizer), optimizer.state_dict(), scheduler.state_dict())
        checkpoints.append(copy.deepcopy(state))
        if k < T:
            used += train(optimizer, scheduler, k, k + 1)
    return used, weights_of(optimizer), checkpoints


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("spec", SCHEDULES)
def test_a_run_equals_the_learning_rates_set_by_hand(spec, name):
    used, weights, _ = saved_run(spec, name)
    twin = OPTIMIZERS[name]()
    assert used == by_hand(spec, twin)
    assert all(map(torch.equal, weights, weights_of(twin)))


# B: build the scheduler; K: build it with last_epoch; O, S: load the state of the optimizer, of the scheduler.
ORDERS = [*("BOS", "BSO", "OBS"), *("KO", "OK"), *("KOS", "KSO", "OKS")]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("spec", SCHEDULES)
def test_a_resumed_run_equals_the_uninterrupted_one_at_every_step_and_in_every_order(spec, name, order):
    used, final, checkpoints = saved_run(spec, name)
    for k, (weights, optimizer_state, scheduler_state) in enumerate(copy.deepcopy(checkpoints)):
        optimizer, scheduler = OPTIMIZERS[name](), None
        for act in order:
            if act == "O":
                optimizer.load_state_dict(optimizer_state)
            elif act == "S":
                scheduler.load_state_dict(scheduler_state)
            else:
                scheduler = AnnealedLR(optimizer, spec, T, last_epoch=k - 1 if act == "K" else -1)
        set_weights(optimizer, weights)
        assert scheduler.last_epoch == k
        assert [float(lr) for lr in scheduler.get_last_lr()] == lrs_of(optimizer)
        assert train(optimizer, scheduler, k) == used[k:], k
        assert all(map(torch.equal, weights_of(optimizer), final)), k
        assert scheduler.state_dict() == checkpoints[-1][2]


@pytest.mark.parametrize("spec", SCHEDULES)
def test_the_learning_rate_is_right_at_once_when_the_state_is_loaded(spec):
    used, _, checkpoints = saved_run(spec, "AdamW")
    optimizer = OPTIMIZERS["AdamW"]()
    scheduler = AnnealedLR(optimizer, spec, T)
    for k in (15, 3, 0):  # a rollback too
        scheduler.load_state_dict(checkpoints[k][2])
        assert lrs_of(optimizer) == scheduler.get_last_lr() == used[k]


@pytest.mark.parametrize("spec", SCHEDULES)
def test_after_the_horizon_the_learning_rate_stays_where_the_schedule_ended(spec):
    optimizer = OPTIMIZERS["SGD with momentum"]()
    scheduler = AnnealedLR(optimizer, spec, T)
    train(optimizer, scheduler)
    end = [peak * float(parse_schedule(spec)(T, T)) for peak in PEAKS]
    with pytest.warns(RobustLRWarning, match=f"step {T + 1} of a schedule of total_steps={T}"):
        assert train(optimizer, scheduler, T, 3 * T) == [end] * (2 * T)


@pytest.mark.parametrize("spec", SCHEDULES)
def test_the_shape_of_the_schedule_is_the_same_at_every_peak(spec):
    shapes = []
    for peak in (1e-9, 1e-7, 1e-3, 1.0, 10.0):
        optimizer = one_weight(lr=peak)
        shapes.append([lr / peak for (lr,) in train(optimizer, AnnealedLR(optimizer, spec, T))])
    for shape in shapes:
        assert shape == pytest.approx(shapes[0], rel=1e-15)


def test_the_state_is_plain_values_that_json_and_torch_load_keep_exactly():
    optimizer = OPTIMIZERS["SGD, tensor lr"]()
    scheduler = AnnealedLR(optimizer, "warmup(steps=3)+cosine(floor=0.01)", T)
    train(optimizer, scheduler, 0, 7)
    state = scheduler.state_dict()
    assert state["schedule"] == "warmup(steps=3)+cosine(floor=0.01)"
    assert (state["total_steps"], state["last_epoch"]) == (T, 7)
    assert state["base_lrs"] == [float(torch.tensor(p)) for p in PEAKS]
    assert json.loads(json.dumps(state)) == state
    file = io.BytesIO()
    torch.save({"optimizer": optimizer.state_dict(), "scheduler": state}, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=True)
    assert loaded["scheduler"] == state
    other = OPTIMIZERS["SGD, tensor lr"]()
    resumed = AnnealedLR(other, "warmup(steps=3)+cosine(floor=0.01)", T)
    resumed.load_state_dict(json.loads(json.dumps(state)))
    other.load_state_dict(loaded["optimizer"])
    assert train(other, resumed, 7) == train(optimizer, scheduler, 7)


NEW = {"total_steps": 2 * T, "schedule": "linear", "base_lrs": [0.6, 0.02]}


@pytest.mark.parametrize("order", ["BOS", "BSO", "OBS"])
@pytest.mark.parametrize("changed", [c for n in (1, 2, 3) for c in itertools.combinations(NEW, n)], ids="+".join)
def test_a_changed_horizon_schedule_or_peak_is_honoured_when_asked_for_and_else_refused(changed, order):
    _, _, checkpoints = saved_run("cosine(floor=0.1)", "SGD with momentum")
    _, optimizer_state, scheduler_state = copy.deepcopy(checkpoints[8])
    asked = {name: NEW[name] for name in changed}
    optimizer = OPTIMIZERS["SGD with momentum"](peaks=asked.get("base_lrs", PEAKS))
    for act in order:
        if act == "O":
            optimizer.load_state_dict(optimizer_state)
        elif act == "B":
            horizon, schedule = asked.get("total_steps", T), asked.get("schedule", "cosine(floor=0.1)")
            scheduler = AnnealedLR(optimizer, schedule, horizon)
        else:
            before = (scheduler.state_dict(), lrs_of(optimizer))
            for given_up in changed:
                if order == "OBS" and given_up == "base_lrs":
                    continue  # the loaded optimizer brought the saved peaks, so nothing differs
                with pytest.raises(ScheduleError, match=rf"saved with {given_up}=.*pass {given_up}="):
                    scheduler.load_state_dict(scheduler_state, **{k: v for k, v in asked.items() if k != given_up})
                assert (scheduler.state_dict(), lrs_of(optimizer)) == before
            scheduler.load_state_dict(scheduler_state, **asked)
    schedule = parse_schedule(asked.get("schedule", "cosine(floor=0.1)"))
    horizon, peaks = asked.get("total_steps", T), asked.get("base_lrs", PEAKS)
    expected = [[p * float(schedule(k, horizon)) for p in peaks] for k in range(8, horizon)]
    assert train(optimizer, scheduler, 8, horizon) == expected
    assert scheduler.state_dict()["base_lrs"] == list(peaks)
    assert [group["initial_lr"] for group in optimizer.param_groups] == list(peaks)  # as the next resume reads them


def test_the_refusal_says_in_one_line_what_differs_and_what_to_write():
    state = AnnealedLR(one_weight(), "cosine", 1000).state_dict()
    with pytest.raises(RobustLRError) as error:
        AnnealedLR(one_weight(), "cosine", 2000).load_state_dict(state)
    assert str(error.value) == (
        "saved with total_steps=1000, this scheduler has 2000; "
        "build it with the saved value, or pass total_steps=2000 to load_state_dict to change it"
    )


def test_a_state_that_does_not_fit_is_refused():
    optimizer = one_weight()
    scheduler = AnnealedLR(optimizer, "cosine", 10)
    with pytest.raises(ScheduleError, match="not the state of an AnnealedLR, it lacks schedule, total_steps"):
        scheduler.load_state_dict(CosineAnnealingLR(one_weight(), 10).state_dict())
    with pytest.raises(ScheduleError, match="saved with 2 parameter groups, this optimizer has 1"):
        scheduler.load_state_dict({**scheduler.state_dict(), "base_lrs": [0.5, 0.5]})
    with pytest.raises(ScheduleError, match="base_lrs must be 1 finite numbers >= 0"):
        scheduler.load_state_dict(scheduler.state_dict(), base_lrs=[float("nan")])
    with pytest.raises(ScheduleError, match="leaves nothing"):
        scheduler.load_state_dict(scheduler.state_dict(), schedule="warmup(steps=10)+cosine")
    with pytest.raises(ScheduleError, match="last_epoch"):
        scheduler.load_state_dict({**scheduler.state_dict(), "last_epoch": 1.5})
    assert train(optimizer, scheduler, 0, 10) == by_hand("cosine", one_weight(), 10)


@pytest.mark.parametrize(
    ("schedule", "total_steps", "last_epoch"),
    [("cosin", 10, -1), ("cosine", 0, -1), ("cosine", 2.5, -1), ("warmup(steps=10)+cosine", 10, -1), ("cosine", 9, -2)],
)
def test_a_schedule_that_cannot_be_followed_is_refused_and_leaves_the_optimizer_alone(
    schedule, total_steps, last_epoch
):
    optimizer = one_weight()
    with pytest.raises(ScheduleError):
        AnnealedLR(optimizer, schedule, total_steps, last_epoch)
    assert optimizer.param_groups[0]["lr"] == 0.5 and "initial_lr" not in optimizer.param_groups[0]
    with pytest.raises(TypeError, match="not an Optimizer"):
        AnnealedLR(object(), "cosine", 10)


@pytest.mark.parametrize("as_tensor", [False, True])
@pytest.mark.parametrize("spec", SCHEDULES)
def test_a_group_added_later_is_annealed_from_the_lr_it_came_with(spec, as_tensor):
    optimizer = one_weight(lr=torch.tensor(0.5) if as_tensor else 0.5)
    scheduler, schedule = AnnealedLR(optimizer, spec, T), parse_schedule(spec)
    train(optimizer, scheduler, 0, 7)
    wrap = torch.tensor if as_tensor else float
    optimizer.add_param_group({"params": [torch.nn.Parameter(torch.ones(1))], "lr": wrap(0.125)})
    optimizer.add_param_group({"params": [torch.nn.Parameter(torch.ones(1))]})  # takes the optimizer's own lr
    annealed = {"params": [torch.nn.Parameter(torch.ones(1))], "lr": wrap(0.01), "initial_lr": 0.25}
    optimizer.add_param_group(annealed)
    optimizer_step(optimizer, 7)
    peaks = [0.5, 0.125, 0.5, 0.25]
    rounded = (lambda x: float(torch.tensor(x))) if as_tensor else float
    assert lrs_of(optimizer) == [rounded(p * float(schedule(7, T))) for p in peaks]
    scheduler.step()
    assert train(optimizer, scheduler, 8) == [[rounded(p * float(schedule(k, T))) for p in peaks] for k in range(8, T)]
    assert scheduler.state_dict()["base_lrs"] == peaks


@pytest.mark.parametrize("order", ["BSO", "BOS", "OBS"])
@pytest.mark.parametrize("steps_after", [0, 3])
def test_a_run_with_a_group_added_later_resumes(steps_after, order):
    def grow(optimizer):
        optimizer.add_param_group({"params": [torch.nn.Parameter(torch.ones(2))], "lr": 0.125})

    optimizer = one_weight(momentum=0.9)
    scheduler = AnnealedLR(optimizer, "cosine", T)
    train(optimizer, scheduler, 0, 5)
    grow(optimizer)
    train(optimizer, scheduler, 5, 5 + steps_after)
    saved = copy.deepcopy((weights_of(optimizer), optimizer.state_dict(), scheduler.state_dict()))
    used = train(optimizer, scheduler, 5 + steps_after)

    other = one_weight(momentum=0.9)
    if order != "BSO":
        grow(other)
    for act in order:
        if act == "B":
            resumed = AnnealedLR(other, "cosine", T)
        elif act == "O":
            other.load_state_dict(saved[1])
        else:
            if len(other.param_groups) == 1:
                grow(other)
            resumed.load_state_dict(saved[2])
    set_weights(other, saved[0])
    assert train(other, resumed, 5 + steps_after) == used
    assert all(map(torch.equal, weights_of(other), weights_of(optimizer)))


def test_tensor_learning_rates_are_updated_in_place_and_alias_nothing():
    shared = torch.tensor(0.5)
    parameters = [torch.nn.Parameter(torch.zeros(1)) for _ in range(3)]
    optimizer = torch.optim.SGD([{"params": [p]} for p in parameters[:2]], lr=shared)
    scheduler = AnnealedLR(optimizer, "linear", 4)
    first, second = (group["lr"] for group in optimizer.param_groups)
    last = scheduler.get_last_lr()
    train(optimizer, scheduler, 0, 2)
    assert first is optimizer.param_groups[0]["lr"] and second is optimizer.param_groups[1]["lr"]
    assert [float(first), float(second)] == [0.25, 0.25]
    assert [float(lr) for lr in last] == [0.5, 0.5]
    optimizer.add_param_group({"params": [parameters[2]]})
    train(optimizer, scheduler, 2, 3)
    assert lrs_of(optimizer) == [0.125] * 3
    scheduler.get_last_lr()[0].zero_()
    assert lrs_of(optimizer) == [0.125] * 3
    scheduler.load_state_dict(scheduler.state_dict(), base_lrs=[1.0, 2.0, 4.0])
    assert lrs_of(optimizer) == [0.25, 0.5, 1.0]


@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, lambda s: pickle.loads(pickle.dumps(s))], ids=["deepcopy", "pickle"]
)
@pytest.mark.parametrize("spec", SCHEDULES)
def test_a_copy_goes_on_like_the_original_from_every_step(spec, duplicate):
    used, final, checkpoints = saved_run(spec, "AdamW")
    optimizer = OPTIMIZERS["AdamW"]()
    scheduler = AnnealedLR(optimizer, spec, T)
    for k in range(T):
        twin = duplicate(scheduler)
        assert twin.optimizer is not optimizer
        twin.optimizer.load_state_dict(copy.deepcopy(checkpoints[k][1]))
        assert train(twin.optimizer, twin, k) == used[k:]
        assert all(map(torch.equal, weights_of(twin.optimizer), final))
        train(optimizer, scheduler, k, k + 1)


def test_a_copy_looks_after_its_own_optimizer_and_only_that():
    optimizer = one_weight()
    twin = copy.deepcopy(AnnealedLR(optimizer, "linear", 4))
    saved = copy.deepcopy(optimizer.state_dict())
    twin.load_state_dict({**twin.state_dict(), "last_epoch": 2}, base_lrs=[8.0])
    twin.optimizer.load_state_dict(saved)
    assert (lrs_of(twin.optimizer), lrs_of(optimizer)) == ([4.0], [0.5])


def test_a_checkpoint_between_the_two_steps_resumes_without_a_warning():
    optimizer = one_weight()
    scheduler = AnnealedLR(optimizer, "linear", 4)
    train(optimizer, scheduler, 0, 1)
    optimizer_step(optimizer, 1)
    other = one_weight()
    resumed = AnnealedLR(other, "linear", 4)
    resumed.load_state_dict(scheduler.state_dict())
    resumed.step()
    assert lrs_of(other) == [0.25]


class Rising:
    """A schedule of one's own that knows nothing of the horizon."""

    degree = None

    def __call__(self, step, total_steps):
        return step / total_steps

    def __str__(self):
        return "rising"


def test_a_schedule_of_ones_own_is_held_at_the_horizon_and_compared_by_what_it_prints_as():
    optimizer = one_weight()
    scheduler = AnnealedLR(optimizer, Rising(), 4)
    assert train(optimizer, scheduler, 0, 4) == [[0.0], [0.125], [0.25], [0.375]]
    with pytest.warns(RobustLRWarning, match="stays at 0.5"):
        assert train(optimizer, scheduler, 4, 7) == [[0.5], [0.5], [0.5]]
    AnnealedLR(one_weight(), Rising(), 4).load_state_dict(scheduler.state_dict())
    with pytest.raises(ScheduleError, match="saved with schedule='rising', this scheduler has 'linear'"):
        AnnealedLR(one_weight(), "linear", 4).load_state_dict(scheduler.state_dict())


class Wrapper(torch.optim.Optimizer):
    """As Accelerate's: an Optimizer that is one in name only."""

    def __init__(self, optimizer):
        self.optimizer = optimizer

    param_groups = property(lambda self: self.optimizer.param_groups)
    defaults = property(lambda self: self.optimizer.defaults)

    def step(self):
        self.optimizer.step()


def test_a_wrapped_optimizer_can_be_annealed():
    optimizer = Wrapper(one_weight())
    assert train(optimizer, AnnealedLR(optimizer, "linear", T)) == by_hand("linear", one_weight())


def test_a_new_optimizer_state_does_not_disturb_the_schedule():
    fine_tuned = one_weight(lr=0.001)
    scheduler = AnnealedLR(fine_tuned, "linear", 4)
    pretrained = one_weight(lr=0.5)
    AnnealedLR(pretrained, "linear", 100, last_epoch=50)
    fine_tuned.load_state_dict(pretrained.state_dict())
    assert train(fine_tuned, scheduler, 0, 4) == by_hand("linear", one_weight(lr=0.001), 4)


def test_the_last_scheduler_built_on_an_optimizer_is_the_one_that_counts():
    optimizer = one_weight()
    first = AnnealedLR(optimizer, "linear", 10)
    train(optimizer, first, 0, 5)
    second = AnnealedLR(optimizer, "constant", 10)
    optimizer.load_state_dict(optimizer.state_dict())
    assert lrs_of(optimizer) == [0.5]
    alive = weakref.ref(first)
    del first
    gc.collect()
    assert alive() is None  # nothing in the optimizer keeps a scheduler
    assert train(optimizer, second, 0, 3) == [[0.5]] * 3


def test_stepping_the_scheduler_several_times_a_step_is_noticed():
    optimizer = one_weight()
    scheduler = AnnealedLR(optimizer, "cosine", 400)
    with pytest.warns(RobustLRWarning, match="64 steps in 32 of the optimizer") as caught:
        for k in range(100):
            optimizer_step(optimizer, k)
            for _process in range(2):
                scheduler.step()
    assert len(caught) == 1 and caught[0].filename == __file__


def test_a_skipped_optimizer_step_or_a_fast_forward_is_no_reason_to_warn():
    optimizer = one_weight()
    scheduler = AnnealedLR(optimizer, "cosine", 400)
    optimizer_step(optimizer, 0)
    for _ in range(100):
        scheduler.step()
    resumed_optimizer = one_weight()
    resumed = AnnealedLR(resumed_optimizer, "cosine", 400)
    resumed.load_state_dict(scheduler.state_dict())
    for k in range(100):
        if k not in range(1, 17):  # as a GradScaler does while it looks for its scale
            optimizer_step(resumed_optimizer, k)
        resumed.step()
        if k == 20:
            resumed.load_state_dict({**resumed.state_dict(), "last_epoch": 220})
    assert resumed.last_epoch == 299


def test_torch_still_says_when_the_order_of_the_steps_is_wrong():
    scheduler = AnnealedLR(one_weight(), "cosine", 10)
    with pytest.warns(UserWarning, match="before `optimizer.step"):
        scheduler.step()


@pytest.mark.filterwarnings("ignore:The epoch parameter")  # torch's own call inside SequentialLR
def test_it_works_inside_torchs_sequential_scheduler_and_that_resumes():
    def build():
        optimizer = one_weight()
        parts = [AnnealedLR(optimizer, "linear", 5), AnnealedLR(optimizer, "wsd(0.5)", 5)]
        return optimizer, SequentialLR(optimizer, parts, milestones=[5])

    optimizer, scheduler = build()
    used, checkpoints = [], []
    for k in range(10):
        checkpoints.append(copy.deepcopy((optimizer.state_dict(), scheduler.state_dict())))
        used += train(optimizer, scheduler, k, k + 1)
    assert used == by_hand("linear", one_weight(), 5) + by_hand("wsd(0.5)", one_weight(), 5)
    for k, (optimizer_state, scheduler_state) in enumerate(checkpoints):
        optimizer, scheduler = build()
        scheduler.load_state_dict(scheduler_state)
        optimizer.load_state_dict(optimizer_state)
        assert train(optimizer, scheduler, k, 10) == used[k:], k


def test_the_gradient_scaler_of_mixed_precision_can_be_used():
    optimizer = one_weight()
    scheduler = AnnealedLR(optimizer, "linear", 4)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    used = []
    for _ in range(4):
        used.append(lrs_of(optimizer))
        optimizer.zero_grad()
        scaler.scale((optimizer.param_groups[0]["params"][0] - 1).square().sum()).backward()
        scaler.step(optimizer)
        scaler.update()
        scheduler.step()
    assert used == by_hand("linear", one_weight(), 4)


def test_without_torch_the_import_says_what_to_install(monkeypatch):
    for name in [m for m in sys.modules if m.startswith("robust_lr_torch")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'robust-lr\[torch\]'"):
        importlib.import_module("robust_lr_torch")


def test_a_broken_torch_is_not_called_missing(tmp_path):
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("import a_missing_part_of_torch\n")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import robust_lr_torch"
    run = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert "No module named 'a_missing_part_of_torch'" in run.stderr
    assert "robust-lr[torch]" not in run.stderr.splitlines()[-1]


def test_nothing_warns_in_proper_use():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        optimizer = one_weight()
        scheduler = AnnealedLR(optimizer, "cosine", 50)
        train(optimizer, scheduler, 0, 50)
        assert scheduler.get_lr() == scheduler.get_last_lr() == [0.0]
