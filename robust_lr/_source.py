"""Source code as values: a digest that formatting does not change, and what a piece of code reads and writes."""

from __future__ import annotations

import ast
import dis
import hashlib
import linecache
import os
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from types import CodeType
from typing import Any

_OMITTED = {"annotation", "returns", "type_comment", "type_params", "kind", "ctx"}
_MUTATORS = set(
    "append appendleft add update extend insert setdefault pop popleft popitem clear remove discard sort reverse".split()
)
_READERS = ("read", "load", "open", "genfromtxt", "fromfile", "memmap", "imread", "from_")
_WRITERS = (
    "save", "dump", "write", "Writer", "touch", "unlink", "mkdir", "makedirs", "Handler", "basicConfig",
    "to_csv", "to_json", "to_parquet", "to_pickle", "to_feather", "to_hdf", "to_excel",
)  # fmt: skip
_CONSTRUCTORS = ("__init__", "__post_init__", "__new__", "__setstate__")
_VOLATILE = set(
    "time time_ns perf_counter monotonic strftime now today utcnow uuid1 uuid4 getpid mkdtemp mkstemp gettempdir "
    "TemporaryDirectory NamedTemporaryFile token_hex urandom random randint".split()
)
_LIBRARIES = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib")})


def is_own(file: str | None) -> bool:
    """Return whether a file is the user's own code, and not that of Python or an installed package."""
    if not file or file.startswith("<frozen"):
        return False
    return {"site-packages", "dist-packages"}.isdisjoint(Path(file).parts) and not file.startswith(_LIBRARIES)


