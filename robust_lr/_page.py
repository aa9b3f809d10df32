"""Text for people as a list of blocks, rendered as plain text, HTML or Markdown."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import zip_longest


@dataclass(frozen=True)
class Line:
    text: str
    strong: bool = False
    indented: bool = False


@dataclass(frozen=True)
class Table:
    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]  # a cell may have several lines


@dataclass(frozen=True)
class Box:
    """The answer, before everything else: labels and what each says."""

    title: str
    rows: Sequence[tuple[str, str]]
    lead: bool = True  # whether the first row says more than the others


Block = Line | Table | Box
BOX_WIDTH = 96


def to_text(blocks: Iterable[Block]) -> str:
    parts = list[str]()
    for block in blocks:
        if isinstance(block, Line):
            parts.append("  " * block.indented + block.text)
        elif isinstance(block, Box):
            parts.append(f"{box_text(block)}\n")
        else:
            parts.append(f"\n{block.caption}\n\n{table_text(block.header, block.rows)}\n")
    return re.sub(r"\n{3,}", "\n\n", "\n".join(parts)).strip("\n")


def box_text(box: Box, *, width: int = BOX_WIDTH) -> str:
    """Return a box between two rules; it has no bars at its sides, so that its numbers can be copied."""
    label = max((len(name) for name, _ in box.rows), default=0) + 2
    width = min(width, BOX_WIDTH)
    lines = [f"── {box.title} ".ljust(width, "─")]
    for name, text in box.rows:
        pieces = textwrap.wrap(text, max(width - label, 20), break_long_words=False, break_on_hyphens=False)
        lines += [f"{head:{label}}{piece}" for head, piece in zip_longest([name], pieces or [""], fillvalue="")]
    return "\n".join([*lines, "─" * width])


def table_text(header: Sequence[str], rows: Sequence[Sequence[str]], *, width: int = 0) -> str:
    """Return a table as text, its first column left-aligned; the last column wraps if `width` is too small."""
    cells = [[cell.splitlines() or [""] for cell in row] for row in (header, *rows)]
    if width:
        columns = list(zip(*cells, strict=True))
        room = width - sum(2 + max(len(line) for cell in column for line in cell) for column in columns[:-1])
        for row in cells:
            row[-1] = [piece for line in row[-1] for piece in textwrap.wrap(line, max(room, 12)) or [""]]
    widths = [max(len(line) for cell in column for line in cell) for column in zip(*cells, strict=True)]
    lines = []
    for number, row in enumerate(cells):
        for pieces in zip_longest(*row, fillvalue=""):
            aligned = [p.rjust(w) if i else p.ljust(w) for i, (p, w) in enumerate(zip(pieces, widths, strict=True))]
            lines.append("  ".join(aligned).rstrip())
        if number == 0:
            lines.append("─" * (sum(widths) + 2 * (len(widths) - 1)))
    return "\n".join(lines)


def to_html(blocks: Iterable[Block]) -> str:
    parts, items = list[str](), list[str]()
    for block in [*blocks, None]:
        if isinstance(block, Line) and block.indented:
            items.append(f"<li>{escape(block.text)}</li>")
            continue
        if items:
            parts.append(f"<ul>{''.join(items)}</ul>")
            items = []
        if isinstance(block, Line):
            parts.append(f"<p>{'<b>' * block.strong}{escape(block.text)}{'</b>' * block.strong}</p>")
        elif isinstance(block, Box):
            rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in block.rows)
            kind = "answer lead" if block.lead else "answer"
            parts.append(f"<section class='{kind}'><h2>{escape(block.title)}</h2><dl>{rows}</dl></section>")
        elif block is not None:
            parts.append(f"<h3>{escape(block.caption)}</h3>{_table_html(block)}")
    return "".join(parts)


def _table_html(table: Table) -> str:
    def line(cells: Sequence[str], tag: str) -> str:
        inner = "".join(f"<{tag}>{escape(cell).replace(chr(10), '<br>')}</{tag}>" for cell in cells)
        return f"<tr>{inner}</tr>"

    body = "".join(line(row, "td") for row in table.rows)
    return f"<div class='wide'><table><thead>{line(table.header, 'th')}</thead><tbody>{body}</tbody></table></div>"


def to_markdown(blocks: Iterable[Block]) -> str:
    parts = list[str]()
    for block in blocks:
        if isinstance(block, Table):
            ruler = ["---", *["---:"] * (len(block.header) - 1)]
            lines = [[_escaped(cell.replace("\n", " ")) for cell in row] for row in (block.header, *block.rows)]
            lines.insert(1, ruler)
            table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
            parts.append(f"\n### {_escaped(block.caption)}\n\n{table}\n")
        elif isinstance(block, Box):
            rows = "\n".join(f"- **{_escaped(name)}**: {_escaped(text)}" for name, text in block.rows)
            parts.append(f"\n**{_escaped(block.title)}**\n\n{rows}\n")
        else:
            text = _escaped(block.text)
            parts.append(f"\n**{text}**\n" if block.strong else f"{'  ' * block.indented}- {text}")
    return "\n".join(parts).strip("\n") + "\n"


def _escaped(text: str) -> str:
    return re.sub(r"([\\`*_{}\[\]<>|#$~])", r"\\\1", text)
