"""SupervisedTask: what it trains, by a plain loop; its seeds; divergence; what it refuses."""

import math
import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial

import pytest
import torch
import torch.utils.checkpoint
from torch import nn
from torch.nn import functional

from robust_lr import TrainFunction, TrialResult, parse_schedule, run_sweep
from robust_lr._fingerprint import changed_parts, fingerprint_of
from robust_lr.exceptions import DataError, JournalError
from robust_lr_torch import SupervisedTask
from robust_lr_torch.packing._dropout import CounterNoise
from tests.torch.tasks import Rows

torch.set_num_threads(1)

SCHEDULES = [
    "constant",
    "inverse-sqrt",
    "linear",
    "cosine(floor=0.1)",
    "wsd(0.2)",
    "warmup(0.1)+cosine",
    "warmup(steps=3)+inverse-sqrt+cooldown(0.3)",
]
N, T, B = 50, 30, 8


def examples(n=N, seed=1):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 6, generator=generator)
    return x, (x[:, 0] > 0).long() + (x[:, 1] > 0.5).long()


def make_network():
    return nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 3))


def make_dropout_network():
    return nn.Sequential(nn.Linear(6, 12), nn.Dropout(0.5), nn.ReLU(), nn.Linear(12, 3))


def ridge(model):
    return 0.01 * sum(p.square().sum() for p in model.parameters())


def accuracy(outputs, targets):
    return (outputs.argmax(1) == targets).float().mean()


def task(**changes):
    options = {
        "make_model": make_network,
        "train_data": examples(),
        "loss": functional.cross_entropy,
        "total_steps": T,
        "batch_size": B,
    }
    return SupervisedTask(**{**options, **changes})


def plain_loop(t, lr, schedule, seed):
    """The slow obvious twin: the loop that anyone would write, with the learning rate set by hand."""
    model = t.initial_model(seed)
    optimizer = t.optimizer(model.parameters(), lr=lr, **t.optimizer_options)
    x, y = t.train_data
    for k, rows in enumerate(t.batch_indices(seed)):
        for group in optimizer.param_groups:
            group["lr"] = lr * float(parse_schedule(schedule)(k, t.total_steps))
        optimizer.zero_grad()
        objective = t.loss(model(x[rows]), y[rows])
        if t.penalty:
            objective = objective + t.penalty(model)
        objective.backward()
        if t.clip_norm:
            nn.utils.clip_grad_norm_(model.parameters(), t.clip_norm)
        optimizer.step()
    with torch.no_grad():
        return float(t.loss(model(x), y)) + (float(t.penalty(model)) if t.penalty else 0.0)


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer_options": {"momentum": 0.9, "nesterov": True}},
        {"optimizer": torch.optim.AdamW, "optimizer_options": {"weight_decay": 0.1}},
        {"penalty": ridge, "clip_norm": 0.1},
    ],
    ids=["SGD", "AdamW", "penalty and clipping"],
)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_trial_is_the_plain_loop(schedule, changes):
    t = task(**changes)
    for seed, lr in ((0, 0.01), (1, 0.3)):
        expected = pytest.approx(plain_loop(t, lr, schedule, seed), rel=1e-5)
        assert t(lr=lr, schedule=schedule, seed=seed) == {"loss": expected}


@pytest.mark.parametrize("make_model", [make_network, make_dropout_network])
@pytest.mark.parametrize("line_search", [None, "strong_wolfe"])
def test_lbfgs_gets_the_objective_of_its_batch_as_a_closure(line_search, make_model):
    options = {"max_iter": 3, "line_search_fn": line_search}
    t = task(make_model=make_model, optimizer=torch.optim.LBFGS, optimizer_options=options, penalty=ridge)
    model, twin = t.initial_model(2), t.initial_model(2)
    optimizer = torch.optim.LBFGS(twin.parameters(), lr=0.1, **options)
    steps = t.steps(model, lr=0.1, schedule="cosine", seed=2)
    x, y = t.train_data
    for k, (rows, key, value) in enumerate(zip(t.batch_indices(2), t.noise_keys(2), steps, strict=True)):
        optimizer.param_groups[0]["lr"] = 0.1 * float(parse_schedule("cosine")(k, T))

        def closure(rows=rows, key=key):
            optimizer.zero_grad()
            with CounterNoise(key):
                objective = t.loss(twin(x[rows]), y[rows]) + ridge(twin)
            objective.backward()
            return objective

        assert float(value) == pytest.approx(float(optimizer.step(closure).detach()), rel=1e-5)
    assert torch.allclose(state(model), state(twin), rtol=1e-4, atol=1e-6)


