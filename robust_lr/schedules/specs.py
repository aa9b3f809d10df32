"""Schedules as text: ``parse_schedule("warmup(0.05)+cosine(floor=0.01)")`` reads what ``str(schedule)`` prints."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from typing import Any

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

_BY_NAME: dict[str, Callable[..., Schedule]] = {
    s.name: s for s in (Constant, InverseSqrt, LinearDecay, PolynomialDecay, CosineDecay, WarmupStableDecay)
}
_TERM = re.compile(r"\s*([A-Za-z][\w-]*)\s*(?:\(([^()]*)\))?\s*")


def parse_schedule(spec: str | Schedule) -> Schedule:
    """Return the schedule that a spec describes; a schedule is returned unchanged.

    A spec is a name with arguments, by position or by name, between an optional warm-up and an optional cooldown:
    ``constant``, ``inverse-sqrt(timescale=100)``, ``linear``, ``polynomial(2)``, ``cosine(floor=0.1)``, ``wsd(0.2)``,
    ``wsd(0.2, shape=1-sqrt)``, ``warmup(0.05)+cosine``, ``warmup(steps=300)+inverse-sqrt+cooldown(0.2)``,
    ``function(module:name)``.

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
    terms = [_parse_term(term, spec) for term in _split_terms(spec)]
    warmup = terms.pop(0) if terms and terms[0][0] == "warmup" else None
    cooldown = terms.pop() if terms and terms[-1][0] == "cooldown" else None
    if len(terms) != 1:
        raise ScheduleError(
            "a schedule reads [warmup(..)+]name(..)[+cooldown(..)] with one name of "
            f"{', '.join(_BY_NAME)}; got {spec!r}"
        )
    name, args, kwargs = terms[0]
    schedule: Schedule
    if name == "function":
        schedule = _build(_import_function, args, kwargs, spec)
    elif name in _BY_NAME:
        schedule = _build(_BY_NAME[name], args, kwargs, spec)
    elif name == "table":
        raise ScheduleError(
            f"a table of values cannot be read back from its spec {spec!r}; build it with TableSchedule"
        )
    else:
        raise ScheduleError(f"unknown schedule {name!r} in {spec!r}; known names: {', '.join(_BY_NAME)}, function")
    if cooldown is not None:
        schedule = _build(lambda *a, **k: Cooldown(schedule, *a, **k), cooldown[1], cooldown[2], spec)
    if warmup is not None:
        inner = schedule
        schedule = _build(lambda *a, **k: Warmup(inner, *a, **k), warmup[1], warmup[2], spec)
    return schedule


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
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text


def _build(make: Callable[..., Schedule], args: list[Any], kwargs: dict[str, Any], spec: str) -> Schedule:
    try:
        return make(*args, **kwargs)
    except TypeError as error:
        what = str(error).rpartition(".__init__() ")[2]
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
