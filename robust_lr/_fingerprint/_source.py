"""Source code as values: texts of syntax trees and bytecode that formatting does not change."""

from __future__ import annotations

import ast
import dis
import linecache
import sys
from collections.abc import Iterable, Iterator
from functools import cached_property
from types import CodeType
from typing import Any

from ._usage import Usage

_OMITTED = {"annotation", "returns", "type_comment", "type_params", "kind", "ctx"}


def canonical(node: object) -> str:
    """Return a text of a syntax tree without docstrings, annotations and positions, the same in all versions of Python.

    Example:
        >>> canonical(ast.parse("x: int = 1  # one")) == canonical(ast.parse("x:float=(1)"))
        True
    """
    if isinstance(node, ast.AST):
        fields = [
            f"{name}={canonical(value)}"
            for name, value in ast.iter_fields(node)
            if name not in _OMITTED and value not in (None, [])
        ]
        return f"{type(node).__name__}({', '.join(fields)})"
    if isinstance(node, list):
        return f"[{', '.join(canonical(item) for item in node if not _is_bare_constant(item))}]"
    return repr(node)


def _is_bare_constant(node: object) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


class Source:
    """The source of a file, or of a cell of a notebook.

    Raises:
        SyntaxError, ValueError: when the text is not Python.
    """

    def __init__(self, file: str, text: str) -> None:
        self.file, self._text, self.tree = file, text, ast.parse(text)

    @cached_property
    def _codes(self) -> dict[tuple[str, int], list[CodeType]]:
        found: dict[tuple[str, int], list[CodeType]] = {}
        for code in nested_codes(compile(self._text, self.file, "exec", dont_inherit=True)):
            found.setdefault((code.co_qualname, code.co_firstlineno), []).append(code)
        return found

    @cached_property
    def _functions(self) -> dict[tuple[str, int], list[ast.AST]]:
        found: dict[tuple[str, int], list[ast.AST]] = {}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Lambda):
                found.setdefault(("<lambda>", node.lineno), []).append(node)
            elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                line = min(each.lineno for each in (node, *node.decorator_list))
                found.setdefault((node.name, line), []).append(node)
        return found

    def nodes_of(self, code: CodeType) -> list[ast.AST]:
        """Return the function's syntax tree; nothing if the loaded code is not that of the file, which was edited.

        Several lambdas in one line cannot be told apart, and come together.
        """
        line, key = code.co_firstlineno, code_text(code)
        if not any(code_text(other) == key for other in self._codes.get((code.co_qualname, line), [])):
            return []
        return self._functions.get((code.co_name, line), [])

    def class_body(self, qualname: str) -> list[ast.AST]:
        """Return the decorators, bases and statements of a class, without its methods."""
        bodies: list[Any] = [self.tree]
        for name in qualname.replace("<locals>.", "").split("."):
            bodies = [n for body in bodies for n in ast.walk(body) if getattr(n, "name", None) == name]
        return [
            part
            for node in bodies
            if isinstance(node, ast.ClassDef)
            for part in (*node.decorator_list, *node.bases, *node.keywords, *node.body)
            if not isinstance(part, (ast.FunctionDef, ast.AsyncFunctionDef))
        ]

    @cached_property
    def bindings(self) -> dict[str, list[ast.AST]]:
        """For each global the statements of the module that give it its value, with the conditions around them."""
        found = _bindings(self.tree.body)
        functions = {node.name: node for node in self.tree.body if isinstance(node, ast.FunctionDef)}
        for call in _calls_in(self.tree.body):
            for name in _filled_by(call, functions) & found.keys():
                found[name].append(call)
        return found

    @cached_property
    def origins(self) -> dict[str, tuple[str, str]]:
        """For each imported name its module, with a dot for each level of a relative import, and its name there."""
        return {
            alias.asname or alias.name: ("." * node.level + (node.module or ""), alias.name)
            for node in ast.walk(self.tree)
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }


def source_of(file: str) -> Source | None:
    """Return the source of a file or cell, None if there is none."""
    linecache.checkcache(file)
    try:
        return Source(file, text) if (text := "".join(linecache.getlines(file))) else None
    except (SyntaxError, ValueError):
        return None


