"""What the source code of a loop says of its end."""

import pytest

from robust_lr.doctor.loops import EarlyEnd, early_end
from tests.doctor.test_source import written


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
        "for i in range(10):\n    step()\n    if trial.should_prune():\n        raise optuna.TrialPruned()\n",
        "try:\n    for i in range(10):\n        step()\n        check(loss)\nexcept StopTraining:\n    pass\n",
        "with suppress(Finished):\n    for i in range(10):\n        step()\n",
        "def check(x):\n    if x:\n        raise Stop\nfor i in range(10):\n    step()\n    check(i)\n",
        "for i in range(10):\n    if not stopper.stop:\n        step()\n",
        "for i in range(10):\n    if stopper.stop:\n        continue\n    step()\n",
        "for i in range(10):\n    step()\n    if loss < 0.1:\n        sys.exit()\n",
        "for i in takewhile(improves, range(10)):\n    step()\n",
        "while i < n:\n    step()\n    i += 1\n    if patience == 0:\n        i = n\n",
        "for i in range(10):\n    step()\n    try:\n        check()\n    except Stop:\n        break\n",
        "for i in range(10):\n    step()\n    match verdict:\n        case 'stop':\n            break\n",
    ],
)
def test_a_loop_that_may_end_early_is_seen(tmp_path, text):
    assert early_end([written(tmp_path, text)]) is EarlyEnd.MEANT


@pytest.mark.parametrize(
    "text",
    [
        "for i in range(10):\n    step()\n",
        "for i in range(10):\n    for batch in loader:\n        step()\n",
        "while i < 10:\n    step()\n    i += 1\n",
        "while True:\n    step()\n    if iter_num > max_iters:\n        break\n",
        "for e in range(10):\n    for i in loader:\n        step()\n        if i >= max_batches:\n            break\n",
        "for i in range(10):\n    if (i + 1) % accumulation_steps == 0:\n        step()\n",
        "def check(x):\n    if x < 0:\n        raise ValueError\nfor i in range(10):\n    step()\n    check(i)\n",
        "while True:\n    try:\n        batch = next(data)\n    except StopIteration:\n        break\n    step()\n",
        "try:\n    for i in range(10):\n        step()\nexcept Exception:\n    log()\n    raise\n",
        "for i in range(10):\n    step()\n    for x in found:\n        if x:\n            break\n",
    ],
)
def test_a_loop_that_takes_all_of_its_rounds_is_seen(tmp_path, text):
    assert early_end([written(tmp_path, text)]) is EarlyEnd.NO


def test_without_a_source_a_loop_may_end_early():
    assert early_end([("<string>", 1)]) is EarlyEnd.MEANT
    assert early_end([]) is EarlyEnd.MEANT


@pytest.mark.parametrize(
    "text",
    [
        "try:\n    for i in range(10):\n        step()\nexcept KeyboardInterrupt:\n    pass\n",
        "def main():\n    for i in range(10):\n        step()\n        if isnan(loss):\n            raise ValueError\n",
        "for i in range(10):\n    if isfinite(loss):\n        step()\n",
    ],
)
def test_what_may_be_cut_short_by_an_accident_is_seen(tmp_path, text):
    assert early_end([written(tmp_path, text)]) is EarlyEnd.POSSIBLE
