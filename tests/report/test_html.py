"""The report: one file that needs nothing beside it and says what the terminal says."""

from __future__ import annotations

import base64
import math
import re
from html import unescape
from html.parser import HTMLParser

import numpy as np
import pytest

from robust_lr import SweepResult
from robust_lr._page import Box, Line
from robust_lr.analysis import analyze_sweep
from robust_lr.report.answer import answer_box
from robust_lr.report.figures import answer_chart
from robust_lr.report.html import Heading, write_page, write_report
from robust_lr.report.words import headline

INF, NAN = math.inf, math.nan
VALLEY = [3.0, 1.5, 1.2, 1.05, 1.0, 1.04, 1.3, 2.0, 4.0]
EVIL = "<script>alert('x')</script>&\"'"


def analysis_of(*valleys, names=("constant", "cosine"), n_seeds=3, **more):
    loss = np.array(valleys, float)[:, :, None] + np.arange(float(n_seeds))
    sweep = SweepResult(names[: len(valleys)], 2.0 ** np.arange(loss.shape[1]), range(n_seeds), loss, **more)
    return analyze_sweep(sweep, tolerance=0.0501)


def written(tmp_path, analyses, **options):
    path = tmp_path / "report.html"
    write_report(analyses, path, **options)
    return path.read_text(encoding="utf-8")


def test_the_answer_and_its_picture_come_before_tables_and_reasons(tmp_path):
    html = written(tmp_path, analysis_of(VALLEY, [v + 0.3 for v in VALLEY]))
    places = [html.index(part) for part in ("<section class='answer", "<figure", "<table", "<ul>")]
    assert places == sorted(places)


def test_on_a_narrow_screen_nothing_is_wider_than_the_page(tmp_path):
    html = written(tmp_path, analysis_of(VALLEY, VALLEY[::-1]))
    assert 'name="viewport" content="width=device-width' in html
    assert html.count("<table") == html.count("<div class='wide'><table")
    for image in re.findall(r"base64,([^']+)'", html):
        width = float(re.search(r'width="([\d.]+)pt"', base64.b64decode(image).decode())[1])
        assert width * 4 / 3 <= 420  # pixels: its text keeps nearly its size at 390


def test_several_analyses_begin_with_one_box_for_all(tmp_path):
    html = written(tmp_path, [("steps = 1", analysis_of(VALLEY)), ("steps = 2", analysis_of(VALLEY[:5]))])
    first = html[html.index("<section") : html.index("</section>")]
    assert "<dt>steps = 1</dt>" in first and "run next: 1 learning rate above 16" in first


def test_a_page_is_made_of_blocks_and_charts_in_their_order(tmp_path):
    path = tmp_path / "page.html"
    body = [Box("Answer", [("Best", EVIL)]), answer_chart(analysis_of(VALLEY)), Line("a line"), Heading(EVIL)]
    write_page(path, body, title="T", reproduce=["make"])
    html = path.read_text()
    assert Balance(html).open == []
    places = [html.index(part) for part in ("<h1>T", "<dl>", "<img", "a line", "<h2>&lt;script", "<pre>make")]
    assert places == sorted(places)
    assert "<script" not in html


class Balance(HTMLParser):
    """Counts what is opened and not closed."""

    def __init__(self, html):
        super().__init__()
        self.open, self.tags = [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_report_is_one_sound_file_without_links_or_scripts(tmp_path):
    html = written(tmp_path, analysis_of(VALLEY, VALLEY[::-1]))
    page = Balance(html)
    assert page.open == []
    tags = [tag for tag, _ in page.tags]
    assert not {"script", "link", "iframe", "a", "object"} & set(tags)
    assert all(attrs["src"].startswith("data:image/svg+xml;base64,") for tag, attrs in page.tags if tag == "img")
    assert all(attrs["alt"] for tag, attrs in page.tags if tag == "img")
    assert "http" not in html
    assert "@import" not in html
    assert "url(" not in html


def test_the_pictures_are_whole(tmp_path):
    images = re.findall(r"base64,([^']+)'", written(tmp_path, analysis_of(VALLEY)))
    assert len(images) == 3  # the answer, and two for each schedule
    for image in images:
        svg = base64.b64decode(image).decode()
        assert svg.rstrip().endswith("</svg>")
        assert "<script" not in svg


def test_the_report_says_what_the_terminal_says_and_how_to_make_it_again(tmp_path):
    analysis = analysis_of(VALLEY, notes=["2 rows were odd"])
    html = unescape(
        written(tmp_path, analysis, title="My sweep", source="From runs.csv.", reproduce=["robust-lr analyze <x>", "b"])
    )
    assert "<h1>My sweep</h1>" in html
    words = [text for row in answer_box(analysis).rows for text in row] + [
        headline(analysis.schedules[0]),
        "Note: 2 rows were odd.",
        "From runs.csv.",
    ]
    words += ["<pre>robust-lr analyze <x>\nb</pre>", "tolerance 0.0501", "27 results, 0 diverged, 0 failed"]
    for text in words:
        assert text in html


def test_names_and_notes_of_others_are_never_html(tmp_path):
    analysis = analysis_of(VALLEY, VALLEY, names=(EVIL, "cosine"), notes=[EVIL])
    html = written(tmp_path, [(EVIL, analysis)], title=EVIL, source=EVIL, reproduce=[EVIL])
    assert "<script" not in html
    assert "alert(" in html
    assert Balance(html).open == []
    for image in re.findall(r"base64,([^']+)'", html):
        assert "<script" not in base64.b64decode(image).decode()


def test_a_name_that_the_font_does_not_have_is_no_crash(tmp_path):
    assert "\u5b66\u4e60" in written(tmp_path, analysis_of(VALLEY, names=("\u5b66\u4e60",)))


def test_several_analyses_are_parts_of_one_report(tmp_path):
    html = written(tmp_path, [("steps = 1", analysis_of(VALLEY)), ("steps = 2", analysis_of([INF] * 9))])
    assert "<h2>steps = 1</h2>" in html
    assert "<h2>steps = 2</h2>" in html
    assert "needs learning rates below 1" in html


@pytest.mark.parametrize(
    "valley", [[INF] * 4, [1.0], [1.0, 2.0], [-1.0, -2.0, -1.0], [0.0] * 4, [NAN, NAN, 1.0], [3.0, 2.0, 1.0], [NAN] * 3]
)
@pytest.mark.parametrize("n_seeds", [1, 2])
def test_poor_data_still_give_a_report(tmp_path, valley, n_seeds):
    html = written(tmp_path, analysis_of(valley, n_seeds=n_seeds))
    assert Balance(html).open == []
    assert "No recommendation" in html or "keep the" in html or "lose at most" in html
    assert "<th>schedule</th></tr>" not in html  # a table with nothing in it
