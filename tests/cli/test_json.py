"""`--json` of every command: what it prints is what the schemas in the package describe."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import jsonschema
import pytest
from referencing import Registry, Resource

from robust_lr import run_sweep
from robust_lr.cli.main import COMMANDS
from tests.cli.command_line import GOOD, LRS, TRAIN, VALLEY, Answer, sweep_arguments, write

NOISY = "lr,seed,optimizer,loss\n" + "".join(
    f"{lr},{s},{name},{v + 0.01 * ((i * 7 + s * 13) % 5) + 0.05 * (name == 'sgd')}\n"
    for i, (lr, v) in enumerate(zip(LRS, VALLEY, strict=True))
    for s in range(3)
    for name in ("adam", "sgd")
)
FAMILY = "size,lr,loss\n" + "".join(
    f"{size},{2.0**i},{1 + (i - 4 + k / 8) ** 2 / 50:.4f}\n" for k, size in enumerate(range(10, 40)) for i in range(9)
)


def strict(schema):
    """The same schema without fields that it does not describe."""
    if isinstance(schema, dict):
        closed = {"additionalProperties": False} if "properties" in schema else {}
        return closed | {key: strict(value) for key, value in schema.items()}
    return [strict(each) for each in schema] if isinstance(schema, list) else schema


SCHEMAS = {
    path.name.removesuffix(".schema.json"): json.loads(path.read_text(encoding="utf-8"))
    for path in (files("robust_lr") / "json_schemas").iterdir()
}
REGISTRY = Registry().with_resources(
    [(schema["$id"], Resource.from_contents(strict(schema))) for schema in SCHEMAS.values()]
)


def valid(name, content):
    jsonschema.Draft202012Validator(strict(SCHEMAS[name]), registry=REGISTRY).validate(content)
    return content


SEARCH = ["search", "valley_for_json:train", "--lr-min", 0.01, "--lr-max", 1, "--tolerance", 0.01]
BY_SIZE = ["prior.csv", "--group-by", "size"]
PLAN = ["plan", "--schedule", "cosine", "--lr-min", 1e-4, "--lr-max", 0.1, "--max-suboptimality-increase", "50%"]
CALLS = {
    "plan": ("plan", PLAN),
    "run, dry": ("dry-run", [*sweep_arguments("valley_for_json:train"), "--dry-run", "--seconds-per-trial", 90]),
    "search, dry": (
        "dry-run",
        ["search", "--command", "echo {lr}", "--lr-min", 0.01, "--lr-max", 1, "--dry-run"],
    ),
    "run": ("analysis", sweep_arguments("valley_for_json:train")),
    "search": ("search", SEARCH),
    "analyze": ("analysis", ["analyze", "good.csv", "--tolerance", 0.1]),
    "analyze, one seed": ("analysis", ["analyze", "good.csv", "--where", "seed=0"]),
    "analyze, several": ("analyses", ["analyze", "noisy.csv", "--group-by", "optimizer"]),
    "analyze, many": ("analyses", ["analyze", *BY_SIZE]),
    "check": ("check", ["check", "good.csv", "--expect-lr", 16, "--tolerance", "1%"]),
    "check, outside": ("check", ["check", "good.csv", "--expect-lr", 1e6]),
    "compare": ("comparison", ["compare", "noisy.csv", "--by", "optimizer"]),
    "noise": ("noise", ["noise", "noisy.csv", "--where", "optimizer=sgd"]),
    "learn": ("prior", ["learn", *BY_SIZE, "--output", "p.json"]),
    "suggest": ("suggestion", ["suggest", "p.json", "--at", "size=20", "--tolerance", 0.05]),
    "doctor": ("doctor", ["doctor", "log.csv"]),
}


@pytest.fixture
def inputs(robust_lr):
    write("valley_for_json.py", TRAIN)
    write("good.csv", GOOD)
    write("noisy.csv", NOISY)
    write("prior.csv", FAMILY)
    write("log.csv", "step,lr\n" + "".join(f"{i},{0.1 if i < 50 else 0.1 * (i - 40)}\n" for i in range(100)))


@pytest.mark.parametrize("call", CALLS)
def test_a_program_reads_the_answer_by_its_schema(robust_lr, inputs, call):
    name, words = CALLS[call]
    if name == "suggestion":
        robust_lr("learn", *BY_SIZE, "--output", "p.json")
    answer = robust_lr(*words, "--json")
    content = valid(name, json.loads(answer.out))
    assert answer.code in (0, 1) and answer.err  # the words are there, on stderr
    again = robust_lr(*words, "--json", "out.json")
    assert again.code == answer.code and json.loads(Path("out.json").read_text()).keys() == content.keys()


def test_a_search_says_in_its_json_what_its_words_say(robust_lr):
    write("deaf_for_json.py", "def train(*, lr, schedule, seed):\n    return (lr - 0.1) ** 2 + 1.0\n")
    words = ["search", "deaf_for_json:train", "--lr-min", 0.01, "--lr-max", 1, "--tolerance", 0.01]
    answer = robust_lr(*words, "--json")
    content = valid("search", json.loads(answer.out))
    (note,) = content["notes"]
    assert "the training seems to ignore its seed" in note and note in answer.err
    assert content["next"] and f"For more: {content['next']}." in answer.err


def test_every_command_has_json_and_every_schema_a_command(robust_lr):
    called = {call.partition(",")[0] for call in CALLS} | {"collect", "demo"}  # below; and in the demo's own test
    assert called == set(COMMANDS)
    assert {name for name, _ in CALLS.values()} | {"collect"} == set(SCHEMAS)
    for name in COMMANDS:
        assert "--json" in robust_lr(name, "--help").out


def test_a_job_array_says_what_was_collected(robust_lr):
    write("train.py", "import sys\nprint('{\"loss\": %g}' % (float(sys.argv[1]) - 0.1) ** 2)\n")
    line = ["--command", "python train.py {lr}", "--seeds", 1, "--n-points", 3, "--schedules", "constant"]
    script = robust_lr("run", *line, "--lr-min", 0.01, "--lr-max", 1, "--emit", "shell", "--trials-dir", "t").out
    assert len(script.splitlines()) == 3
    from robust_lr.commands.job import run_job_trial

    run_job_trial("t", 1)
    content = valid("collect", json.loads(robust_lr("collect", "t", "--json").out))
    assert content == {"schema": 1, "journal": "sweep.jsonl", "n_trials": 3, "n_results": 1, "n_new": 1}


def run_alone(*words):
    done = subprocess.run(
        [sys.executable, "-m", "robust_lr", *map(str, words)], check=False, capture_output=True, text=True
    )
    return Answer(done.returncode, done.stdout, done.stderr)


def test_what_a_training_prints_stays_out_of_the_json(robust_lr):
    write(
        "printing_for_json.py",
        "def train(*, lr, schedule, seed):\n    print('step 1', flush=True)\n    return (lr - 0.1) ** 2\n",
    )
    for n_jobs in (1, 2):
        words = [
            *sweep_arguments("printing_for_json:train"),
            "--n-jobs",
            n_jobs,
            "--journal",
            f"{n_jobs}.jsonl",
            "--json",
        ]
        answer = run_alone(*words)
        assert valid("analysis", json.loads(answer.out))["n_trials"] == 10
        assert "step 1" in answer.err


def test_an_error_leaves_stdout_empty(robust_lr):
    answer = robust_lr("analyze", "missing.csv", "--json")
    assert (answer.code, answer.out) == (2, "") and "missing.csv" in answer.err


@pytest.mark.parametrize("option", ["--json", "--report"])
def test_an_output_named_like_my_journal_does_not_overwrite_it(robust_lr, option):
    run_sweep(valley, LRS, ["constant"], 1, journal="mine.jsonl", label="x")
    before = Path("mine.jsonl").read_bytes()
    answer = robust_lr("analyze", "mine.jsonl", option, "mine.jsonl")
    assert (answer.code, Path("mine.jsonl").read_bytes()) == (2, before)
    assert answer.err == f"error: {option} would overwrite mine.jsonl, which is a journal: name another file\n"


@pytest.mark.parametrize("option", ["--json", "--report"])
def test_an_output_named_like_what_is_read_does_not_overwrite_it(robust_lr, option):
    Path("runs.csv").write_text("lr,loss\n0.1,1\n0.2,2\n0.4,3\n")
    answer = robust_lr("analyze", "runs.csv", option, "./runs.csv")
    assert answer.code == 2 and Path("runs.csv").read_text().startswith("lr,loss")
    assert answer.err == f"error: {option} would overwrite ./runs.csv, which this command reads: name another file\n"


@pytest.mark.parametrize("name", ["none/out", "folder", "9" * 300], ids=["no folder", "a folder", "too long"])
def test_an_output_that_cannot_be_written_is_refused_before_any_training(robust_lr, name):
    Path("folder").mkdir()
    answer = robust_lr(
        "run", f"{__name__}:valley", "--lr-min", "0.1", "--lr-max", "1", "--schedules", "constant", "--seeds", "1",
        "--journal", "j.jsonl", "--json", name,
    )  # fmt: skip
    assert answer.code == 2 and not Path("j.jsonl").exists()
    assert answer.err.startswith(f"error: cannot write {name}: ") and answer.err.count("\n") == 1


def test_a_journal_that_is_yet_to_be_written_is_no_place_for_an_output(robust_lr):
    answer = robust_lr(
        "run", f"{__name__}:valley", "--lr-min", "0.1", "--lr-max", "1", "--schedules", "constant", "--seeds", "1",
        "--journal", "j.jsonl", "--json", "j.jsonl",
    )  # fmt: skip
    assert answer.code == 2 and "would overwrite j.jsonl" in answer.err and not Path("j.jsonl").exists()


def valley(*, lr, schedule, seed):
    return lr