def _bindings(body: Iterable[ast.stmt]) -> dict[str, list[ast.AST]]:
    found: dict[str, list[ast.AST]] = {}
    for statement in body:
        blocks = [getattr(statement, part, []) for part in ("body", "orelse", "finalbody")]
        blocks += [handler.body for handler in getattr(statement, "handlers", [])]
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            parts: dict[str, list[ast.AST]] = {statement.name: [statement]}
        elif isinstance(statement, (ast.Import, ast.ImportFrom)):
            module = getattr(statement, "module", "")
            parts = {
                alias.asname or alias.name.partition(".")[0]: [ast.Constant(f"{module}:{alias.name}")]
                for alias in statement.names
            }
        elif any(blocks):
            heads = [getattr(statement, part, None) or [] for part in ("test", "iter", "target", "items")]
            head = [part for item in heads for part in (item if isinstance(item, list) else [item])]
            inner = _bindings([each for block in blocks for each in block])
            parts = {name: [*head, *inner.get(name, [])] for name in {**inner, **_names_set(head)}}
        else:
            parts = {name: [statement] for name in _names_set([statement])}
        for name, nodes in parts.items():
            found.setdefault(name, []).extend(nodes)
    return found


def _calls_in(body: Iterable[ast.AST]) -> Iterator[ast.Call]:
    # What runs when the module is loaded, in order.
    for node in body:
        is_guard = isinstance(node, ast.If) and "__main__" in canonical(node.test)
        if not is_guard and not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)):
            if isinstance(node, ast.Call):
                yield node
            yield from _calls_in(ast.iter_child_nodes(node))


def _filled_by(call: ast.Call, functions: dict[str, ast.FunctionDef]) -> set[str]:
    """The globals that a call fills by functions of its module, directly or through those that they call."""
    waiting, reached, found = {_called(call)} & functions.keys(), set[str](), set[str]()
    while waiting:
        function = functions[name := waiting.pop()]
        reached.add(name)
        inner = list(ast.walk(function))
        parameters = [each.arg for each in inner if isinstance(each, ast.arg)]
        declared = {name for each in inner if isinstance(each, ast.Global) for name in each.names}
        stored = {n.id for n in inner if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)} - declared
        changes = Usage([function]).changes
        found |= changes - stored - set(parameters)
        if name == _called(call):
            given = zip(call.args, parameters, strict=False)
            found |= {_root(value) or "" for value, parameter in given if parameter in changes}
        waiting |= ({_called(each) for each in inner if isinstance(each, ast.Call)} & functions.keys()) - reached
    return found


def _called(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else ""


def _names_set(nodes: Iterable[ast.AST]) -> dict[str, None]:
    found = dict[str, None]()
    for node in (inner for top in nodes for inner in ast.walk(top)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):  # parser.add_argument(...)
            target: ast.AST | None = node.value.func if isinstance(node.value.func, ast.Attribute) else None
        elif isinstance(getattr(node, "ctx", None), (ast.Store, ast.Del)):
            target = node
        else:
            continue
        if target is not None and (name := _root(target)) is not None:
            found[name] = None
    return found


def _root(node: ast.AST) -> str | None:
    while isinstance(node, (ast.Attribute, ast.Subscript)):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


def imports_in(nodes: Iterable[ast.AST]) -> list[tuple[str, int]]:
    """Return the modules that statements import, each with its level (0: absolute)."""
    found = []
    for node in (inner for top in nodes for inner in ast.walk(top)):
        if isinstance(node, ast.Import):
            found += [(alias.name, 0) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            found += [(base, node.level), *((f"{base}.{a.name}".lstrip("."), node.level) for a in node.names)]
    return [(name, level) for name, level in found if name]


def nested_codes(code: CodeType) -> Iterator[CodeType]:
    """Yield a code object and all those inside it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from nested_codes(constant)


def code_text(code: CodeType) -> str:
    """Return a text of compiled code without positions and docstring; other versions of Python have others."""
    constants = list(code.co_consts)
    has_docstring = sys.version_info < (3, 13) or code.co_flags & 0x4000000  # before, the first constant is kept for it
    if has_docstring and code.co_flags & 0x1 and constants and isinstance(constants[0], str):
        constants = constants[1:]
    shown = [
        code_text(c) if isinstance(c, CodeType) else repr(sorted(map(repr, c)) if isinstance(c, frozenset) else c)
        for c in constants
    ]
    return repr((code.co_code, code.co_names, code.co_varnames, code.co_freevars, shown))


def compiler() -> str:
    """Return the name of this Python's bytecode."""
    return sys.implementation.cache_tag or "python"


def global_names(code: CodeType) -> list[str]:
    """Return the names of the globals that a function reads, in order."""
    found = dict[str, None]()
    for each in nested_codes(code):
        found |= {i.argval: None for i in dis.get_instructions(each) if i.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    return list(found)
