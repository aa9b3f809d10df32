"""The site: every page has a place in it, no link is dead, and it builds without a warning and without the network."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import get_args
from urllib.parse import unquote

import pytest
import yaml

from robust_lr.search._result import Stop

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
FENCE = re.compile(r"^ *(```|~~~).*?^ *\1", re.MULTILINE | re.DOTALL)
CODE = re.compile(FENCE.pattern + r"|`[^`\n]*`", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#\s]*)(#[^)\s]*)?\)")


class _Yaml(yaml.SafeLoader):
    """mkdocs.yml names a function, which is none of a test's business."""


_Yaml.add_multi_constructor("tag:yaml.org,2002:python/", lambda loader, suffix, node: suffix)


def listed(entry):
    """Return the pages of a part of the navigation."""
    if isinstance(entry, str):
        return [entry]
    return [page for child in (entry.values() if isinstance(entry, dict) else entry) for page in listed(child)]


def slug(heading):
    """Return the anchor of a heading, as code hosts and the site make it."""
    words = re.sub(r"\[([^\]]*)\]\([^)]*\)|[`*]", r"\1", heading).lower()
    return re.sub(r"[^\w\- ]", "", words).replace(" ", "-")


def anchors(path):
    text = FENCE.sub("", path.read_text(encoding="utf-8"))
    return {slug(heading) for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}


def test_every_page_has_one_place_in_the_navigation():
    navigation = listed(yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), _Yaml)["nav"])
    made = {"reference/commands.md"} | {page for page in navigation if page.startswith("notebooks/")}
    assert sorted(set(navigation) - made) == [path.relative_to(DOCS).as_posix() for path in PAGES]
    assert len(navigation) == len(set(navigation))


@pytest.mark.parametrize("path", [ROOT / "README.md", *PAGES], ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_link_and_no_anchor_of_a_page_is_dead(path):
    for target, anchor in LINK.findall(CODE.sub("", path.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        found = (path.parent / target).resolve() if target else path
        assert found.exists(), target
        if anchor and found.suffix == ".md":
            assert anchor[1:] in anchors(found), f"{target}{anchor}"


def test_every_page_that_code_or_a_message_names_exists():
    for path in [
        *(ROOT / "robust_lr").rglob("*.py"),
        *(ROOT / "integrations").rglob("*.py"),
        *ROOT.glob("examples/*.py"),
    ]:
        for page in re.findall(r"\bdocs/[\w/-]+\.md", path.read_text(encoding="utf-8")):
            assert (ROOT / page).exists(), f"{path.name} names {page}"


def test_a_list_begins_after_an_empty_line():
    """The site's Markdown would make a paragraph of it; that of a code host would not."""
    for path in PAGES:
        lines = CODE.sub("", path.read_text(encoding="utf-8")).splitlines()
        for before, line in pairwise(lines):
            if re.match(r"(- |\d+\. )", line) and before and not re.match(r"(- |\d+\. |  )", before):
                raise AssertionError(f"{path.name}: {line}")


def test_the_page_on_stopping_has_every_reason():
    page = (DOCS / "explanation" / "stopping.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `([\w-]+)` \|", page, re.MULTILINE)) == {"stop", *get_args(Stop)}


def test_the_page_of_formats_has_the_versions_that_are_written():
    from robust_lr.analysis._as_dict import SCHEMA_VERSION
    from robust_lr.journal._format import FORMAT
    from robust_lr.prior._file import _FORMAT as PRIOR
    from robust_lr.search._search import _FORMAT as STATE

    page = (DOCS / "reference" / "file-formats.md").read_text(encoding="utf-8")
    rows = dict(
        re.findall(r"^\| (journal|analysis|prior|state of a search)[^|]*\|[^|]*\|\D*(\d+) \|", page, re.MULTILINE)
    )
    assert rows == {
        "journal": str(FORMAT), "analysis": str(SCHEMA_VERSION), "prior": str(PRIOR), "state of a search": str(STATE),
    }  # fmt: skip


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_loads_nothing_from_elsewhere(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    pages = {path: path.read_text(encoding="utf-8") for path in (tmp_path / "site").rglob("*.html")}
    assert len(pages) > 60
    anchors = {path: set(re.findall(r'\bid="?([^"\s>]+)', text)) for path, text in pages.items()}
    for path, text in pages.items():
        loaded = re.findall(r"<(?:script|link|img)[^>]*(?:src|href)=\"?(https?:[^\" >]+)", text)
        assert not loaded, (path.name, loaded)
        for link in re.findall(r'(?:href|src)="?([^"\s>]+)', text) if path.name != "404.html" else ():
            if not re.match(r"[a-z]+:", link):
                address, _, anchor = unquote(link).partition("#")
                target = (path.parent / address).resolve() if address else path
                target = target / "index.html" if target.is_dir() else target
                assert target.exists(), (path, link)
                assert not anchor or anchor in anchors.get(target, {anchor}) or anchor[:2] == "__", (path, link)
