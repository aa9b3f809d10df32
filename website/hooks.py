"""What MkDocs does beside its own work: reference pages, notebooks, and a page for each file that the pages link to.

A page in docs/ links relative to itself, as code hosts want it, also to files outside of docs/. The site gives each of
these files a page of its own, so that no link leaves the site and none is dead. A link whose text is the name of a file
shows the title of its page instead.
"""

from __future__ import annotations

import os.path
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "integrations")]  # the names of this tree, not of an installed version

from website import notebooks, reference  # noqa: E402

# Fenced code stays as it is; a link has no space in its target.
_FENCE = re.compile(r"(^ *(`{3,}|~{3,}).*?^ *\2 *$)", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)#\s]*)(#[^)\s]*)?\)")
_FILE_NAME = re.compile(r"`?[\w./-]+\.(md|ipynb)`?")
_MENTION = re.compile(r"(?<![\w/\">])docs/([\w/-]+\.md)(?![^<]*</(?:pre|a)>)")
_LANGUAGES = {".py": "python", ".sh": "bash", ".md": "", ".toml": "toml", ".yaml": "yaml", ".json": "json"}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add the pages of the public names to the navigation."""
    names = [{Path(path).stem: path} for path in reference.name_pages() if not path.endswith("/index.md")]
    section = next(entry["Reference"] for entry in config.nav or [] if "Reference" in entry)
    section.insert(0, {"Python": [f"{reference.FOLDER}/index.md", *names]})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made: names, commands, notebooks, and the files that pages link to."""
    made = {**reference.pages(), **notebooks.pages(ROOT)}
    for path, text in made.items():
        files.append(File.generated(config, path, content=text))
    queue, done = list[str](), set[str]()
    for path in sorted((ROOT / "docs").rglob("*.md")):
        queue += sorted(_outside(path.read_text(encoding="utf-8"), path.parent))
    for target in queue:  # which grows
        if target in done:
            continue
        done.add(target)
        text = source_page(target)
        page = File.generated(config, _page_of(target), content=text, inclusion=InclusionLevel.NOT_IN_NAV)
        files.append(page)
        if target.endswith(".md") or (ROOT / target).is_dir():
            queue += sorted(_outside(text, (ROOT / target).parent))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let each link to a file of the repository lead to that file's page."""
    if page.is_homepage:
        page.meta["hide"] = ["navigation"]
    return relinked(markdown, page.file.src_uri)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Make a link of each page that a docstring or a message mentions."""

    def link(match: re.Match[str]) -> str:
        target = files.get_file_from_path(match[1])
        if target is None:
            raise FileNotFoundError(f"{page.file.src_uri} mentions docs/{match[1]}, which does not exist")
        return f'<a href="{target.url_relative_to(page.file)}">{_title(match[1])}</a>'

    return _MENTION.sub(link, html)


def _home(src_uri: str) -> str:
    """Return the path in the repository of the file that a page shows."""
    if src_uri.startswith("source/"):
        return src_uri.removeprefix("source/").removesuffix(".md")
    return f"docs/{src_uri}"


def _page_of(target: str) -> str:
    """Return the path of the page that shows a file of the repository."""
    if target.endswith(".ipynb"):
        return target.removeprefix("docs/").removesuffix(".ipynb") + ".md"
    return target.removeprefix("docs/") if target.startswith("docs/") else f"source/{target}.md"


def _targets(text: str, folder: Path) -> Iterator[str]:
    for is_code, part in _parts(text):
        for match in () if is_code else _LINK.finditer(part):
            if match[3] and not re.match(r"[a-z]+:", match[3]):
                yield _resolved(folder, match[3])


def _resolved(folder: Path, link: str) -> str:
    target = os.path.relpath(os.path.normpath(folder / link), ROOT)
    return f"{target}/README.md" if (ROOT / target / "README.md").exists() else target


def _outside(text: str, folder: Path) -> set[str]:
    return {target for target in _targets(text, folder) if not target.startswith("docs/")}


def _parts(text: str) -> Iterator[tuple[bool, str]]:
    end = 0
    for match in _FENCE.finditer(text):
        yield False, text[end : match.start()]
        yield True, match[0]
        end = match.end()
    yield False, text[end:]


def relinked(markdown: str, src_uri: str) -> str:
    """Return the Markdown of a page with each link as the site needs it.

    Args:
        markdown: the text, with links relative to its file in the repository.
        src_uri: the path of the page in the docs; of another file, below "source".
    """
    folder = (ROOT / _home(src_uri)).parent

    def link(match: re.Match[str]) -> str:
        mark, words, target, anchor = match[1], match[2], match[3], match[4] or ""
        if not target or re.match(r"[a-z]+:", target):
            return match[0]
        page = _page_of(_resolved(folder, target))
        words = _title(page) if _FILE_NAME.fullmatch(words) else words
        return f"{mark}[{words}]({os.path.relpath(page, Path(src_uri).parent)}{anchor})"

    return "".join(part if is_code else _LINK.sub(link, part) for is_code, part in _parts(markdown))


def _title(page: str) -> str:
    """Return the first heading of a page."""
    path = ROOT / (page[7:-3] if page.startswith("source/") else f"docs/{page}")
    heading = re.search(r"^# (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE) if path.exists() else None
    return heading[1] if heading else Path(page).stem


def source_page(target: str) -> str:
    """Return the page that shows a file or folder of the repository."""
    path = ROOT / target
    head = "---\nsearch:\n  exclude: true\n---\n\n"
    if path.is_dir():
        files = sorted(each.name for each in path.iterdir() if each.is_file())
        return f"{head}# {target}\n\n" + "".join(f"- [{name}]({path.name}/{name})\n" for name in files)
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return head + text
    return f"{head}# {target}\n\n~~~~{_LANGUAGES.get(path.suffix, 'text')}\n{text.rstrip()}\n~~~~\n"
