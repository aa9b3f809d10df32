"""Labels: different things have different ones, the same thing the same in every process, and vague ones are known."""

from __future__ import annotations

import functools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from robust_lr._labels import is_vague, label_of

BIG = np.zeros((1, 3000))
OBJECTS = np.array([1, "a", None], dtype=object)


def named(*arguments, **options):
    """A function with a name."""


class Bare:
    @classmethod
    def make(cls):
        """A method that needs no object."""


class Heir(Bare):
    pass


@pytest.mark.parametrize(
    "one, other",
    [
        (BIG, BIG + (np.arange(3000) == 1500)),
        (BIG, BIG.T),
        (BIG, BIG.astype(np.float32)),
        (OBJECTS, OBJECTS[::-1]),
        (np.array("2026-01-01", "M8[D]"), np.array("2026-01-02", "M8[D]")),
        (np.array(1.0), 1.0),
        ([BIG], [BIG + 1]),
        ({"a": BIG}, {"a": BIG + 1}),
        ({1, 2}, {1, 3}),
        ("a" * 500, "a" * 499 + "b"),
        ("a  b", "a b"),
        (named, functools.partial(named, 1)),
        (functools.partial(named, 1), functools.partial(named, "1")),
        (Bare.make, Heir.make),
        (Path("a"), Path("b")),
        (float, int),
    ],
)
def test_different_things_have_different_short_labels(one, other):
    labels = [label_of(one), label_of(other)]
    assert labels[0] != labels[1] and not any(map(is_vague, labels))
    assert all("\n" not in label and len(label) < 200 for label in labels)


@pytest.mark.parametrize(
    "value",
    [
        lambda: 0,
        Bare(),
        [Bare()],
        {"a": [Bare()] * 50},
        functools.partial(named, key=Bare()),
        np.array([Bare()]),
        (i for i in ()),
        {Bare()},
    ],
)
def test_what_has_no_text_is_vague(value):
    assert is_vague(label_of(value))
    assert is_vague(label_of([value]))


def test_a_label_is_the_same_in_every_process():
    code = "from robust_lr._labels import label_of; print(label_of([{'a', 'b', 'c', 'd'}, {'x': 0.1}, len]))"
    assert len({subprocess.check_output([sys.executable, "-c", code]) for _ in range(3)}) == 1


def test_a_function_in_a_wrapper_without_arguments_keeps_its_name():
    assert label_of(functools.partial(named)) == label_of(named) == f"{__name__}:named"


def test_a_network_counts_with_its_weights_and_its_options():
    torch = pytest.importorskip("torch")
    layer = torch.nn.Linear(2, 1)
    before = label_of(functools.partial(named, layer))
    assert before == label_of(functools.partial(named, layer)) and not is_vague(before)
    with torch.no_grad():
        layer.weight += 1
    assert label_of(functools.partial(named, layer)) != before
    assert label_of(torch.nn.ReLU()) != label_of(torch.nn.Tanh())