def test_the_penalty_the_clipping_and_the_optimizer_matter():
    variants = ({}, {"penalty": ridge}, {"clip_norm": 0.1}, {"optimizer": torch.optim.Adam}, {"batch_size": 9})
    assert len({task(**v)(lr=0.1, schedule="cosine", seed=0)["loss"] for v in variants}) == len(variants)


def test_training_learns():
    t = task(
        train_data=examples(500), total_steps=500, validation_data=examples(200, 2), metrics={"accuracy": accuracy}
    )
    untrained = t.evaluate(t.initial_model(0))
    trained = t(lr=0.5, schedule="cosine", seed=0)
    assert trained["loss"] < 0.5 < 1.0 < untrained["loss"]
    assert trained["validation_accuracy"] > 0.7 > untrained["validation_accuracy"]


def state(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_a_seed_fixes_the_initial_weights_and_the_batches_and_nothing_else_does():
    seen = []

    def loss(outputs, targets):
        seen.append(targets.clone())
        return functional.cross_entropy(outputs, targets)

    def batches(**trial):
        seen.clear()
        task(loss=loss)(**trial)
        return torch.stack(seen[:T])

    t = task()
    reference = batches(lr=0.1, schedule="cosine", seed=3)
    assert torch.equal(reference, t.train_data[1][t.batch_indices(3)])
    for lr in (1e-4, 1.0):
        for schedule in SCHEDULES:
            assert torch.equal(batches(lr=lr, schedule=schedule, seed=3), reference)
    assert torch.equal(state(t.initial_model(3)), state(t.initial_model(3)))
    assert not torch.equal(state(t.initial_model(3)), state(t.initial_model(4)))
    assert not torch.equal(t.batch_indices(3), t.batch_indices(4))
    # a larger network draws more numbers for its weights, and yet the batches are the same
    assert torch.equal(task(make_model=partial(nn.Linear, 6, 3)).batch_indices(3), t.batch_indices(3))


@pytest.mark.parametrize("make_model", [make_network, make_dropout_network])
def test_the_random_numbers_of_the_caller_are_left_alone_and_do_not_matter(make_model):
    t = task(make_model=make_model)
    results = []
    for caller_seed in (0, 1):
        torch.manual_seed(caller_seed)
        expected = torch.rand(3)
        torch.manual_seed(caller_seed)
        results.append(t(lr=0.1, schedule="cosine", seed=0))
        t.initial_model(0)
        t.batch_indices(0)
        assert torch.equal(torch.rand(3), expected)
    assert results[0] == results[1]


def test_the_random_numbers_of_the_caller_survive_a_trial_that_fails():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    with pytest.raises(DataError, match="must return a scalar"):
        task(loss=partial(functional.cross_entropy, reduction="none"))(lr=0.1, schedule="cosine", seed=0)
    assert torch.equal(torch.rand(3), expected)


def test_dropout_has_the_same_masks_at_every_learning_rate():
    masks = []

    class Recorded(nn.Dropout):
        def forward(self, x):
            out = super().forward(torch.ones_like(x))
            masks.append(out.bool())
            return x * out

    def run(lr, seed):
        masks.clear()
        t = task(make_model=lambda: nn.Sequential(nn.Linear(6, 12), Recorded(0.5), nn.Linear(12, 3)))
        t(lr=lr, schedule="cosine", seed=seed)
        return torch.stack(masks[:T])

    assert torch.equal(run(0.01, 0), run(1.0, 0))
    assert not torch.equal(run(0.01, 0), run(0.01, 1))


@pytest.mark.parametrize(("n", "batch_size"), [(50, 8), (50, 50), (7, 7), (9, 1), (8, 4)])
def test_batches_go_through_one_permutation_of_the_data_after_another(n, batch_size):
    rows = task(train_data=examples(n), batch_size=batch_size).batch_indices(0)
    assert rows.shape == (T, batch_size) and rows.dtype == torch.int64
    for epoch in rows.flatten().split(n):
        assert len(epoch.unique()) == len(epoch)
    epochs = rows.flatten()[: len(rows.flatten()) // n * n].reshape(-1, n)
    assert torch.equal(epochs.sort(1).values, torch.arange(n).expand(len(epochs), n))


def test_the_objective_is_evaluated_without_dropout_on_all_the_data_in_chunks_of_any_size():
    t = task(make_model=make_dropout_network, validation_data=examples(31, seed=2), metrics={"accuracy": accuracy})
    model = t.initial_model(0)
    expected = {}
    with torch.no_grad():
        model.eval()
        for name, (x, y) in (("training_loss", t.train_data), ("loss", t.validation_data)):
            expected[name] = float(functional.cross_entropy(model(x), y))
        x, y = t.validation_data
        expected["validation_accuracy"] = float(accuracy(model(x), y))
        model.train()
    for size in (1, 7, 31, 1000):
        chunked = task(
            make_model=make_dropout_network,
            validation_data=t.validation_data,
            metrics={"accuracy": accuracy},
            evaluation_batch_size=size,
        )
        assert chunked.evaluate(model) == pytest.approx(expected, rel=1e-6)
        assert model.training
    ridge_term = float(ridge(model).detach())
    assert task(penalty=ridge).evaluate(model)["loss"] == pytest.approx(expected["training_loss"] + ridge_term)
    both = task(penalty=ridge, validation_data=t.validation_data).evaluate(model)
    assert both["loss"] == pytest.approx(expected["loss"])
    assert both["training_loss"] == pytest.approx(expected["training_loss"] + ridge_term)


def overshooting(calls, **changes):
    """Least squares, which grows without bounds at a large learning rate; `calls` counts the training steps."""
    x = torch.linspace(-1, 1, N).unsqueeze(1)

    def loss(outputs, targets):
        calls.append(outputs.requires_grad)
        return functional.mse_loss(outputs, targets)

    options = {"make_model": partial(nn.Linear, 1, 1), "train_data": (x, 3 * x), "loss": loss, "total_steps": 1000}
    return task(**{**options, **changes})


@pytest.mark.parametrize("check_every", [1, 7, 50])
def test_a_diverging_trial_stops_early_with_an_infinite_loss_and_says_at_which_step(check_every):
    calls, losses = [], []
    t = overshooting(calls, check_every=check_every)
    result = t(lr=20.0, schedule="constant", seed=0)
    assert set(result) == {"loss", "diverged_at_step"} and result["loss"] == math.inf
    step = result["diverged_at_step"]
    assert step <= len(calls) <= step + check_every < 200

    model = t.initial_model(0)  # by hand, looking at every loss
    optimizer = torch.optim.SGD(model.parameters(), lr=20.0)
    x, y = t.train_data
    for rows in t.batch_indices(0)[: int(step) + 1]:
        optimizer.zero_grad()
        losses.append(functional.mse_loss(model(x[rows]), y[rows]))
        losses[-1].backward()
        optimizer.step()
    assert [math.isfinite(value.detach()) for value in losses] == [True] * int(step) + [False]


def test_a_trial_that_ends_in_a_loss_that_is_not_finite_has_diverged():
    t = overshooting([], total_steps=1, validation_data=(torch.zeros(5, 1), torch.ones(5, 1)))
    result = t(lr=1e38, schedule="constant", seed=0)
    assert result == {"loss": math.inf, "diverged_at_step": 1.0, "training_loss": math.inf}


@pytest.mark.parametrize("check_every", [1, 7, 50])
@pytest.mark.parametrize("patience", [1, 20])
def test_a_trial_has_diverged_when_its_objective_stays_far_above_its_start(check_every, patience):
    x = torch.linspace(-1, 1, N).unsqueeze(1)
    t = task(
        make_model=partial(nn.Linear, 1, 1),
        train_data=(x, 3 * x),
        loss=nn.functional.l1_loss,  # its gradient is bounded: nothing ever overflows
        total_steps=60,
        check_every=check_every,
        divergence_factor=10.0,
        divergence_patience=patience,
    )
    step = t(lr=1e4, schedule="constant", seed=0)["diverged_at_step"]
    model = t.initial_model(0)
    high = [float(value) for value in t.steps(model, lr=1e4, schedule="constant", seed=0)]
    in_a_row = [all(value > 10 * high[0] for value in high[k : k + patience]) for k in range(60 - patience + 1)]
    assert step == in_a_row.index(True) > 0
    assert math.isfinite(task(**{"divergence_factor": 10.0})(lr=0.1, schedule="constant", seed=0)["loss"])


def test_without_the_rule_a_trial_that_does_not_overflow_has_not_diverged():
    x = torch.linspace(-1, 1, N).unsqueeze(1)
    t = task(
        make_model=partial(nn.Linear, 1, 1),
        train_data=(x, 3 * x),
        loss=nn.functional.l1_loss,
        divergence_factor=math.inf,
        divergence_patience=1,
    )
    assert 1e3 < t(lr=1e4, schedule="constant", seed=0)["loss"] < math.inf


def test_what_a_trial_returns_that_diverged_or_did_not():
    t = task(validation_data=examples(9))
    assert t.failure(3) == {"loss": math.inf, "diverged_at_step": 3.0, "training_loss": math.inf}
    assert task().failure(0) == {"loss": math.inf, "diverged_at_step": 0.0}
    model = t.initial_model(0)
    assert t.outcome(model) == t.evaluate(model)
    with torch.no_grad():
        next(model.parameters()).fill_(math.nan)
    assert t.outcome(model) == t.failure(T)


def test_dropout_draws_nothing_from_the_generators_of_torch():
    t = task(make_model=make_dropout_network)
    with t.noise_of(0):
        before = torch.get_rng_state()
        for _ in t.steps(t.initial_model(0), lr=0.1, schedule="cosine", seed=0):
            pass
        assert torch.equal(torch.get_rng_state(), before)


class Checkpointed(nn.Module):
    def __init__(self, p, reentrant):
        super().__init__()
        self.first, self.last, self.reentrant = nn.Linear(6, 12), nn.Linear(12, 3), reentrant
        self.body = nn.Sequential(nn.Dropout(p), nn.Tanh())

    def forward(self, x):
        x = self.first(x)
        return self.last(torch.utils.checkpoint.checkpoint(self.body, x, use_reentrant=self.reentrant))


@pytest.mark.parametrize("reentrant", [False, True])
def test_a_checkpoint_around_dropout_is_refused(reentrant):
    with pytest.raises(DataError, match="checkpoint would draw other dropout masks"):
        task(make_model=partial(Checkpointed, 0.5, reentrant))(lr=0.1, schedule="cosine", seed=0)


def test_a_checkpoint_around_other_layers_changes_nothing():
    plain = task()(lr=0.1, schedule="cosine", seed=0)["loss"]
    assert task(make_model=partial(Checkpointed, 0.0, False))(lr=0.1, schedule="cosine", seed=0)[
        "loss"
    ] == pytest.approx(plain)


def test_a_task_is_a_train_function_that_takes_schedules_and_specs():
    train: TrainFunction = task()
    assert train(lr=0.1, schedule=parse_schedule("cosine"), seed=0) == train(lr=0.1, schedule="cosine", seed=0)


def test_data_may_be_anything_that_rows_can_be_taken_from():
    x, y = examples()
    expected = task()(lr=0.1, schedule="cosine", seed=0)
    assert task(train_data=(Rows(x), Rows(y)))(lr=0.1, schedule="cosine", seed=0) == expected


def test_a_task_of_module_level_parts_runs_in_a_spawned_process():
    t = task(make_model=partial(nn.Linear, 6, 3), optimizer=torch.optim.AdamW, validation_data=examples(9))
    trial = {"lr": 0.1, "schedule": parse_schedule("warmup(0.1)+cosine"), "seed": 2}
    expected = t(**trial)
    assert pickle.loads(pickle.dumps(t))(**trial) == expected
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert pool.submit(t, **trial).result() == expected


def test_a_task_is_a_value():
    options = {"momentum": 0.9}
    t = task(optimizer_options=options)
    options["momentum"] = 0.0
    assert t.optimizer_options == {"momentum": 0.9}
    assert "tensor(" not in repr(t)
    with pytest.raises(AttributeError):
        t.batch_size = 3


X, Y = examples()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": N + 1}, "batch_size=51 is more than the 50 rows"),
        ({"batch_size": 0}, "batch_size must be a whole number of at least 1, got 0"),
        ({"total_steps": 0}, "total_steps must be a whole number of at least 1"),
        ({"total_steps": 10.0}, "total_steps must be a whole number"),
        ({"check_every": 0}, "check_every"),
        ({"divergence_factor": 1.0}, "divergence_factor must be a finite number > 1"),
        ({"divergence_patience": 0}, "divergence_patience must be a whole number of at least 1"),
        ({"evaluation_batch_size": True}, "evaluation_batch_size"),
        ({"train_data": (X, Y[:-1])}, "as many inputs as targets, and at least one; got 50 and 49"),
        ({"train_data": (X[:0], Y[:0])}, "at least one"),
        ({"train_data": X}, "train_data must be a pair"),
        ({"train_data": (X.numpy(), Y.numpy())}, "torch.as_tensor"),
        ({"validation_data": (X, Y[:3])}, "validation_data must have as many"),
        ({"metrics": {"accuracy": accuracy}}, "validation_data, which is missing: accuracy"),
        ({"metrics": {"loss": accuracy}, "validation_data": (X, Y)}, "other than 'loss'"),
        ({"metrics": {"f1": "f1"}, "validation_data": (X, Y)}, "callables, got 'f1'"),
        ({"make_model": make_network()(X)}, "make_model must be callable"),
        ({"penalty": 0.1}, "penalty must be callable"),
        ({"clip_norm": 0.0}, "clip_norm must be a finite number > 0"),
        ({"device": "gpu"}, "device must be 'cpu' or 'cuda'"),
        ({"optimizer_options": {"lr": 0.1}}, "must not hold lr"),
        ({"optimizer_options": {"momentun": 0.9}}, "momentun"),
    ],
)
def test_a_task_that_cannot_be_trained_is_refused_in_one_line(changes, message):
    with pytest.raises(DataError) as error:
        task(**changes)
    assert message in str(error.value)
    if "make_model" not in changes:  # a tensor prints over several lines
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("trial", "message"),
    [
        ({"lr": 0.0}, "lr must be a finite number > 0"),
        ({"lr": math.nan}, "lr must be a finite number > 0"),
        ({"seed": -1}, "seed must be a whole number"),
        ({"seed": 1.5}, "seed must be a whole number"),
    ],
)
def test_a_trial_that_cannot_be_run_is_refused(trial, message):
    with pytest.raises(DataError, match=message):
        task()(**{"lr": 0.1, "schedule": "cosine", "seed": 0, **trial})


