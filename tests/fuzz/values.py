"""Values, texts and files that nobody expects, made from a random generator."""

from __future__ import annotations

import json
import math
import random
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np

from .fuzzer import PLANTED

NUMBERS = [
    0, 1, -1, 2, 3, 10, 1e-4, 0.01, 0.1, 0.5, 1.0, 1.5, 100.0, 1e308, -1e308, 5e-324, 1e-300, 1e300, math.nan, math.inf,
    -math.inf, 2**31, 2**63, -(2**63), 10**20, 10**400, -(10**400), 0.1 + 1e-17, 1 + 1e-9, 1 + 1e-15,
]  # fmt: skip
OTHERS: list[Any] = [
    None, True, False, "", "x", "1", "1%", "nan", "inf", "1e999", b"1", [], {}, (), [1], [0.1, 0.2], {"a": 1}, 1j,
    object(),
    np.float64(0.1), np.float32(0.1), np.int64(3), np.array([0.1, 0.2]), np.array(0.1), np.float64(math.nan),
    Decimal("0.1"), Fraction(1, 3), range(3), lambda *a, **k: 0.1, Exception, "cosine", "\x1b[2J", "\x00", "é" * 1000,
]  # fmt: skip
WORDS = [
    "cosine", "constant", "linear", "wsd(0.2)", "polynomial(2)", "inverse-sqrt", "warmup(0.05)+cosine",
    "cooldown(0.2)",
    f"function({PLANTED}:go)", f"function({PLANTED})", "function(os:getcwd)", "cosine(floor=1e999)", "cosine(", "+",
    "()",
    "warmup(steps=-1)+linear", "wsd(0.2, shape=x)", "cosine+cosine", "table(3)", "polynomial(1e308)", "wsd(200%)",
]  # fmt: skip
FIELDS = ["lr", "loss", "seed", "schedule", "status", "State", "step", "id", "metrics", "error", "seconds", "val_loss"]
CELLS = [
    "", "0.1", "0.01", "1e-3", "1", "nan", "NaN", "inf", "-inf", "1e999", "-1", "0", "0,1", "1,234", "1_000",
    "finished",
    "crashed", "cosine", "=1+1", "=cmd|' /C calc'!A0", "<script>x</script>", "\x1b[2J", "../../x", "/etc/passwd", "é",
    "'", '"', '""', "\u202e", "9" * 400, "9" * 5000, "0x1F", "True", "None", f"function({PLANTED}:go)", "   ", "١٢",
]  # fmt: skip


def number(rng: random.Random) -> Any:
    if rng.random() < 0.3:
        return 10 ** rng.uniform(-8, 4)
    return rng.choice(NUMBERS)


def value(rng: random.Random) -> Any:
    return number(rng) if rng.random() < 0.6 else rng.choice(OTHERS)


def mutated(rng: random.Random, data: bytes) -> bytes:
    """The bytes with a few places changed, cut, doubled, swapped or filled with something."""
    text = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 5, 30])):
        at, length = rng.randrange(len(text) + 1), rng.choice([1, 1, 2, 8, 40])
        kind = rng.randrange(6)
        if kind == 0:
            del text[at : at + length]
        elif kind == 1:
            text[at:at] = rng.choice(CELLS).encode()
        elif kind == 2:
            text[at:at] = text[at : at + length]
        elif kind == 3:
            text[at : at + 1] = bytes([rng.randrange(256)])
        elif kind == 4:
            text[at:at] = rng.choice([b"\x00", b"\n", b"\r\n", b",", b";", b"\t", b'"', b"{", b"[" * 3000, b"\xff\xfe"])
        else:
            del text[at:]
    return bytes(text)


def table(rng: random.Random) -> bytes:
    """A table of runs as CSV, JSON or JSON lines, with a few cells that nobody expects."""
    names = ["lr", "loss", *rng.sample(FIELDS, rng.randrange(5))]
    n_rows = rng.choice([0, 1, 3, 12, 30])
    rows: list[dict[str, Any]] = [
        {name: rng.choice(["0.001", "0.01", "0.1", "1"]) if name == "lr" else f"{rng.random():.4f}" for name in names}
        for _ in range(n_rows)
    ]
    for row in rows:
        for name in names:
            if rng.random() < 0.1:
                row[name] = rng.choice(CELLS)
    kind = rng.randrange(4)
    if kind < 2:
        mark = rng.choice([",", ";", "\t", "|"])
        lines = [mark.join(names), *(mark.join(str(row[name]) for name in names) for row in rows)]
        return "\n".join(lines).encode()
    if kind == 2:
        return json.dumps(rows).encode()
    return "\n".join(json.dumps(row) for row in rows).encode()


def journal(rng: random.Random) -> list[dict[str, Any]]:
    """The records of a journal, a few fields of which are replaced."""
    lrs, names, seeds = [0.001, 0.01, 0.1, 1.0], rng.sample(WORDS, 2), list(range(rng.choice([1, 2, 3])))
    records: list[dict[str, Any]] = [
        {
            "record": "sweep", "format": 1, "library": "0.2.0", "learning_rates": lrs, "seeds": seeds,
            "train": "t:train",
            "schedules": {name: name for name in names}, "created": "2026-01-01T00:00:00+00:00",
        }
    ]  # fmt: skip
    records += [
        {
            "record": "trial", "schedule": name, "lr": lr, "seed": seed,
            "status": rng.choice(["ok", "ok", "diverged", "failed"]),
            "loss": rng.choice([rng.random(), rng.random(), number(rng)]), "seconds": 0.5, "metrics": {"acc": 0.5},
            "error": None,
        }
        for lr in lrs for name in names for seed in seeds
    ]  # fmt: skip
    for _ in range(rng.choice([0, 1, 1, 3])):
        record = rng.choice(records)
        field = rng.choice(list(record))
        record[field] = rng.choice([None, "x", -1, 1e999, math.nan, [], {}, [[1]], {"a": {}}, "\x1b[2J", 10**30, True])
        if rng.random() < 0.2:
            del record[field]
    return records


def as_lines(records: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(record) + "\n" for record in records).encode()
