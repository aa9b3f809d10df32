"""What the site makes of links and mentions in the pages."""

from __future__ import annotations

import pytest

from website import hooks


@pytest.mark.parametrize(
    ("page", "link", "becomes"),
    [
        ("README.md", "[theory](explanation/theory.md)", "[theory](explanation/theory.md)"),
        (
            "faq.md",
            "[coverage.md](explanation/coverage.md)",
            "[How the bands are made, and whether they cover the truth]",
        ),
        ("gallery.md", "[x](../examples/digits_torch.py)", "[x](source/examples/digits_torch.py.md)"),
        ("how-to/ray.md", "[x](../../examples/cluster)", "[x](../source/examples/cluster/README.md.md)"),
        ("source/CHANGELOG.md.md", "[x](docs/faq.md#a)", "[x](../faq.md#a)"),
        ("how-to/parallel.md", "[x](../notebooks/first-search.ipynb)", "[x](../notebooks/first-search.md)"),
        ("faq.md", "[x](https://arxiv.org/abs/2503.09411)", "[x](https://arxiv.org/abs/2503.09411)"),
        ("faq.md", "[x](#about-the-answer)", "[x](#about-the-answer)"),
        ("faq.md", "```text\n[x](nowhere.md)\n```", "```text\n[x](nowhere.md)\n```"),
    ],
)
def test_a_link_leads_to_the_page_of_its_file(page, link, becomes):
    assert hooks.relinked(link, page).startswith(becomes)


def test_a_file_that_a_page_links_to_is_shown_with_its_language():
    page = hooks.source_page("examples/custom_schedule.py")
    assert "# examples/custom_schedule.py" in page and "~~~~python\n" in page


def test_a_folder_that_a_page_links_to_lists_its_files():
    assert "- [custom_schedule.py](examples/custom_schedule.py)\n" in hooks.source_page("examples")


def test_a_file_that_does_not_exist_stops_the_build():
    with pytest.raises(FileNotFoundError):
        hooks.source_page("examples/nowhere.py")