@pytest.mark.parametrize(
    "changes",
    [
        {"make_model": make_dropout_network},
        {"make_model": partial(nn.Linear, 6, 3)},
        {"train_data": examples(seed=2)},
        {"train_data": (X.double(), Y)},
        {"train_data": (torch.where(X[-1, -1] == X, 0.0, X), Y)},
        {"loss": nn.CrossEntropyLoss(label_smoothing=0.1)},
        {"loss": nn.CrossEntropyLoss(weight=torch.tensor([1.0, 1.0, 2.0]))},
        {"total_steps": T + 1},
        {"batch_size": B + 1},
        {"optimizer": torch.optim.Adam},
        {"optimizer_options": {"momentum": 0.9}},
        {"optimizer_options": {"momentum": 0.8}},
        {"validation_data": examples(seed=2)},
        {"penalty": ridge},
        {"clip_norm": 0.1},
    ],
)
def test_a_journal_of_another_task_is_refused(changes, tmp_path):
    def header(t):
        run_sweep(t, [0.1], ["cosine"], 1, journal=tmp_path / "j.jsonl", runner=Nothing())

    header(task(loss=nn.CrossEntropyLoss(), train_data=examples()))
    header(task(loss=nn.CrossEntropyLoss(), train_data=examples(), check_every=7, evaluation_batch_size=9))
    with pytest.raises(JournalError, match=r"training function is robust_lr.training.task:SupervisedTask"):
        header(task(**{"loss": nn.CrossEntropyLoss(), **changes}))


