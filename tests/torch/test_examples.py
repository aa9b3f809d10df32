"""Data of a SupervisedTask that are no pair of tensors: tuples, dicts, datasets, DataLoaders; alone and in packs."""

import pickle
import random
from collections import UserDict, namedtuple
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset, WeightedRandomSampler

from robust_lr import PackedRunner, run_sweep
from robust_lr._fingerprint import changed_parts, fingerprint_of
from robust_lr.exceptions import DataError, NotVectorizable
from robust_lr_torch.packing._plan import Planner
from tests.torch.tasks import SCHEDULES, D, K, Rows, alone, examples, packed, task, trials

torch.set_num_threads(1)

X, Y = examples()
FIRST, REST = X[:, :3], X[:, 3:]
BATCH = 7
Pair = namedtuple("Pair", "first rest")


class Network(nn.Module):
    """One network, whatever the form of its inputs."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(D, 11), nn.Tanh(), nn.Linear(11, K))

    def forward(self, first, rest=None, labels=None):
        return self.body(first if rest is None else torch.cat([first, rest], 1))


def loss_of_batch(outputs, batch):
    return functional.cross_entropy(outputs, batch["labels"])


def loss_of_class(outputs, targets):
    return functional.cross_entropy(outputs, targets["class"])


class Items(Dataset):
    def __len__(self):
        return len(X)

    def __getitem__(self, i):
        return FIRST[i], REST[i], int(Y[i])


class DictItems(Items):
    def __getitem__(self, i):
        return {"first": FIRST[i], "rest": REST[i], "labels": int(Y[i])}


def stacked(items):
    first, rest, labels = zip(*items, strict=True)
    return (torch.stack(first), torch.stack(rest)), torch.tensor(labels)


def loader(dataset, **options):
    return DataLoader(dataset, **{"batch_size": BATCH, "shuffle": True, **options})


DATA = {
    "a tuple of inputs": {"train_data": ((FIRST, REST), Y)},
    "a named tuple of inputs": {"train_data": (Pair(FIRST, REST), Y)},
    "a dict of inputs": {"train_data": ({"rest": REST, "first": FIRST}, Y)},
    "a mapping of inputs": {"train_data": (UserDict(first=FIRST, rest=REST), Y)},
    "a dict of targets": {"train_data": (X, {"class": Y}), "loss": loss_of_class},
    "two inputs, then targets": {"train_data": (FIRST, REST, Y)},
    "one dict": {"train_data": {"first": FIRST, "rest": REST, "labels": Y}, "loss": loss_of_batch},
    "rows of a dict": {"train_data": ({"first": Rows(FIRST), "rest": REST}, Y)},
    "a TensorDataset": {"train_data": TensorDataset(X, Y)},
    "a dataset": {"train_data": Items()},
    "a DataLoader of tensors": {"train_data": loader(TensorDataset(FIRST, REST, Y)), "batch_size": None},
    "a DataLoader of items": {"train_data": loader(Items(), drop_last=True), "batch_size": None},
    "a DataLoader with its own collate_fn": {"train_data": loader(Items(), collate_fn=stacked), "batch_size": None},
    "a DataLoader of dicts": {"train_data": loader(DictItems()), "batch_size": None, "loss": loss_of_batch},
}


@pytest.mark.parametrize("name", DATA)
def test_the_results_are_those_of_the_same_numbers_in_two_tensors_alone_and_in_a_pack(name):
    specs = trials()
    expected = {spec: figures["loss"] for spec, figures in alone(task(Network), specs).items()}
    t = task(Network, **DATA[name])
    assert {spec: figures["loss"] for spec, figures in alone(t, specs).items()} == pytest.approx(expected, abs=1e-7)
    together = packed(t, specs, slots=3)
    assert {spec: figures["loss"] for spec, figures in together.items()} == pytest.approx(expected, abs=1e-6)


def test_validation_data_may_be_a_loader_too():
    def error(outputs, targets):
        return (outputs.argmax(1) != targets).float().mean()

    of_tensors = task(Network, validation_data=(X[:9], Y[:9]), metrics={"error": error}, evaluation_batch_size=4)
    of_loader = replace(of_tensors, validation_data=DataLoader(TensorDataset(FIRST[:9], REST[:9], Y[:9]), batch_size=2))
    specs = trials(seeds=[0])
    expected = alone(of_tensors, specs)
    for spec, figures in alone(of_loader, specs).items():
        assert figures == pytest.approx(expected[spec], abs=1e-7)
    for spec, figures in packed(of_loader, specs, slots=2).items():
        assert figures == pytest.approx(expected[spec], abs=1e-6)


def test_a_loader_that_does_not_shuffle_gives_its_rows_in_their_order():
    ordered = task(Network, train_data=loader(TensorDataset(X, Y), shuffle=False), batch_size=None)
    rows = ordered.batch_indices(3)
    assert torch.equal(rows.flatten(), torch.arange(8 * BATCH) % len(X))
    specs = trials()
    expected = alone(ordered, specs)
    assert packed(ordered, specs, slots=3).keys() == expected.keys()
    for spec, figures in packed(ordered, specs, slots=3).items():
        assert figures["loss"] == pytest.approx(expected[spec]["loss"], abs=1e-6)


def test_a_linear_model_on_a_loader_is_trained_in_closed_form():
    t = task(lambda: nn.Linear(D, K), train_data=loader(TensorDataset(X, Y)), batch_size=None, total_steps=400)
    options = {"engine": "auto", "slots": "auto", "n_workers": 1, "device": None, "memory_limit": None}
    assert Planner(t, trials(), SCHEDULES, options).plan().engine == "closed_form"


class Augmented(Items):
    """Draws from Python's generator, which no seed of a trial sets."""

    def __getitem__(self, i):
        return X[i] + random.random(), int(Y[i])


