"""The HTML report of many sweeps."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from robust_lr import SweepCollection, analyze_sweep
from robust_lr.collection import analyze_collection
from robust_lr.report.collection_report import MOST_ROWS, write_collection_report
from tests.collection.synthetic import LRS, collection, sweep, valley


def report(analysis, path, **options):
    write_collection_report(analysis, path, **options)
    return path.read_text()


def test_a_report_of_many_sweeps_is_small(tmp_path):
    html = report(analyze_collection(collection(100, 6)), tmp_path / "r.html")
    assert len(html) < 500_000
    assert html.index("Next sweep") < html.index("<img") < html.index("<svg class='small'")
    assert html.count("<tr>") < MOST_ROWS + 20 and f"The {MOST_ROWS} of 600 sweeps" in html


def test_every_small_panel_is_a_picture_with_a_text(tmp_path):
    html = report(analyze_collection(collection()), tmp_path / "r.html")
    panels = re.findall(r"<svg class='small'.*?</svg>", html)
    assert len(panels) == 8
    for panel in panels:
        element = ElementTree.fromstring(panel)
        assert element.get("aria-label", "").startswith("size ")
        assert len(element.findall("polyline")) == 7
        assert {"peak learning rate", "loss above the best"} <= {text.text for text in element.findall("text")}


def test_names_from_the_data_are_no_markup(tmp_path):
    pairs = [({"d": f"<script>'\"{i}"}, sweep(valley(LRS, i % 3))) for i in range(6)]
    html = report(analyze_collection(SweepCollection.from_sweeps(pairs)), tmp_path / "r.html")
    assert "<script" not in html and "&lt;script&gt;" in html


def test_a_few_sweeps_have_their_own_parts(tmp_path):
    some = collection(2, 2)
    analyses = {each.label: analyze_sweep(each.sweep) for each in some}
    html = report(analyze_collection(some), tmp_path / "r.html", analyses=analyses)
    assert all(f"<h2>{label}</h2>" in html for label in analyses)