def digest_of(text: str) -> str:
    """Return 12 hexadecimal digits that identify a text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]


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

    def nodes_of(self, code: CodeType) -> list[ast.AST]:
        """Return the function's syntax tree; nothing if the loaded code is not that of the file, which was edited.

        Several lambdas in one line cannot be told apart, and come together.
        """
        line, key = code.co_firstlineno, code_text(code)
        if not any(code_text(other) == key for other in self._codes.get((code.co_qualname, line), [])):
            return []
        return [node for node in ast.walk(self.tree) if _begins(node, code.co_name, line)]

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

    def bindings(self, name: str) -> list[ast.AST]:
        """Return the statements of the module that give a global its value, with the conditions around them."""
        return list(_bindings(self.tree.body, name))


def source_of(file: str) -> Source | None:
    """Return the source of a file or cell, None if there is none."""
    linecache.checkcache(file)
    try:
        return Source(file, text) if (text := "".join(linecache.getlines(file))) else None
    except (SyntaxError, ValueError):
        return None


def _begins(node: ast.AST, name: str, line: int) -> bool:
    if isinstance(node, ast.Lambda):
        return name == "<lambda>" and node.lineno == line
    if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) or node.name != name:
        return False
    return min(each.lineno for each in (node, *node.decorator_list)) == line


def _bindings(body: Iterable[ast.stmt], name: str) -> Iterator[ast.AST]:
    for statement in body:
        blocks = [getattr(statement, part, []) for part in ("body", "orelse", "finalbody")]
        blocks += [handler.body for handler in getattr(statement, "handlers", [])]
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            if statement.name == name:
                yield statement
        elif isinstance(statement, (ast.Import, ast.ImportFrom)):
            for alias in statement.names:
                if (alias.asname or alias.name.partition(".")[0]) == name:
                    yield ast.Constant(f"{getattr(statement, 'module', '')}:{alias.name}")
        elif any(blocks):
            inner = [part for block in blocks for part in _bindings(block, name)]
            head = [part for field in ("test", "iter", "target", "items") if (part := getattr(statement, field, None))]
            head = [part for item in head for part in (item if isinstance(item, list) else [item])]
            if inner or any(_sets(part, name) for part in head):
                yield from (*head, *inner)
        elif any(_sets(node, name) for node in ast.walk(statement)):
            yield statement


def _sets(node: ast.AST, name: str) -> bool:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):  # parser.add_argument(...)
        return isinstance(node.value.func, ast.Attribute) and _root(node.value.func) == name
    stores = isinstance(getattr(node, "ctx", None), (ast.Store, ast.Del))
    return stores and isinstance(node, (ast.Name, ast.Subscript, ast.Attribute)) and _root(node) == name


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


class Usage:
    """What pieces of code do: the names they change, and the files and environment variables they name.

    Attributes:
        changes: names of variables that the code rebinds or mutates, and ``.name`` for attributes.
        reads: texts in calls that read files.
        writes: texts and identifiers in calls that write files.
        environment: names of the environment variables that it reads.
        is_volatile: whether it asks for the time, a random number or the like.
    """

    def __init__(self, nodes: Iterable[ast.AST]) -> None:
        self.changes, self.reads, self.writes = set[str](), set[str](), set[str]()
        self.environment = set[str]()
        self.is_volatile = False
        for top in nodes:
            in_constructor = getattr(top, "name", None) in _CONSTRUCTORS
            for node in ast.walk(top):
                self._look(node, in_constructor=in_constructor)
        self.reads -= self.writes

    def _look(self, node: ast.AST, *, in_constructor: bool) -> None:
        if isinstance(node, (ast.Global, ast.Nonlocal)):
            self.changes.update(node.names)
        elif isinstance(node, (ast.Name, ast.Attribute)):
            self.is_volatile |= (node.id if isinstance(node, ast.Name) else node.attr) in _VOLATILE
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and not in_constructor:
            self.changes.add(f".{node.attr}")
        elif isinstance(node, ast.Subscript) and isinstance(node.ctx, (ast.Store, ast.Del)):
            self.changes.add(_holder(node.value))
        elif isinstance(node, ast.Subscript) and _holder(node.value).endswith("environ"):
            self.environment.update(_texts(node.slice))
        elif isinstance(node, ast.Call):
            self._look_at_call(node)

    def _look_at_call(self, node: ast.Call) -> None:
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        of = _holder(node.func.value) if isinstance(node.func, ast.Attribute) else ""
        if name == "getenv" or of.endswith("environ"):
            self.environment.update(text for argument in node.args[:1] for text in _texts(argument))
        if of and (name in _MUTATORS or (name.endswith("_") and not name.startswith("_"))):
            self.changes.add(of)
        arguments = [*node.args, *(keyword.value for keyword in node.keywords)]
        if any(word in name for word in _WRITERS) or (name == "open" and any(map(_is_mode_of_writing, arguments))):
            for part in (*arguments, node.func):
                self.writes |= set() if any(map(_is_reading, ast.walk(part))) else _words(part)
        elif _is_reading(node):
            self.reads |= set(_texts(node))


def _is_reading(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call):
        return False
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    return name.startswith(_READERS) or "path" in name.lower()


def _is_mode_of_writing(node: ast.AST) -> bool:
    text = node.value if isinstance(node, ast.Constant) else None
    return isinstance(text, str) and bool(set(text) & set("wax+")) and set(text) <= set("rwaxbt+")


def _holder(node: ast.AST) -> str:
    while isinstance(node, ast.Subscript):
        node = node.value
    return f".{node.attr}" if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def _texts(node: ast.AST) -> Iterator[str]:
    for inner in ast.walk(node):
        if isinstance(inner, ast.Constant) and isinstance(inner.value, str):
            yield inner.value


def _words(node: ast.AST) -> set[str]:
    names = {getattr(inner, "attr", None) or getattr(inner, "id", "") for inner in ast.walk(node)}
    return names | set(_texts(node))


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


def file_digest(path: Path) -> str:
    """Return a digest of a file: its size and its content, of a file above 256 MiB the first and last MiB."""
    size, big, part = path.stat().st_size, 1 << 28, 1 << 20
    with path.open("rb") as stream:
        content = hashlib.sha256(str(size).encode())
        if size > big:
            content.update(stream.read(part))
            stream.seek(-part, os.SEEK_END)
        while block := stream.read(part):
            content.update(block)
    return content.hexdigest()[:12]
