"""A fingerprint changes with what a training function computes, and with nothing else."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import json
import os
import re
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from robust_lr._fingerprint import changed_parts, fingerprint_of

MODULES = {
    "edited_train": '''
    """A module."""
    import argparse
    import functools
    import os
    import time
    from pathlib import Path

    import edited_helpers
    from edited_helpers import TABLE_OF_RATES, Net, decorate, loss
    from math import exp as growth

    WIDTH = 4
    OPTIONS = {"depth": 2}
    UNUSED = 1
    SCALES = [edited_helpers.SHIFT * 2]
    STARTED = time.time()
    FOLDER = f"runs/{STARTED}"
    TABLE = "table.csv"
    WORDS = Path(__file__).parent / "words.txt"
    filled = []
    settings = {}
    parser = argparse.ArgumentParser()
    parser.add_argument("--rate", default=0.5)
    ARGUMENTS = parser.parse_args([])
    history = []

    def keep(store, x):
        store.append(x)

    def inner(x):
        """Double."""
        return x * 2

    def fill():
        settings["rate"] = 0.1
        settings["x"] = 1
    fill()

    def shifted(x):
        return x + shifted.by
    shifted.by = 3

    @functools.singledispatch
    def size_of(x):
        return 1

    @size_of.register
    def _(x: float):
        return 5

    def spread(*, lr, schedule, seed):
        return lr * settings["x"] + shifted(lr) + size_of(lr) + edited_helpers.rows("rows.csv")

    @decorate
    def train(*, lr, schedule, seed, momentum=0.9, act=inner):
        """Train."""
        def step(x):  # one step
            return x + OPTIONS["depth"]
        history.append(lr)
        keep(filled, lr)
        assert WORDS.read_text()
        with open("log.txt", "a") as log:
            log.write(FOLDER)
        with open("data.csv") as data:
            rows = len(data.read()) + len(Path(TABLE).read_text())
        total = rows + int(os.environ.get("EDITED_SIZE", "1")) + SCALES[0]
        return step(loss(lr) + edited_helpers.penalty(WIDTH)) + total + ARGUMENTS.rate + growth(0)

    class Log:
        pass

    def made(width):
        def train(*, lr, schedule, seed):
            return lr * width
        return train

    def late(*, lr, schedule, seed):
        from edited_late import offset
        return lr + offset()

    class Task:
        label = "task"
        factor = 3

        def __init__(self, width, form="plain"):
            self.form = form
            self.width, self.calls = width, 0
            self.model = Net()

        @functools.cached_property
        def offset(self):
            return 1.0

        def __call__(self, *, lr, schedule, seed):
            self.calls += 1
            self.width = self.width
            log = Log()
            log.form = "once"
            return self.model.forward(lr) * self.width * self.factor + self.offset

    def tabulated(*, lr, schedule, seed):
        return float(TABLE_OF_RATES.sum()) + lr

    local = made(3)
    partly = functools.partial(train, momentum=0.8)
    task = Task(2, "long")
    first = lambda *, lr, schedule, seed: lr
    if __name__ == "__main__":
        print(train)
    ''',
    "edited_helpers": """
    import functools
    import numpy

    SHIFT = 1
    TABLE_OF_RATES = numpy.array([1.0, 2.0]) * SHIFT

    def loss(x):
        return x + SHIFT

    def penalty(w):
        return 0.1 * w

    def rows(name):
        with open(name) as lines:
            return len(lines.read())

    def unused():
        return 0

    def decorate(function):
        @functools.wraps(function)
        def wrapper(**options):
            return function(**options)
        return wrapper

    class Base:
        def scale(self, x):
            return x

    class Net(Base):
        def forward(self, x):
            return self.scale(x) + penalty(x)
    """,
    "edited_late": "def offset():\n    return 1\n",
}
FILES = {"words.txt": "one", "data.csv": "1,2\n", "table.csv": "3\n", "rows.csv": "7\n", "log.txt": "begun\n"}

# (function, file, old text, new text, the parts that change)
TRAIN, HELPERS, LATE = (f"{name}.py" for name in MODULES)
CHANGES = [
    ("body", "train", TRAIN, "+ total +", "- total +", [f"{TRAIN}:train"]),
    ("nested function", "train", TRAIN, "return x + OPTIONS", "return x - OPTIONS", [f"{TRAIN}:train"]),
    ("helper", "train", TRAIN, "return x * 2", "return x * 3", [f"{TRAIN}:inner"]),
    ("helper in another module", "train", HELPERS, "return x + SHIFT", "return x - SHIFT", [f"{HELPERS}:loss"]),
    ("helper by its module", "train", HELPERS, "0.1 * w", "0.2 * w", [f"{HELPERS}:penalty"]),
    ("constant", "train", TRAIN, "WIDTH = 4", "WIDTH = 5", [f"{TRAIN}:WIDTH"]),
    ("constant in a container", "train", TRAIN, '"depth": 2', '"depth": 3', [f"{TRAIN}:OPTIONS"]),
    ("constant in another module", "train", HELPERS, "SHIFT = 1", "SHIFT = 2", [f"{TRAIN}:SCALES", f"{HELPERS}:SHIFT"]),
    ("array in another module", "tabulated", HELPERS, "[1.0, 2.0]", "[1.0, 3.0]", [f"{HELPERS}:TABLE_OF_RATES"]),
    ("default argument", "train", TRAIN, "momentum=0.9", "momentum=0.8", None),
    ("default that is a function", "train", TRAIN, "act=inner", "act=loss", None),
    (
        "argument of the command line",
        "train",
        TRAIN,
        "default=0.5",
        "default=0.6",
        [f"{TRAIN}:ARGUMENTS", f"{TRAIN}:parser"],
    ),
    ("imported name", "train", TRAIN, "from math import exp as", "from math import log1p as", [f"{TRAIN}:growth"]),
    ("decorator", "train", HELPERS, "return function(**options)", "return -function(**options)", None),
    ("decorator removed", "train", TRAIN, "@decorate\n", "", None),
    ("closure value", "local", TRAIN, "made(3)", "made(4)", [f"{TRAIN}:made.train, closure value width"]),
    ("partial argument", "partly", TRAIN, "momentum=0.8", "momentum=0.7", ["argument momentum"]),
    ("attribute of an object", "task", TRAIN, "Task(2,", "Task(5,", ["attribute width"]),
    ("method", "task", TRAIN, "* self.width", "+ self.width", [f"{TRAIN}:Task.__call__"]),
    ("class attribute", "task", TRAIN, "factor = 3", "factor = 4", [f"{TRAIN}:Task", f"{TRAIN}:Task.factor"]),
    ("class of an attribute", "task", HELPERS, "+ penalty(x)", "- penalty(x)", [f"{HELPERS}:Net.forward"]),
    ("base class", "task", HELPERS, "return x\n", "return 2 * x\n", [f"{HELPERS}:Base.scale"]),
    ("lambda", "first", TRAIN, "seed: lr\n", "seed: -lr\n", [f"{TRAIN}:<lambda>"]),
    ("renamed local variable", "train", TRAIN, "rows", "lines", [f"{TRAIN}:train"]),
    ("import in a function", "late", LATE, "return 1", "return 2", [LATE]),
    ("data file", "train", "data.csv", "1,2", "1,3", ["file data.csv"]),
    ("data file named by a constant", "train", "table.csv", "3", "4", ["file table.csv"]),
    ("data file given to a function", "spread", "rows.csv", "7", "8", ["file rows.csv"]),
    ("function that fills a global", "spread", TRAIN, '["x"] = 1', '["x"] = 2', [f"{TRAIN}:fill"]),
    ("attribute of a function", "spread", TRAIN, "shifted.by = 3", "shifted.by = 4", None),
    ("implementation for a type", "spread", TRAIN, "return 5", "return 6", [f"{TRAIN}:_"]),
    ("type of an implementation", "spread", TRAIN, "x: float", "x: int", None),
    ("attribute that another class changes", "task", TRAIN, '"long")', '"short")', ["attribute form"]),
    ("data file beside the module", "train", "words.txt", "one", "two", None),
]
NO_CHANGES = [
    ("comment", "train", TRAIN, "# one step", "# a step"),
    ("blank lines", "train", TRAIN, "    history.append", "\n\n    history.append"),
    ("docstring", "train", TRAIN, '"""Train."""', '"""Train once."""'),
    ("docstring removed", "train", TRAIN, '    """Double."""\n', ""),
    ("docstring of the module", "train", TRAIN, '"""A module."""', '"""Another."""'),
    ("formatting", "train", TRAIN, "return step(loss(lr) +", "return step(\n        loss( lr )\n        +"),
    ("quotes", "train", TRAIN, '"depth"', "'depth'"),
    ("annotation", "train", TRAIN, "def inner(x):", "def inner(x: float) -> float:"),
    ("code that is not used", "train", TRAIN, "UNUSED = 1", "UNUSED = 2"),
    ("helper that is not used", "train", HELPERS, "return 0\n", "return 1\n"),
    ("main guard", "train", TRAIN, "print(train)", "print(task)"),
    ("log that the function writes", "train", "log.txt", "begun", "ended"),
    ("lines above", "train", TRAIN, "def inner", "def other():\n    return 3\n\ndef inner"),
]


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    for name, text in MODULES.items():
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(text))
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    yield tmp_path
    forget()


def forget():
    for name in MODULES:
        sys.modules.pop(name, None)


def load(function):
    """The function as a new process sees it."""
    forget()
    importlib.invalidate_caches()
    return getattr(importlib.import_module("edited_train"), function)


def edited(project, function, file, old, new):
    before = fingerprint_of(load(function))
    text = (project / file).read_text()
    assert old in text
    (project / file).write_text(text.replace(old, new))
    return changed_parts(before, fingerprint_of(load(function)))


@pytest.mark.parametrize(("kind", "function", "file", "old", "new", "parts"), CHANGES, ids=[c[0] for c in CHANGES])
def test_an_edit_that_may_change_results_is_seen_and_named(project, kind, function, file, old, new, parts):
    found = edited(project, function, file, old, new)
    assert found if parts is None else sorted(found) == sorted(parts)


@pytest.mark.parametrize(("kind", "function", "file", "old", "new"), NO_CHANGES, ids=[c[0] for c in NO_CHANGES])
def test_an_edit_that_cannot_change_results_is_no_change(project, kind, function, file, old, new):
    assert edited(project, function, file, old, new) == []


def test_the_page_lists_every_kind_of_edit_with_its_outcome():
    page = (Path(__file__).resolve().parents[2] / "docs" / "how-to" / "resuming.md").read_text()
    rows = dict(re.findall(r"^\| (.+?) \| (refused|reused)", page, re.MULTILINE))
    assert {c[0] for c in CHANGES} <= {kind for kind, outcome in rows.items() if outcome == "refused"}
    assert {c[0] for c in NO_CHANGES} == {kind for kind, outcome in rows.items() if outcome == "reused"}


FILLED = """
settings, history = {}, []
def put(store, rate):
    store["rate"] = rate
