"""What the source code of a loop says."""

import textwrap

import pytest

from robust_lr.doctor.source import Source, can_end_early


def written(folder, text):
    path = folder / "train.py"
    path.write_text(textwrap.dedent(text))
    return str(path), next(i for i, line in enumerate(path.read_text().splitlines(), 1) if "step()" in line)


@pytest.mark.parametrize(
    "text",
    [
        "for i in range(10):\n    step()\n    if loss > best:\n        break\n",
        "for i in range(10):\n    for j in range(3):\n        step()\n    if counter >= patience:\n        break\n",
        "while not done:\n    step()\n",
        "while step_number < 10 and not stopper.should_stop:\n    step()\n",
        "def train():\n    for i in range(10):\n        step()\n        if loss < 0.1:\n            return i\n",
        "for i in range(10):\n    step()\n    if i == 5:\n        break\n",
        "while True:\n    step()\n    if stop_now():\n        break\n",
        "step()\n",
    ],
)
def test_a_loop_that_may_end_early_is_seen(tmp_path, text):
    assert can_end_early([written(tmp_path, text)])


@pytest.mark.parametrize(
    "text",
    [
        "for i in range(10):\n    step()\n",
        "for i in range(10):\n    for batch in loader:\n        step()\n",
        "while i < 10:\n    step()\n    i += 1\n",
        "while True:\n    step()\n    if iter_num > max_iters:\n        break\n",
        "for e in range(10):\n    for i in loader:\n        step()\n        if i >= max_batches:\n            break\n",
        "for i in range(10):\n    step()\n    for x in found:\n        if x:\n            break\n",
    ],
)
def test_a_loop_that_takes_all_of_its_rounds_is_seen(tmp_path, text):
    assert not can_end_early([written(tmp_path, text)])


def test_without_a_source_a_loop_may_end_early():
    assert can_end_early([("<string>", 1)])
    assert can_end_early([])


@pytest.mark.parametrize(
    ("text", "is_relative", "numbers"),
    [
        ("s = Cosine(o, 10, eta_min=0.1 * lr)\nstep()\n", True, ()),
        ("min_lr = args.lr / 10\ns = Cosine(o, 10, eta_min=min_lr)\nstep()\n", True, ()),
        ("s = Cosine(o, 10, eta_min=1e-5)\nstep()\n", False, (1e-5,)),
        ("low = 1e-6\ns = Cosine(o, 10, eta_min=low)\nstep()\n", False, (1e-6,)),
        ("def build():\n    return Cosine(o, eta_min=lr * 0.1)\ndef main():\n    s = build()\n    step()\n", True, ()),
        ("def other():\n    return Cosine(o, eta_min=lr * 0.1)\ndef main():\n    step()\n", False, ()),
    ],
)
def test_the_floor_of_the_code_that_trains_is_read(tmp_path, text, is_relative, numbers):
    source = Source([written(tmp_path, text)])
    assert (source.has_relative_floor, source.literal_floors) == (is_relative, numbers)


@pytest.mark.parametrize(
    ("text", "wants"),
    [
        ("warmup_steps = int(0.01 * n)\nstep()\n", True),
        ("n_warmup = total // 100\nstep()\n", True),
        ("get_schedule_with_warmup(o, int(0.02 * n), n)\nstep()\n", True),
        ("schedule(o, num_warmup_steps=round(0.02 * n))\nstep()\n", True),
        ("warmup_steps = int(args.warmup_ratio * n)\nstep()\n", False),
        ("warmup = LambdaLR(o, lambda k: k / 10)\nstep()\n", False),
        ("get_schedule_with_warmup(o, 0, n)\nstep()\n", False),
    ],
)
def test_a_warmup_that_the_code_computes_is_seen(tmp_path, text, wants):
    assert Source([written(tmp_path, text)]).wants_warmup == wants
