"""What the source code of a training loop says: whether it can end early, and where a floor comes from."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from functools import cached_property, lru_cache
from pathlib import Path

_FLOORS = ("eta_min", "min_lr", "lr_min")
_ROUNDINGS = ("int", "round", "ceil", "floor", "max")
_COUNTS = re.compile(r"step|iter|epoch|batch|max|total|^n_", re.IGNORECASE)
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


class Source:
    """What the code around some places (file, line) says: their functions, and those of the file that these call."""

    def __init__(self, places: Iterable[tuple[str, int]]) -> None:
        trees = [(tree, line) for file, line in places if (tree := _tree(file)) is not None]
        parts = [part for tree, line in trees for part in _code_around(tree, line)]
        self._nodes = [node for part in dict.fromkeys(parts) for node in ast.walk(part)]

    @cached_property
    def has_relative_floor(self) -> bool:
        """Whether it passes a floor that is a product or quotient, such as ``0.1 * lr``."""
        return any(_is_product(value, (ast.Name, ast.Attribute, ast.Subscript)) for value in self._floors())

    @cached_property
    def literal_floors(self) -> tuple[float, ...]:
        """The numbers that it gives as floors."""
        values = (each.value for each in self._floors() if isinstance(each, ast.Constant))
        return tuple(float(value) for value in values if isinstance(value, (int, float)))

    @cached_property
    def wants_warmup(self) -> bool:
        """Whether it computes a warm-up as a share, such as ``int(0.01 * total_steps)``."""
        values = [value for name, value in self._assigned() if "warm" in name.lower()]
        for call in self._calls():
            values += [k.value for k in call.keywords if "warm" in (k.arg or "")]
            values += call.args[1:2] if "warmup" in ast.unparse(call.func) else []
        return any(_is_product(_rounded(value), (ast.Constant,)) for value in values)

    def _calls(self) -> list[ast.Call]:
        return [node for node in self._nodes if isinstance(node, ast.Call)]

    def _assigned(self) -> list[tuple[str, ast.expr]]:
        each = [node for node in self._nodes if isinstance(node, ast.Assign)]
        return [(ast.unparse(t), a.value) for a in each for t in a.targets if isinstance(t, (ast.Name, ast.Attribute))]

    def _floors(self) -> list[ast.expr]:
        passed = [k.value for call in self._calls() for k in call.keywords if k.arg in _FLOORS]
        used = {value.id for value in passed if isinstance(value, ast.Name)} | set(_FLOORS)
        return passed + [value for name, value in self._assigned() if name in used]


def _code_around(tree: ast.Module, line: int) -> list[ast.AST]:
    """The outermost function around a line, or the code of the module, and the functions of the file that it calls."""
    functions = _functions(tree)
    around = [part for part in tree.body if part.lineno <= line <= (part.end_lineno or part.lineno)]
    if any(isinstance(part, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) for part in around):
        around += [part for part in tree.body if isinstance(part, ast.Assign)]
    else:
        around = [part for part in tree.body if not isinstance(part, (ast.FunctionDef, ast.ClassDef))]
    calls = [node.func for part in around for node in ast.walk(part) if isinstance(node, ast.Call)]
    called = {function.id for function in calls if isinstance(function, ast.Name)}
    return [*around, *(functions[name] for name in called if name in functions)]


@lru_cache(maxsize=64)
def _functions(tree: ast.Module) -> dict[str, ast.AST]:
    return {f.name: f for f in ast.walk(tree) if isinstance(f, (ast.FunctionDef, ast.AsyncFunctionDef))}


def _rounded(value: ast.expr) -> ast.expr:
    """The expression inside of int(), round() and their like."""
    while isinstance(value, ast.Call) and ast.unparse(value.func).rpartition(".")[2] in _ROUNDINGS and value.args:
        value = value.args[-1]
    return value if isinstance(value, ast.BinOp) else ast.Constant(0)


def _is_product(value: ast.expr, of: tuple[type[ast.expr], ...]) -> bool:
    return any(
        isinstance(each, ast.BinOp)
        and isinstance(each.op, (ast.Mult, ast.Div, ast.FloorDiv))
        and any(isinstance(part, of) for part in (each.left, each.right))
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
    around, inside = list[ast.stmt](), list[ast.AST]([tree])
    while inside:  # only into what spans the line
        inside = [n for each in inside for n in ast.iter_child_nodes(each) if _spans(n, line)]
        around += [n for n in inside if isinstance(n, ast.stmt)]
    functions = [n for n in around if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))]
    begin = max((f.lineno for f in functions), default=0)
    for each in around:
        if isinstance(each, (ast.For, ast.While)) and each.lineno >= begin:
            yield each


def _spans(node: ast.AST, line: int) -> bool:
    first, last = getattr(node, "lineno", None), getattr(node, "end_lineno", None)
    return first is None or first <= line <= (last or first)


def _ends_early(loop: ast.For | ast.While, line: int) -> bool:
    if isinstance(loop, ast.While) and not isinstance(loop.test, ast.Constant) and not _compares_counts(loop.test):
        return True
    return any(not tests or not all(map(_bounds_by_a_name, tests)) for tests in _exits(loop.body, [], line))


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


def _bounds_by_a_name(test: ast.expr) -> bool:
    # `if step == 60: break` stands for some reason to stop; `if step >= max_steps: break` for the length of the run.
    has_literal = any(isinstance(n, ast.Constant) and n.value != 1 for n in ast.walk(test))
    return _compares_counts(test) and any(map(_COUNTS.search, _names(test))) and not has_literal


def _compares_counts(test: ast.expr) -> bool:
    return any(isinstance(n, ast.Compare) for n in ast.walk(test)) and not any(map(_QUALITY.search, _names(test)))


def _names(test: ast.expr) -> list[str]:
    named = [n for n in ast.walk(test) if isinstance(n, (ast.Name, ast.Attribute))]
    return [n.id if isinstance(n, ast.Name) else n.attr for n in named]