class Nothing:
    def run(self, train, source, schedules):
        while trials := source.take(1):
            yield TrialResult(trials[0], 1.0, "ok")


def test_the_label_is_that_of_version_0_1_whose_journals_go_on():
    x, y = torch.arange(12.0).reshape(6, 2), torch.tensor([0, 1, 0, 1, 1, 0])
    t = SupervisedTask(
        make_model=nn.Flatten,
        train_data=(x, y),
        loss=functional.cross_entropy,
        total_steps=7,
        batch_size=3,
        optimizer=torch.optim.AdamW,
        optimizer_options={"weight_decay": 0.1},
        clip_norm=0.5,
    )
    assert t.label == "robust_lr.training.task:SupervisedTask(sha=b81057e820bf)"
    # With validation data, version 0.1.0 returned the training objective as the loss: such a journal is another's.
    validated = replace(t, validation_data=(x, y))
    assert validated.label != "robust_lr.training.task:SupervisedTask(sha=f40a69cb7161)"


class Own(SupervisedTask):
    """A class of a user's own."""


def test_a_class_of_ones_own_is_labeled_by_its_own_name():
    own = Own(make_model=make_network, train_data=(X, Y), loss=functional.cross_entropy, total_steps=3, batch_size=2)
    assert own.label.startswith(f"{__name__}:Own(sha=")


