"""What the source code of a training loop says of its end: whether it can come before the last round."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from enum import IntEnum
from typing import TypeAlias

from .source import functions_of, tree_of

_COUNTS = re.compile(r"step|iter|epoch|batch|max|total|^n_", re.IGNORECASE)
_STOPS = re.compile(
    r"stop(?!iteration)|prun|early|patien|converg|abort|halt|quit|done|finish|keep_going",
    re.IGNORECASE,
)
_QUALITY = re.compile(
    rf"{_STOPS.pattern}|stop|wait|bad|best|loss|acc(?!um|el)|metric|score|improv|nan|finite|time(?!step)|toler|plateau",
    re.IGNORECASE,
)
_CUT = re.compile(r"stop|early|takewhile|until", re.IGNORECASE)  # in the name of what a loop runs over
_EXITS = (["exit"], ["_exit"], ["quit"])

_Loop: TypeAlias = ast.For | ast.AsyncFor | ast.While
_LOOPS = (ast.For, ast.AsyncFor, ast.While)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)


class EarlyEnd(IntEnum):
    """Whether a loop can end before its last round.

    Attributes:
        NO: it takes all rounds.
        POSSIBLE: an exception that something catches, or a step that is left out, may cut it short.
        MEANT: it has a way out for a run that is to end early.
    """

    NO = 0
    POSSIBLE = 1
    MEANT = 2


def early_end(places: Iterable[tuple[str, int]]) -> EarlyEnd:
    """Return whether the loops around these places (file, line) can end before all their rounds.

    They can by `break`, `return`, an exception, a condition of the loop or of the step, but for a bound on a count
    (``if step >= max_steps: break``). Where no loop is found, an early end is taken for meant.
    """
    found, n_loops = [EarlyEnd.NO], 0
    for file, line in places:
        if (tree := tree_of(file)) is not None:
            around = _around(tree, line)
            loops = [each for each in around if isinstance(each, _LOOPS)]
            n_loops += len(loops)
            found += _caught(around)
            for loop in loops:
                found += _ways_out(loop, tree, line)
    return max(found) if n_loops else EarlyEnd.MEANT


def _around(tree: ast.Module, line: int) -> list[ast.stmt]:
    """The statements around a line, within the innermost function."""
    around, inside = list[ast.stmt](), list[ast.AST]([tree])
    while inside:  # only into what spans the line
        inside = [n for each in inside for n in ast.iter_child_nodes(each) if _spans(n, line)]
        around += [n for n in inside if isinstance(n, ast.stmt)]
    begin = max((n.lineno for n in around if isinstance(n, _FUNCTIONS)), default=0)
    return [n for n in around if n.lineno >= begin]


def _spans(node: ast.AST, line: int) -> bool:
    first, last = getattr(node, "lineno", None), getattr(node, "end_lineno", None)
    return first is None or first <= line <= (last or first)


def _caught(around: list[ast.stmt]) -> Iterator[EarlyEnd]:
    for each in around:
        if isinstance(each, (ast.Try, ast.TryStar)):
            yield from (_by_name(h.type) for h in each.handlers if not isinstance(h.body[-1], ast.Raise))
        elif isinstance(each, (ast.With, ast.AsyncWith)):
            contexts = [item.context_expr for item in each.items]
            yield from (_by_name(context) for context in contexts if "suppress" in _names(context))


def _ways_out(loop: _Loop, tree: ast.Module, line: int) -> Iterator[EarlyEnd]:
    if isinstance(loop, ast.While) and not isinstance(loop.test, ast.Constant) and not _compares_counts(loop.test):
        yield EarlyEnd.MEANT
    if not isinstance(loop, ast.While) and any(map(_CUT.search, _names(loop.iter))):
        yield EarlyEnd.MEANT
    bound = set(_names(loop.test)) if isinstance(loop, ast.While) else set()
    for node, tests, is_own in _statements(loop.body, [], own=True):
        if isinstance(node, ast.Return) or (isinstance(node, ast.Break) and is_own):
            if not tests or not _bounds_by_a_name(tests[-1]):
                yield EarlyEnd.MEANT
        elif isinstance(node, ast.Continue) or _spans(node, line):
            yield from (_guarded(test) for test in tests)
        elif isinstance(node, ast.Raise) and node.exc is not None:
            yield _by_name(node.exc)
        elif isinstance(node, ast.Assign) and bound & {name for target in node.targets for name in _names(target)}:
            yield from (EarlyEnd.MEANT for test in tests if _is_quality(test))
    functions = functions_of(tree)
    called = {_names(n.func)[0] for n in ast.walk(loop) if isinstance(n, ast.Call) and _names(n.func)}
    for part in (loop, *(functions[name] for name in called if name in functions)):
        if _means_to_stop(part):
            yield EarlyEnd.MEANT


def _statements(
    body: Iterable[ast.AST], tests: list[ast.expr], *, own: bool
) -> Iterator[tuple[ast.AST, list[ast.expr], bool]]:
    """Each statement, the conditions that it stands under, and whether its `break` ends the loop itself."""
    for each in body:
        if isinstance(each, _FUNCTIONS) or _is_end_of_data(each):
            continue
        yield each, tests, own
        inner = [*tests, each.test] if isinstance(each, ast.If) else tests
        parts = [n for n in ast.iter_child_nodes(each) if isinstance(n, (ast.stmt, ast.ExceptHandler, ast.match_case))]
        yield from _statements(parts, inner, own=own and not isinstance(each, _LOOPS))


def _guarded(test: ast.expr) -> EarlyEnd:
    if any(map(_STOPS.search, _names(test))):
        return EarlyEnd.MEANT
    return EarlyEnd.POSSIBLE if _is_quality(test) else EarlyEnd.NO


def _means_to_stop(part: ast.AST) -> bool:
    """Whether the code leaves by an exception for it, or by `sys.exit()`."""
    raised = [n.exc for n in ast.walk(part) if isinstance(n, ast.Raise) and n.exc is not None]
    calls = [n for n in ast.walk(part) if isinstance(n, ast.Call)]
    return any(_by_name(each) is EarlyEnd.MEANT for each in raised) or any(_names(c.func)[:1] in _EXITS for c in calls)


def _is_end_of_data(node: ast.AST | None) -> bool:
    return isinstance(node, ast.ExceptHandler) and node.type is not None and "StopIteration" in _names(node.type)


def _by_name(exception: ast.expr | None) -> EarlyEnd:
    names = [] if exception is None else _names(exception)
    return EarlyEnd.MEANT if any(map(_STOPS.search, names)) else EarlyEnd.POSSIBLE


def _is_quality(test: ast.expr) -> bool:
    return any(map(_QUALITY.search, _names(test)))


def _bounds_by_a_name(test: ast.expr) -> bool:
    # `if step == 60: break` stands for some reason to stop; `if step >= max_steps: break` for the length of the run.
    has_literal = any(isinstance(n, ast.Constant) and n.value != 1 for n in ast.walk(test))
    return _compares_counts(test) and any(map(_COUNTS.search, _names(test))) and not has_literal


def _compares_counts(test: ast.expr) -> bool:
    return any(isinstance(n, ast.Compare) for n in ast.walk(test)) and not _is_quality(test)


def _names(test: ast.AST) -> list[str]:
    named = [n for n in ast.walk(test) if isinstance(n, (ast.Name, ast.Attribute))]
    return [n.id if isinstance(n, ast.Name) else n.attr for n in named]
