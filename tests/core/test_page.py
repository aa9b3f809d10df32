"""Blocks read the same as plain text, HTML and Markdown."""

from __future__ import annotations

from robust_lr._page import Line, Table, table_text, to_html, to_markdown, to_text

BLOCKS = [
    Line("First."),
    Table("Costs", ["schedule", "ratio 4\n5 trials"], [["cosine", "0.1"], ["a<b|c", "(0.25)"]]),
    Line("cosine", strong=True),
    Line("why", indented=True),
]


def test_a_table_is_ruled_and_its_numbers_stand_to_the_right():
    assert to_text(BLOCKS) == (
        "First.\n\nCosts\n\n"
        "schedule   ratio 4\n"
        "          5 trials\n"
        "──────────────────\n"
        "cosine         0.1\n"
        "a<b|c       (0.25)\n\n"
        "cosine\n  why"
    )


def test_the_last_column_wraps_where_the_terminal_is_narrow():
    text = table_text(["schedule", "limited by"], [["cosine", "rates far below the best of all"]], width=30)
    assert max(map(len, text.splitlines())) <= 30
    assert " ".join(text.split()).endswith("cosine rates far below the best of all")


def test_html_and_markdown_show_what_others_wrote_as_it_is():
    html = to_html(BLOCKS)
    assert "<td>a&lt;b|c</td>" in html and "<th>ratio 4<br>5 trials</th>" in html
    assert "<b>cosine</b>" in html and html.endswith("<ul><li>why</li></ul>")
    markdown = to_markdown(BLOCKS)
    assert "| schedule | ratio 4 5 trials |\n| --- | ---: |\n| cosine | 0.1 |\n| a\\<b\\|c | (0.25) |" in markdown
    assert "- First." in markdown and "**cosine**" in markdown and "  - why" in markdown
