"""What the source code of a training loop says: whether it can end early, and where a floor comes from."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path

_COUNTS = re.compile(r"step|iter|epoch|batch|max|total|num|count|limit|len|^n$|^n_|_n$|^[ijkt]$", re.IGNORECASE)
_QUALITY = re.compile(
    r"patien|wait|bad|best|stop|early|loss|acc|metric|score|improv|converg|nan|finite|time|toler|plateau|done|finish",
    re.IGNORECASE,
)


def can_end_early(places: Iterable[tuple[str, int]]) -> bool:
    """Return whether a loop around these places (file, line) can end before all its rounds.

    It can by `break`, `return` or its condition, but for a bound on a count (``if step >= max_steps: break``). Where no
    loop is found, the answer is True.
    """
    found = [
        _ends_early(loop, line)
        for file, line in places
        if (tree := _tree(file)) is not None
        for loop in _loops_around(tree, line)
    ]
    return any(found) or not found


def has_relative_floor(file: str, names: tuple[str, ...] = ("eta_min", "min_lr")) -> bool:
    """Return whether the source passes a floor that it computes by a product or a quotient, such as ``0.1 * lr``."""
    tree = _tree(file)
    if tree is None:
        return False
    values = [k.value for c in ast.walk(tree) if isinstance(c, ast.Call) for k in c.keywords if k.arg in names]
    used = {value.id for value in values if isinstance(value, ast.Name)} | set(names)
    values += [
        each.value
        for each in ast.walk(tree)
        if isinstance(each, ast.Assign) and any(isinstance(t, ast.Name) and t.id in used for t in each.targets)
    ]
    return any(_is_product(value) for value in values)


def _is_product(value: ast.expr) -> bool:
    return any(
        isinstance(each, ast.BinOp)
        and isinstance(each.op, (ast.Mult, ast.Div))
        and any(isinstance(part, (ast.Name, ast.Attribute)) for part in ast.walk(each))
        for each in ast.walk(value)
    )


@lru_cache(maxsize=64)
def _tree(file: str) -> ast.Module | None:
    try:
        return ast.parse(Path(file).read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return None


def _loops_around(tree: ast.Module, line: int) -> Iterator[ast.For | ast.While]:
    """The loops around a line, within the innermost function."""
    around = [n for n in ast.walk(tree) if isinstance(n, ast.stmt) and n.lineno <= line <= (n.end_lineno or n.lineno)]
    functions = [n for n in around if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))]
    begin = max((f.lineno for f in functions), default=0)
    for each in around:
        if isinstance(each, (ast.For, ast.While)) and each.lineno >= begin:
            yield each


def _ends_early(loop: ast.For | ast.While, line: int) -> bool:
    if isinstance(loop, ast.While) and not isinstance(loop.test, ast.Constant) and not _bounds_a_count(loop.test):
        return True
    return any(not all(map(_bounds_a_count, tests)) or not tests for tests in _exits(loop.body, [], line))


def _exits(body: list[ast.stmt], tests: list[ast.expr], line: int, *, own: bool = True) -> Iterator[list[ast.expr]]:
    """The conditions of each `break` and `return` of a loop; the breaks of loops inside it are not its own."""
    for each in body:
        if isinstance(each, ast.Return) or (isinstance(each, ast.Break) and own):
            yield tests[-1:]
        elif isinstance(each, ast.If):
            yield from _exits(each.body, [*tests, each.test], line, own=own)
            yield from _exits(each.orelse, [*tests, each.test], line, own=own)
        elif isinstance(each, (ast.For, ast.While)):
            yield from _exits(each.body, tests, line, own=False)
        elif isinstance(each, (ast.With, ast.Try)):
            yield from _exits(each.body, tests, line, own=own)


def _bounds_a_count(test: ast.expr) -> bool:
    names = [n.id for n in ast.walk(test) if isinstance(n, ast.Name)]
    names += [n.attr for n in ast.walk(test) if isinstance(n, ast.Attribute)]
    is_comparison = any(isinstance(n, ast.Compare) for n in ast.walk(test))
    return is_comparison and any(map(_COUNTS.search, names)) and not any(map(_QUALITY.search, names))
