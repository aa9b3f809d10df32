"""The walk from a training function through the code and the values that it reaches."""

from __future__ import annotations

import ast
import contextlib
import dis
import functools
import importlib.util
import inspect
import os
import sys
import types
from collections import deque
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .._labels import is_vague, label_of
from ._own import attributes as attributes_of
from ._own import file_name, file_of, functions_of, is_own, is_own_class, is_own_code, is_own_module, wrapped_in
from ._source import (
    Source,
    canonical,
    code_text,
    compiler,
    global_names,
    imports_in,
    nested_codes,
    source_of,
)
from ._usage import Usage, starts_empty
from ._values import NAMESPACES, SIMPLE, digest_of, file_digest, is_simple

_HOOK = "__robust_lr_fingerprint__"


class Walk:
    def __init__(self) -> None:
        self._texts: dict[str, list[str]] = {}
        self._kinds: dict[str, str] = {}
        self._queue: deque[types.FunctionType | type] = deque()
        self._values: list[tuple[str, str, object, list[ast.AST]]] = []
        self._stored_as: dict[int, set[str]] = {}  # names of attributes in the stores of code, by place in the values
        self._changes, self._writes = set[str](), set[str]()
        self._blind = set[str]()  # names that code without a source uses, which may change them
        self._is_exploring = True  # follows the code in values, and does not read them yet
        self._seen: dict[object, object] = {}
        self._sources: dict[str, Source | None] = {}

    def finish(self) -> dict[str, str]:
        n_explored = 0
        while self._queue or n_explored < len(self._values):  # both grow on the way
            if self._queue:
                code = self._queue.popleft()
                self._visit_class(code) if isinstance(code, type) else self._visit_function(code)
                continue
            key, name, value, bindings = self._values[n_explored]
            n_explored += 1
            if not bindings or is_simple(value):
                self._text_or_type(value, key, name)
        # Values come last, because only now is it known which variables the code changes itself.
        volatile, self._is_exploring = self._volatile_names(), False
        for place, (key, name, value, bindings) in enumerate(self._values):
            names = {key, name, *self._stored_as.get(place, ())}
            is_state = not self._changes.isdisjoint(names) or name in volatile or starts_empty(bindings)
            if bindings and (is_state or not is_simple(value)):
                self._add(key, canonical(bindings))
                if isinstance(value, (str, Path)) and name not in self._writes:
                    self._add_file(value)
            elif not is_state and not (name in self._blind and isinstance(value, (list, dict, set))):
                self._add(key, self._text_or_type(value, key, name))
        return {
            key: ":".join(filter(None, [self._kinds.get(key, ""), digest_of("\n".join(texts))]))
            for key, texts in self._texts.items()
        }

    def _volatile_names(self) -> set[str]:
        names = {name: (Usage(bindings).is_volatile, _names_in(bindings)) for _, name, _, bindings in self._values}
        found = {name for name, (is_volatile, _) in names.items() if is_volatile}
        for _ in names:
            found |= (more := {name for name, (_, used) in names.items() if not found.isdisjoint(used)} - found)
            if not more:
                break
        return found

    def _add(self, key: str, text: str, kind: str = "") -> None:
        self._texts.setdefault(key, []).append(text)
        self._kinds.setdefault(key, kind)

    def _is_new(self, key: object, keep: object) -> bool:
        is_new = key not in self._seen
        self._seen[key] = keep  # alive, so that its id stays its own
        return is_new

    # Values

    def visit(self, value: object, place: str) -> None:
        """Visit a callable: follow its code, or take it as a value."""
        if isinstance(value, functools.partial):
            self.visit(value.func, place)
            arguments = [*enumerate(value.args, 1), *value.keywords.items()]
            of = "" if place == "train" else f" of {place}"
            self._values += [(f"argument {name}{of}", str(name), each, []) for name, each in arguments]
        elif inspect.ismethod(value):
            self.visit(value.__func__, place)
            self._visit_object(value.__self__, place)
        elif isinstance(value, (types.FunctionType, type)):
            self._queue.append(value)
        elif (inner := wrapped_in(value)) is not None:
            self.visit(inner, place)
        elif callable(value) and not inspect.isroutine(value):
            self._visit_object(value, place)

    def _visit_object(self, value: object, place: str) -> None:
        if isinstance(value, type):
            self._queue.append(value)
        elif self._is_new(id(value), value):
            hook = getattr(type(value), _HOOK, None)
            if hook is None and not is_own_class(type(value)):
                self._values.append((place, place, value, []))
                return
            self._queue.append(type(value))
            if hook is None and hasattr(type(value), "state_dict"):
                return  # a module of torch, whose label says it all
            parts = hook(value) if hook is not None else attributes_of(value)
            items = parts.items() if isinstance(parts, Mapping) else [("fingerprint", parts)]
            of = "" if place == "train" else f" of {place}"
            for name, each in items:
                self._add_attribute(value, name, each, f"attribute {name}{of}")

    def _add_attribute(self, owner: object, name: str, value: object, key: str) -> None:
        kinds = owner.__mro__ if isinstance(owner, type) else type(owner).__mro__
        stored = {f"{kind.__module__}:{kind.__qualname__}.{name}" for kind in kinds}
        self._stored_as[len(self._values)] = {*stored, f"{id(owner)}.{name}"}
        self._values.append((key, f".{name}", value, []))

    def _text_or_type(self, value: object, key: str, name: str) -> str:
        try:
            return self._text(value, key, name)
        except Exception:  # a value that holds itself, or has a property or a __repr__ that raises
            return type(value).__qualname__

    def _text(self, value: object, key: str, name: str) -> str:
        """Return a text of a value, and follow the code inside."""
        again = functools.partial(self._text, key=key, name=name)
        if isinstance(value, (str, Path)) and name.lstrip(".") not in self._writes:
            self._add_file(value)
        if isinstance(value, SIMPLE):
            return repr(value)
        if isinstance(value, types.ModuleType):
            return value.__name__
        if isinstance(value, functools.partial):
            return f"partial({again(value.func)}, {again(value.args)}, {again(value.keywords)})"
        if isinstance(value, Mapping) or type(value).__name__ in NAMESPACES:
            items = value.items() if isinstance(value, Mapping) else vars(value).items()
            return "{" + ", ".join(f"{again(k)}: {again(v)}" for k, v in items) + "}"
        if isinstance(value, (list, tuple)) and len(value) > 1000 and set(map(type, value)) <= {bool, int, float, str}:
            return repr(value)
        if isinstance(value, (list, tuple)):
            return f"{type(value).__name__}({', '.join(map(again, value))})"
        if isinstance(value, (set, frozenset)):
            return "{" + ", ".join(sorted(map(again, value))) + "}"
        if isinstance(value, (types.FunctionType, type)) or inspect.ismethod(value) or wrapped_in(value):
            self.visit(value, key)
            return str(getattr(value, "__qualname__", type(value).__qualname__))
        if is_own_class(type(value)) or hasattr(type(value), _HOOK):
            self._visit_object(value, key)
            if not hasattr(type(value), "state_dict"):
                return type(value).__qualname__
        if hasattr(value, "__qualname__"):
            return str(value.__qualname__)
        label = "" if self._is_exploring else label_of(value)
        return type(value).__qualname__ if is_vague(label) else label

    def _add_file(self, value: str | Path, folder: str = "") -> None:
        if self._is_exploring and not folder:
            return
        try:
            for path in dict.fromkeys([Path(value), Path(folder, value)]):
                if len(str(value)) > 1 and path.is_file() and path.suffix != ".py":
                    self._add(f"file {value}", file_digest(path))
                    break
        except (OSError, ValueError):  # not a path, or a file that may not be read
            return

    # Code

    def _visit_function(self, function: types.FunctionType) -> None:
        code = function.__code__
        module = str(function.__globals__.get("__name__"))  # unlike __module__, which functools.wraps copies
        if not self._is_new(id(function), function):
            return
        if not is_own(code.co_filename) or not is_own_module(module):
            self.visit(wrapped_in(function), "")
            self._visit_implementations(function)
            return
        is_first = not self._texts
        source = self._source(code.co_filename)
        nodes = source.nodes_of(code) if source else []
        key = f"{file_name(module)}:{code.co_qualname.replace('<locals>.', '')}"
        if nodes:
            self._add(key, canonical(nodes))
            usage = self._use(nodes, function.__globals__, code)
            self._changes.update(f"{key}, default of {name}" for name in usage.changes)
            self._add_stores(usage.stores, function, key, is_first=is_first)
        else:
            self._add(key, code_text(code), compiler())
            self._changes.update(_stored(code))
            self._blind.update(code.co_freevars, global_names(code))
        defaults = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
        names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        for name, value in zip(names[::-1], defaults[::-1], strict=False):
            self._values.append((f"{key}, default of {name}", name, value, []))
        for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            if name != "__class__" and (content := _content(cell)) is not cell:
                self._values.append((f"{key}, closure value {name}", name, content, []))
        for name, value in vars(function).items():
            if not name.startswith("_") and name != "label":  # the label names the results, and is no code
                self._add_attribute(function, name, value, f"{key}, attribute {name}")
        self._visit_globals(global_names(code), function.__globals__, code.co_names)
        decorators = [d for node in nodes for d in getattr(node, "decorator_list", [])]
        self._visit_names(decorators, function.__globals__)

    def _visit_implementations(self, function: types.FunctionType) -> None:
        """Visit what functools.singledispatch registered, by type: annotations, which may give it, are no code."""
        found = getattr(function, "registry", None)
        if isinstance(found, types.MappingProxyType):
            names = sorted(f"{kind.__qualname__}: {each.__qualname__}" for kind, each in found.items())
            self._add(f"{file_name(function.__module__)}:{function.__qualname__}, implementations", "\n".join(names))
            for each in found.values():
                self.visit(each, "")

    def _add_stores(self, stores: set[str], function: types.FunctionType, key: str, *, is_first: bool) -> None:
        """Note whose attributes a function stores, where that is sure: of its class, its argument, or a known value."""
        code, module = function.__code__, function.__globals__.get("__name__")
        parameters = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        local = {name for each in nested_codes(code) for name in (*each.co_varnames, *each.co_cellvars)}
        closure = zip(code.co_freevars, map(_content, function.__closure__ or ()), strict=True)
        known = {**function.__globals__, **dict(closure)}
        for root, *path, name in (text.split(".") for text in stores):
            if root in local:
                if not path and parameters[:1] == (root,):
                    self._changes.add(f"{module}:{code.co_qualname.rpartition('.')[0]}.{name}")
                if not path and root in parameters and is_first:
                    of = (f"argument {root}", f"{key}, default of {root}")
                    self._changes.update(f"attribute {name} of {each}" for each in of)
                continue
            owner = known.get(root)
            for each in path:
                owner = inspect.getattr_static(owner, each, None)
            if isinstance(owner, types.ModuleType):
                self._changes.add(f"{file_name(owner.__name__)}:{name}")
            elif isinstance(owner, type):
                self._changes.add(f"{owner.__module__}:{owner.__qualname__}.{name}")
            elif owner is not None:
                self._changes.add(f"{id(owner)}.{name}")

    def _visit_class(self, kind: type) -> None:
        for each in kind.__mro__:
            if not is_own_class(each) or not self._is_new(id(each), each):
                continue
            for member in vars(each).values():
                for function in functions_of(member):
                    self._visit_function(function)
            source = self._source(getattr(sys.modules.get(each.__module__), "__file__", None) or "")
            nodes = source.class_body(each.__qualname__) if source else []
            key = f"{file_name(each.__module__)}:{each.__qualname__.replace('<locals>.', '')}"
            scope = vars(sys.modules[each.__module__]) if each.__module__ in sys.modules else {}
            if source:
                self._add(key, canonical(nodes))
                self._use(nodes, scope, None)
                self._visit_names(nodes, scope)
            constants = {n: v for n, v in vars(each).items() if not n.startswith("_") and is_simple(v)}
            for name, value in constants.items():
                self._add_attribute(each, name, value, f"{key}.{name}")

    def _use(self, nodes: list[ast.AST], scope: Mapping[str, Any], code: types.CodeType | None) -> Usage:
        """Note what the code changes, and add the files, environment variables and late imports that it names."""
        usage = Usage(nodes)
        own = {name for each in (nested_codes(code) if code else ()) for name in (*each.co_varnames, *each.co_cellvars)}
        self._changes |= usage.changes - own
        self._writes |= usage.writes
        folder = str(Path(scope.get("__file__") or "").parent)
        for text in sorted(usage.reads):
            self._add_file(text, folder)
        for name in sorted(usage.environment):
            self._add(f"environment variable {name}", os.environ.get(name, "<unset>"))
        for name, level in imports_in(nodes):
            self._visit_module_file(name, level, scope.get("__package__"))
        return usage

    def _visit_module_file(self, name: str, level: int, package: str | None) -> None:
        """Add a module as a whole, with those that it imports: it may not be loaded yet, and is not loaded here."""
        try:
            full = importlib.util.resolve_name("." * level + name, package) if level else name
            file = file_of(full)
        except (ImportError, ValueError, AttributeError):
            return
        if not file or not is_own(file) or not is_own_module(full) or not self._is_new(("file", file), None):
            return
        source = self._source(file)
        if source is not None:
            body = [s for s in source.tree.body if not (isinstance(s, ast.If) and "__main__" in canonical(s.test))]
            self._add(file_name(full), canonical(body))
            is_package = file.endswith("__init__.py")
            self._use([*body], {"__package__": full if is_package else full.rpartition(".")[0], "__file__": file}, None)

    def _visit_globals(self, names: Iterable[str], scope: Mapping[str, Any], attributes: Iterable[str]) -> None:
        for name in names:
            if name not in scope or name.startswith("__"):
                continue
            value, module = scope[name], str(scope.get("__name__"))
            if isinstance(value, types.ModuleType) and is_own_module(value.__name__):
                file = getattr(value, "__file__", None)
                if is_own(file):
                    found = [each for each in attributes if each in vars(value)]
                    self._visit_globals(found, vars(value), attributes)
                    continue
            key = f"{file_name(module)}:{name}"
            if is_own_code(value):
                self.visit(value, key)
            elif self._is_new(("global", module, name), None):
                source = self._source(scope.get("__file__") or "")
                bindings = source.bindings.get(name, []) if source else []
                self._values.append((key, name, value, bindings))
                if bindings:
                    self._use(bindings, scope, None)
                    self._visit_names(bindings, scope)
                if source and name in source.origins:
                    self._visit_origin(*source.origins[name], scope)

    def _visit_origin(self, module: str, name: str, scope: Mapping[str, Any]) -> None:
        """Visit a global where it was imported from: what is no plain value is known by its statements there."""
        with contextlib.suppress(ImportError):
            module = importlib.util.resolve_name(module, scope.get("__package__"))
        loaded = sys.modules.get(module)
        if loaded is not None and is_own_module(module) and is_own(getattr(loaded, "__file__", None)):
            self._visit_globals([name], vars(loaded), ())

    def _visit_names(self, nodes: Iterable[ast.AST], scope: Mapping[str, Any]) -> None:
        inner = [node for top in nodes for node in ast.walk(top)]
        self._visit_globals(
            _names_in(nodes), scope, {node.attr: None for node in inner if isinstance(node, ast.Attribute)}
        )

    def _source(self, file: str) -> Source | None:
        if file not in self._sources:
            self._sources[file] = source_of(file) if file else None
        return self._sources[file]


def _names_in(nodes: Iterable[ast.AST]) -> dict[str, None]:
    return {node.id: None for top in nodes for node in ast.walk(top) if isinstance(node, ast.Name)}


def _content(cell: Any) -> object:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return cell


def _stored(code: types.CodeType) -> set[str]:
    stores = ("STORE_GLOBAL", "STORE_DEREF")
    return {i.argval for each in nested_codes(code) for i in dis.get_instructions(each) if i.opname in stores}