def test_a_task_of_lambdas_needs_a_label_for_its_journal(tmp_path):
    t = task(make_model=lambda: nn.Linear(6, 3))
    with pytest.raises(JournalError, match=r"make_model=.*<lambda>.*label=") as error:
        run_sweep(t, [0.1], ["cosine"], 1, journal=tmp_path / "j.jsonl", runner=Nothing())
    assert "\n" not in str(error.value)
    run_sweep(t, [0.1], ["cosine"], 1, runner=Nothing())
    run_sweep(t, [0.1], ["cosine"], 1, journal=tmp_path / "j.jsonl", label="linear", runner=Nothing())


def test_a_task_of_data_that_print_as_nothing_needs_a_label_for_its_journal(tmp_path):
    with pytest.raises(JournalError, match=r"train_data=.*Rows.*label="):
        run_sweep(task(train_data=(Rows(X), Y)), [0.1], ["cosine"], 1, journal=tmp_path / "j.jsonl", runner=Nothing())


def test_the_label_of_a_task_survives_pickling_and_takes_every_kind_of_tensor():
    t = task(train_data=(X.bfloat16().requires_grad_(), Y), make_model=make_network)
    assert pickle.loads(pickle.dumps(t)).label == t.label and len(t.label) < 80
    assert t.label != task(train_data=(X.bfloat16() * 2, Y)).label


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_trial_on_a_gpu_is_repeatable_and_leaves_the_random_numbers_alone():
    t = task(make_model=make_dropout_network, device="cuda")
    torch.cuda.manual_seed(0)
    expected = torch.rand(3, device="cuda")
    torch.cuda.manual_seed(0)
    assert t(lr=0.1, schedule="cosine", seed=0) == t(lr=0.1, schedule="cosine", seed=0)
    assert torch.equal(torch.rand(3, device="cuda"), expected)
    on_cpu = task(device="cpu")(lr=0.1, schedule="cosine", seed=0)["loss"]
    assert task(device="cuda")(lr=0.1, schedule="cosine", seed=0)["loss"] == pytest.approx(on_cpu, rel=1e-3)


def test_an_edit_of_the_code_of_a_model_is_seen_in_the_fingerprint_of_its_task():
    own = Own(make_model=make_network, train_data=(X, Y), loss=functional.cross_entropy, total_steps=3, batch_size=2)
    parts = fingerprint_of(own)
    assert any(part.endswith(".py:make_network") for part in parts)
    assert changed_parts(parts, fingerprint_of(replace(own, check_every=7))) == []
    assert "attribute train_data" in changed_parts(parts, fingerprint_of(replace(own, train_data=(X + 1, Y))))
