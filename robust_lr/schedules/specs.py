"""Schedules as text: ``parse_schedule("warmup(0.05)+cosine(floor=0.01)")`` reads what ``str(schedule)`` prints."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable
from typing import Any

from .._text import did_you_mean, listed
from ..exceptions import ScheduleError
from .closed_forms import (
    Constant,
    Cooldown,
    CosineDecay,
    FunctionSchedule,
    InverseSqrt,
    LinearDecay,
    PolynomialDecay,
    Schedule,
    Warmup,
    WarmupStableDecay,
    as_schedule,
)
from .horizon import Horizon

_BY_NAME: dict[str, Callable[..., Schedule]] = {
    s.name: s for s in (Constant, InverseSqrt, LinearDecay, PolynomialDecay, CosineDecay, WarmupStableDecay)
}
# What other libraries call a schedule of this one.
_OTHER_NAMES = {
    "cosineannealinglr": "cosine", "cosine-annealing": "cosine", "cos": "cosine", "cosine-decay": "cosine",
    "linearlr": "linear", "linear-decay": "linear", "polynomiallr": "polynomial(1)", "poly": "polynomial(2)",
    "constantlr": "constant", "none": "constant", "flat": "constant", "rsqrt": "inverse-sqrt",
    "inverse-square-root": "inverse-sqrt", "noam": "warmup(0.05)+inverse-sqrt", "trapezoidal": "wsd(0.2)",
    "trapezoid": "wsd(0.2)", "warmup-stable-decay": "warmup(0.05)+wsd(0.2)",
}  # fmt: skip
_HORIZON = re.compile(r"(.*\S)\s+for\s+(\d+)\s+steps?\s*", re.DOTALL)
_TERM = re.compile(r"\s*([A-Za-z][\w-]*)\s*(?:\(([^()]*)\))?\s*")


def parse_schedule(spec: str | Schedule, *, import_functions: bool = True) -> Schedule:
    """Return the schedule that a spec describes; a schedule is returned unchanged.

    A spec is a name with arguments, by position or by name, between an optional warm-up and an optional cooldown:
    ``constant``, ``inverse-sqrt(timescale=100)``, ``linear``, ``polynomial(2)``, ``cosine(floor=0.1)``, ``wsd(0.2)``,
    ``wsd(0.2, shape=1-sqrt)``, ``warmup(0.05)+cosine``, ``warmup(steps=300)+inverse-sqrt+cooldown(0.2)``,
    ``function(module:name)``. A fraction may be written as a percentage: ``wsd(20%)``. ``cosine for 1000 steps`` is a
    `robust_lr.schedules.Horizon`, which refuses a training of another length.

    Args:
        spec: a text, or a schedule.
        import_functions: whether ``function(module:name)`` may import its module. Pass False for a spec from a file
            of results: reading data must not run code.

    Raises:
        ScheduleError: when the spec cannot be read; the message lists the known names.

    Example:
        >>> parse_schedule("warmup(0.05)+cosine(floor=0.01)")
        Warmup(schedule=CosineDecay(floor=0.01), fraction=0.05, steps=None)
        >>> str(parse_schedule("polynomial(2)"))
        'polynomial(power=2)'
    """
    if not isinstance(spec, str):
        return as_schedule(spec)
    if match := _HORIZON.fullmatch(spec):
        return Horizon(parse_schedule(match[1], import_functions=import_functions), int(match[2]))
    terms = [_parse_term(term, spec) for term in _split_terms(spec)]
    warmup = terms.pop(0) if terms and terms[0][0] == "warmup" else None
    cooldown = terms.pop() if terms and terms[-1][0] == "cooldown" else None
    fraction = warmup[1][0] if warmup is not None and warmup[1] else 0
    if isinstance(fraction, int) and fraction > 1:
        raise ScheduleError(
            f"in the schedule {spec!r}: warmup(0.05) is a share of all steps; for {fraction} steps, write "
            f"warmup(steps={fraction})"
        )
    if len(terms) != 1:
        alone = f"; write {spec.strip()}+cosine to warm up before cosine" if not terms and cooldown is None else ""
        raise ScheduleError(
            "a schedule reads [warmup(..)+]name(..)[+cooldown(..)] with one name of "
            f"{', '.join(_BY_NAME)}; got {spec!r}{alone}"
        )
    name, args, kwargs = terms[0]
    schedule: Schedule
    if name == "function" and not import_functions:
        raise ScheduleError(f"{spec!r} names a function, and reading results imports none")
    if name == "function":
        schedule = _build(_import_function, args, kwargs, spec)
    elif name in _BY_NAME:
        schedule = _build(_BY_NAME[name], args, kwargs, spec)
    elif name == "table":
        raise ScheduleError(
            f"a table of values cannot be read back from its spec {spec!r}; build it with TableSchedule"
        )
    else:
        known = f"; known names: {', '.join(_BY_NAME)}; any other is function(module:name)"
        where = "" if name == spec.strip() else f" in {spec!r}"
        raise ScheduleError(f"unknown schedule {name!r}{where}{_way_to_write(name) or known}")
    if cooldown is not None:
        inner = schedule
        schedule = _build(lambda *a, **k: Cooldown(inner, *a, **k), cooldown[1], cooldown[2], spec, of=Cooldown)
    if warmup is not None:
        warmed = schedule
        schedule = _build(lambda *a, **k: Warmup(warmed, *a, **k), warmup[1], warmup[2], spec, of=Warmup)
    return schedule


def _way_to_write(name: str) -> str:
    """How to write a schedule that other libraries know under this name, or a near miss; empty if unknown."""
    name = re.sub(r"^get-|-?(lr-)?schedule(r)?(?=-|$)", "", name)
    rest = re.sub(r"-?(with|after)?-?warm-?up-?", "", name)
    inner = _OTHER_NAMES.get(name) or _OTHER_NAMES.get(rest, rest)
    if name not in _OTHER_NAMES and rest != name and inner.partition("(")[0] in _BY_NAME:
        return f"; write warmup(0.05)+{inner}, or warmup(steps=100)+{inner}"
    return f"; write {inner}" if name in _OTHER_NAMES else did_you_mean(name, [*_BY_NAME, "function", "warmup"])


def _split_terms(spec: str) -> list[str]:
    return re.split(r"\+(?![^(]*\))", spec)  # a plus sign inside brackets belongs to a number such as 1e+2


def _parse_term(term: str, spec: str) -> tuple[str, list[Any], dict[str, Any]]:
    match = _TERM.fullmatch(term)
    if match is None:
        raise ScheduleError(
            f"cannot read {term!r} in the schedule {spec!r}; write it as name or name(argument, key=value)"
        )
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for part in filter(None, (p.strip() for p in (match[2] or "").split(","))):
        key, equals, value = (p.strip() for p in part.partition("="))
        if equals:
            kwargs[key] = _parse_value(value)
        else:
            args.append(_parse_value(key))
    return match[1].lower().replace("_", "-"), args, kwargs


def _parse_value(text: str) -> float | int | str:
    if text.endswith("%") and not isinstance(share := _parse_value(text[:-1]), str):
        return share / 100
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text


def _build(
    make: Callable[..., Schedule], args: list[Any], kwargs: dict[str, Any], spec: str, *, of: Any = None
) -> Schedule:
    known = [name for name in inspect.signature(of or make).parameters if name != "schedule"]
    try:
        if unknown := [name for name in kwargs if name not in known]:
            takes = did_you_mean(unknown[0], known) or (f"; it takes {listed(known)}" if known else "; it takes none")
            raise ScheduleError(f"there is no argument {unknown[0]!r}{takes}")
        return make(*args, **kwargs)
    except TypeError as error:
        what = str(error).rpartition(".__init__() ")[2]
        if len(args) > len(known):
            what = f"it takes {listed(known) or 'none'}, got {listed(map(str, args))}"
        raise ScheduleError(f"wrong arguments in the schedule {spec!r}: {what}") from None
    except ScheduleError as error:
        raise ScheduleError(f"in the schedule {spec!r}: {error}") from None


def _import_function(where: str, degree: float | None = None) -> FunctionSchedule:
    module, _, name = str(where).partition(":")
    try:
        target: Any = importlib.import_module(module)
        for part in name.split("."):
            target = getattr(target, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise ScheduleError(f"cannot import the schedule function {where!r}: {error}") from None
    return FunctionSchedule(target, degree)
