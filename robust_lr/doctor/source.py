"""What the source code of a training loop says of its schedule: where a floor and a warm-up come from."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from functools import cached_property, lru_cache
from pathlib import Path

_FLOORS = ("eta_min", "min_lr", "lr_min")
_ROUNDINGS = ("int", "round", "ceil", "floor", "max")


class Source:
    """What the code around some places (file, line) says: their functions, and those of the file that these call."""

    def __init__(self, places: Iterable[tuple[str, int]]) -> None:
        trees = [(tree, line) for file, line in places if (tree := tree_of(file)) is not None]
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
    functions = functions_of(tree)
    around = [part for part in tree.body if part.lineno <= line <= (part.end_lineno or part.lineno)]
    if any(isinstance(part, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) for part in around):
        around += [part for part in tree.body if isinstance(part, ast.Assign)]
    else:
        around = [part for part in tree.body if not isinstance(part, (ast.FunctionDef, ast.ClassDef))]
    calls = [node.func for part in around for node in ast.walk(part) if isinstance(node, ast.Call)]
    called = {function.id for function in calls if isinstance(function, ast.Name)}
    return [*around, *(functions[name] for name in called if name in functions)]


@lru_cache(maxsize=64)
def functions_of(tree: ast.Module) -> dict[str, ast.AST]:
    """Return the functions and methods of a file, by name."""
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
def tree_of(file: str) -> ast.Module | None:
    """Return the syntax tree of a file; None if it cannot be read."""
    try:
        return ast.parse(Path(file).read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return None