def fill(rate):
    put(settings, rate)
    settings["x"] = rate
def main():
    sweep_of(train, 3)
def sweep_of(function, n): pass
def train(*, lr, schedule, seed):
    history.append(lr)
    return lr * settings["x"]
if settings == {}:
    done = fill(1)
main()
"""


@pytest.mark.parametrize(("old", "new", "is_seen"), [("fill(1)", "fill(2)", True), ("(train, 3)", "(train, 4)", False)])
def test_a_call_counts_if_it_fills_a_global_that_the_function_reads(project, old, new, is_seen):
    (project / TRAIN).write_text(FILLED)
    found = edited(project, "train", TRAIN, old, new)
    assert found == ([f"{TRAIN}:settings"] if is_seen else [])


def test_an_environment_variable_that_the_code_names_counts(project, monkeypatch):
    before = fingerprint_of(load("train"))
    monkeypatch.setenv("EDITED_SIZE", "7")
    assert changed_parts(before, fingerprint_of(load("train"))) == ["environment variable EDITED_SIZE"]


def test_the_same_code_has_the_same_fingerprint_in_every_process_and_folder(project):
    code = "import json, sys, edited_train, robust_lr._fingerprint as f; print(json.dumps(f.fingerprint_of({})))"
    for function in ("edited_train.train", "edited_train.task", "edited_train.local"):
        command = [sys.executable, "-c", code.format(function)]
        found = []
        for seed in ("1", "2"):
            env = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)}
            found.append(json.loads(subprocess.run(command, env=env, capture_output=True, check=True).stdout))
        assert found[0] == found[1] == fingerprint_of(load(function.partition(".")[2]))


def test_a_project_that_moved_is_the_same(project, monkeypatch, tmp_path_factory):
    before = fingerprint_of(load("train"))
    other = tmp_path_factory.mktemp("moved") / "project"
    project.rename(other)
    monkeypatch.chdir(other)
    monkeypatch.syspath_prepend(str(other))
    assert changed_parts(before, fingerprint_of(load("train"))) == []
    project.mkdir()


def test_training_does_not_change_the_fingerprint(project):
    for name in ("train", "task", "late", "spread"):
        function = load(name)
        before = fingerprint_of(function)
        function(lr=0.1, schedule=None, seed=0)
        assert changed_parts(before, fingerprint_of(function)) == []


def test_a_file_edited_after_it_was_loaded_does_not_count_because_the_old_code_runs(project):
    train = load("train")
    before = fingerprint_of(train)
    file = project / TRAIN
    file.write_text(file.read_text().replace("+ total +", "- total +"))
    assert changed_parts(before, fingerprint_of(train)) == []


def test_state_that_the_code_changes_is_no_part_of_it():
    calls, cache, n = [], {}, 0

    def train(*, lr, schedule, seed, seen=[]):  # noqa: B006
        nonlocal n
        n += 1
        cache[lr] = seed
        calls.append(lr)
        seen.append(lr)
        return lr

    before = fingerprint_of(train)
    train(lr=0.1, schedule=None, seed=0)
    assert changed_parts(before, fingerprint_of(train)) == []


def test_an_array_in_a_closure_counts():
    def make(data):
        return lambda *, lr, schedule, seed: lr * data.sum()

    one, other = fingerprint_of(make(np.zeros(3))), fingerprint_of(make(np.ones(3)))
    assert [part.rpartition(", ")[2] for part in changed_parts(one, other)] == ["closure value data"]
    assert changed_parts(one, fingerprint_of(make(np.zeros(3)))) == []


def test_code_without_a_source_is_compared_as_bytecode_under_one_version_of_python_only():
    def made(text):
        scope = {"__name__": "typed"}
        exec(text, scope)
        return fingerprint_of(scope["train"])

    one = made("def train(*, lr, schedule, seed): return lr + 1")
    assert changed_parts(one, made("def train(*, lr, schedule, seed): return lr + 2")) == ["typed.py:train"]
    assert changed_parts(one, made("def train(*, lr, schedule, seed):\n\n    return lr + 1  # one")) == []
    older = {name: text.replace(sys.implementation.cache_tag, "cpython-310") for name, text in one.items()}
    assert changed_parts(older, made("def train(*, lr, schedule, seed): return lr + 2")) == []


class Odd:
    """It refuses to be looked at."""

    def __init__(self):
        self.me, self.ring, self.lock = self, [], threading.Lock()
        self.ring.append(self.ring)

    def __getattr__(self, name):
        raise RuntimeError(name)

    def __eq__(self, other):
        raise ValueError("no comparison")

    __hash__ = None

    def __call__(self, *, lr, schedule, seed):
        return lr


@dataclasses.dataclass
class Plain:
    width: int = 3

    def __call__(self, *, lr, schedule, seed):
        return lr * self.width


def test_an_odd_object_has_a_fingerprint_that_stays():
    parts = fingerprint_of(Odd())
    assert any(part.endswith("Odd.__call__") for part in parts) and changed_parts(parts, fingerprint_of(Odd())) == []


def test_a_dataclass_counts_by_its_attributes_and_its_own_methods():
    assert changed_parts(fingerprint_of(Plain()), fingerprint_of(Plain(3))) == []
    assert changed_parts(fingerprint_of(Plain()), fingerprint_of(Plain(4))) == ["attribute width"]
    assert not any(":" in digest for digest in fingerprint_of(Plain()).values()), "all of it has a source"


@pytest.mark.parametrize("train", [len, functools.partial(max, 1), np.add, functools.cache(len), object(), 7])
def test_what_has_no_code_of_the_users_own_has_a_fingerprint_that_stays(train):
    assert changed_parts(fingerprint_of(train), fingerprint_of(train)) == []


def test_an_object_may_say_what_stands_for_it():
    class Command:
        def __init__(self, words):
            self.words, self.opened = words, time.time()

        def __call__(self, *, lr, schedule, seed):
            return lr

        def __robust_lr_fingerprint__(self):
            return {"command": self.words}

    one, same, other = (fingerprint_of(Command(words)) for words in (["train", "-x"], ["train", "-x"], ["train"]))
    assert changed_parts(one, same) == [] and changed_parts(one, other) == ["attribute command"]


def test_fingerprints_of_another_scheme_or_none_are_not_compared():
    assert changed_parts({}, {"scheme": "1", "a": "1"}) == []
    assert changed_parts({"scheme": "0", "a": "2"}, {"scheme": "1", "a": "1"}) == []
    assert changed_parts({"scheme": "1", "a": "2"}, {"scheme": "1", "a": "1"}) == ["a"]
