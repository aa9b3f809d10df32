"""The Python of the pages about trainers runs as it is, block after block."""

import re
from pathlib import Path

import pytest

from tests.hf.tiny import QUIET as OF_HF
from tests.hf.tiny import cheap_collections
from tests.lightning.tiny import QUIET as OF_LIGHTNING

DOCS = Path(__file__).parents[2] / "docs"
pytestmark = [
    *(pytest.mark.filterwarnings(line) for line in [*OF_HF, *OF_LIGHTNING]),
    pytest.mark.filterwarnings("ignore:.*log_every_n_steps"),
]


@pytest.mark.parametrize(
    ("page", "prints"),
    [
        ("huggingface", r"2 learning rates 0.001..0.01; 2 seeds; 8 results, 0 diverged"),
        ("lightning", r"\{'train_loss': \d"),
        ("accelerate", r'\[0.0\]\n(.*\n)*\{"loss": \d.\d+\}'),
    ],
    ids=["huggingface", "lightning", "accelerate"],
)
def test_the_python_of_a_page_runs_and_prints_what_it_should(page, prints, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    names = {}
    with cheap_collections():
        for code in re.findall(r"```python\n(.*?)```", (DOCS / f"{page}.md").read_text(), re.DOTALL):
            exec(compile(code, f"{page}.md", "exec"), names)
    assert re.search(prints, capsys.readouterr().out)
