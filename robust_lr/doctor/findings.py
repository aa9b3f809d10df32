"""What the doctor found: one line each, with the way out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .._text import count_of


@dataclass(frozen=True)
class Finding:
    """One fault of a learning-rate schedule.

    Attributes:
        code: its name, as in docs/how-to/doctor.md: "horizon-longer", say.
        message: what happened, why it matters and what to do, in one line.
        certain: whether the evidence leaves no other explanation; else something that was done on purpose may look so.

    Example:
        >>> print(Finding("never-stepped", "the scheduler was never stepped", certain=True))
        never-stepped: the scheduler was never stepped
    """

    code: str
    message: str
    certain: bool

    def __str__(self) -> str:
        return f"{self.code}{'' if self.certain else ' (probably)'}: {self.message}"


def findings_text(findings: Iterable[Finding], *, watched: str) -> str:
    """Return a report: a heading that says what was watched, then a line for each finding, certain ones first.

    Example:
        >>> print(findings_text([], watched="100 optimizer steps"))
        schedule doctor: 100 optimizer steps, nothing found
    """
    found = sorted(findings, key=lambda each: not each.certain)
    said = count_of(len(found), "finding") if found else "nothing found"
    return "\n".join([f"schedule doctor: {watched}, {said}", *(f"  {each}" for each in found)])