def test_items_that_are_augmented_at_random_are_not_packed():
    t = task(Network, train_data=loader(Augmented()), batch_size=None)
    with pytest.raises(NotVectorizable, match="data draw random numbers"):
        run_sweep(t, [0.1, 0.2], ["cosine"], 1, runner=PackedRunner(engine="packed", strict=True), progress=False)


# The identity of a task


def test_the_label_and_the_fingerprint_of_a_loader_of_tensors_are_those_of_its_numbers():
    t, same, other = (
        task(Network, train_data=loader(TensorDataset(x, Y)), batch_size=None, loss=functional.cross_entropy)
        for x in (X, X.clone(), X + 1)
    )
    assert t.label == same.label != other.label and "<" not in t.label
    assert changed_parts(fingerprint_of(t), fingerprint_of(same)) == []
    assert changed_parts(fingerprint_of(t), fingerprint_of(other)) == ["attribute train_data"]
    list(t.train_data)  # which an iteration of the loader does not change
    assert changed_parts(fingerprint_of(t), fingerprint_of(same)) == []


def test_a_task_with_a_loader_pickles():
    t = task(Network, train_data=loader(Items()), batch_size=None)
    trial = {"lr": 0.1, "schedule": "cosine", "seed": 0}
    assert pickle.loads(pickle.dumps(t))(**trial) == t(**trial)


# What is refused


class Stream(IterableDataset):
    def __iter__(self):
        return iter(Items())


class Words(Items):
    def __getitem__(self, i):
        return X[i], "a word"


class Lonely(Items):
    def __getitem__(self, i):
        return X[i]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_data": loader(Stream(), shuffle=None)}, "an IterableDataset has none"),
        (
            {"train_data": loader(Items(), sampler=WeightedRandomSampler([1.0] * len(X), 40), shuffle=None)},
            "chooses its rows by a WeightedRandomSampler",
        ),
        ({"train_data": DataLoader(Items(), batch_size=None)}, "give the DataLoader a batch_size"),
        ({"train_data": DataLoader(Items(), batch_sampler=[[0, 1]])}, "chooses its rows by a list"),
        ({"train_data": loader(Items())}, "batch_size=9, but the DataLoader has batch_size=7"),
        ({"train_data": (X, Y), "batch_size": None}, "batch_size must be a whole number of at least 1, got None"),
        ({"train_data": loader(Words()), "batch_size": 7}, "must give tensors when indexed"),
        ({"train_data": Lonely()}, r"must give batches \(inputs, targets\) or dicts, got Tensor"),
        ({"train_data": ((FIRST, REST[:-1]), Y)}, "as many inputs as targets, and at least one; got 40 and 39 and 40"),
        ({"train_data": {}}, "at least one; got "),
        ({"train_data": (X,)}, "must be a pair"),
    ],
)
def test_data_that_cannot_be_chosen_by_a_seed_are_refused_in_one_line(changes, message):
    with pytest.raises(DataError, match=message) as error:
        task(**{"batch_size": 9, **changes})
    assert "\n" not in str(error.value)
