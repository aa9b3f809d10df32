"""The HTML report of a search: the box answers, and every trial is in a table."""

from __future__ import annotations

import math
import re
from html import unescape

import pytest

from robust_lr import search_learning_rate
from robust_lr.report.search_report import write_search_report

pytest.importorskip("matplotlib")


def in_length(*, lr, schedule, seed, total_steps):
    return 0.0153 + 1 / total_steps + 0.03 * math.log(lr / 0.2) ** 2


def written(tmp_path, **options):
    result = search_learning_rate(in_length, 1e-3, 1.0, tolerance=0.02, total_steps=1000, progress=False, **options)
    write_search_report(result, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    box = dict(re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", page))
    return result, page, {unescape(name): unescape(text) for name, text in box.items()}


def test_the_box_says_everything_once(tmp_path):
    result, page, box = written(tmp_path)
    assert box["Best learning rate"].startswith(f"{result.lr:.4g} (loss ")
    assert box["What others could gain"].startswith("No learning rate from 0.001 to 1 is better by more than ")
    assert "Best learning rate" not in "".join(box.values())
    assert f"<p>{box['What others could gain']}" not in page


def test_over_horizons_the_box_has_the_probability_and_the_tables_every_trial(tmp_path):
    result, page, box = written(tmp_path, horizons=[0.1, 0.3, 1])
    assert result.excess_bound is None
    claim = box["What others could gain"]
    assert re.match(
        r"Nothing is better by more than the tolerance, with a probability of 0\.9\d?\. This assumes ", claim
    )
    assert "unknown" not in page
    for each in (result, *result.shorter):
        table = page.partition(f"Trials of {each.total_steps} steps</h3>")[2].partition("</table>")[0]
        lrs = re.findall(r"<tr><td>(.*?)</td>", table)
        assert lrs == [f"{lr:.4g}" for lr in sorted({one.lr for one in each.history})]
