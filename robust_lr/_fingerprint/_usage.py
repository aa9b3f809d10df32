"""What a piece of code does: the variables that it changes, the files and environment variables that it names."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

_MUTATORS = (
    "append", "appendleft", "add", "update", "extend", "insert", "setdefault", "pop", "popleft", "popitem", "clear",
    "remove", "discard", "sort", "reverse",
)  # fmt: skip
_READERS = ("read", "load", "open", "genfromtxt", "fromfile", "memmap", "imread", "from_")
_WRITERS = (
    "save", "dump", "write", "Writer", "touch", "unlink", "mkdir", "makedirs", "Handler", "basicConfig",
    "to_csv", "to_json", "to_parquet", "to_pickle", "to_feather", "to_hdf", "to_excel",
)  # fmt: skip
_VOLATILE = (
    "time", "time_ns", "perf_counter", "monotonic", "strftime", "now", "today", "utcnow", "uuid1", "uuid4", "getpid",
    "mkdtemp", "mkstemp", "gettempdir", "TemporaryDirectory", "NamedTemporaryFile", "token_hex", "urandom", "random",
    "randint", "__file__", "cwd", "getcwd", "home", "expanduser", "abspath", "absolute", "resolve", "gethostname",
    "cpu_count", "device_count", "is_available",
)  # fmt: skip
_CONTAINERS = ("list", "dict", "set", "deque", "Counter", "OrderedDict")
_CONSTRUCTORS = ("__init__", "__post_init__", "__new__", "__setstate__")
# Environment variables that say where a process runs, not what it computes.
_PLACES = (
    "CUDA_", "HIP_", "SLURM_", "RAY_", "WANDB_", "MASTER_", "LOCAL_", "RANK", "WORLD_", "HOME", "USER", "HOST", "TMP",
    "TEMP", "PATH", "PWD",
)  # fmt: skip


class Usage:
    """What pieces of code do: the names they change, and the files and environment variables they name.

    Attributes:
        changes: names of variables that the code rebinds or mutates.
        stores: attributes that it rebinds or mutates, such as ``self.calls``, but not in a constructor.
        reads: texts in calls that read files, or that a call may take for the name of a file.
        writes: texts and identifiers in calls that write files.
        environment: names of the environment variables that it reads.
        is_volatile: whether it asks for the time, a random number, the machine or a place on it.
    """

    def __init__(self, nodes: Iterable[ast.AST]) -> None:
        self.changes, self.stores, self.reads, self.writes = set[str](), set[str](), set[str](), set[str]()
        self.environment, self._idle = set[str](), set[int]()
        self.is_volatile = False
        for top in nodes:
            for node in ast.walk(top):
                self._look(node)
            if getattr(top, "name", None) in _CONSTRUCTORS:
                self.stores.clear()
        self.reads -= self.writes
        self.environment = {name for name in self.environment if not name.startswith(_PLACES)}

    def _look(self, node: ast.AST) -> None:
        if isinstance(node, (ast.Global, ast.Nonlocal)):
            self.changes.update(node.names)
        elif isinstance(node, (ast.Name, ast.Attribute)):
            self.is_volatile |= (node.id if isinstance(node, ast.Name) else node.attr) in _VOLATILE
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Attribute):  # self.width = self.width
            self._idle.update(id(each) for each in node.targets if ast.unparse(each) == ast.unparse(node.value))
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and id(node) not in self._idle:
            self._change(node)
        elif isinstance(node, ast.Subscript) and isinstance(node.ctx, (ast.Store, ast.Del)):
            self._change(node.value)
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
            self._change(getattr(node.func, "value", node))
        arguments = [*node.args, *(keyword.value for keyword in node.keywords)]
        if any(word in name for word in _WRITERS) or (name == "open" and any(map(_is_mode_of_writing, arguments))):
            for part in (*arguments, node.func):
                self.writes |= set() if any(map(_is_reading, ast.walk(part))) else _words(part)
        elif _is_reading(node):
            self.reads |= set(_texts(node))
        else:
            self.reads |= {text for each in arguments if isinstance(each, ast.Constant) for text in _texts(each)}

    def _change(self, node: ast.AST) -> None:
        while isinstance(node, ast.Subscript):
            node = node.value
        if isinstance(node, ast.Attribute):
            self.stores.add(ast.unparse(node))
        elif isinstance(node, ast.Name):
            self.changes.add(node.id)


def starts_empty(bindings: Iterable[ast.AST]) -> bool:
    """Return whether statements give a variable an empty container, which the training code may fill."""
    values = [getattr(statement, "value", None) for statement in bindings]
    return any(isinstance(value, (ast.List, ast.Dict, ast.Call)) and _is_empty(value) for value in values)


def _is_empty(value: ast.List | ast.Dict | ast.Call) -> bool:
    if isinstance(value, ast.Call):
        name = _holder(value.func).lstrip(".")
        return name == "defaultdict" or (name in _CONTAINERS and not value.args and not value.keywords)
    return not (value.elts if isinstance(value, ast.List) else value.keys)


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
    names = {str(getattr(inner, "attr", None) or getattr(inner, "id", "")) for inner in ast.walk(node)}
    return names | set(_texts(node))
