"""What the source code of a loop says."""

import textwrap

import pytest

from robust_lr.doctor.source import Source


def written(folder, text):
    path = folder / "train.py"
    path.write_text(textwrap.dedent(text))
    return str(path), next(i for i, line in enumerate(path.read_text().splitlines(), 1) if "step()" in line)


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
