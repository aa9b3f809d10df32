"""A prior and a suggestion in words."""

from __future__ import annotations

import math

from .._text import count_of, listed
from ._fields import PriorFields
from ._law import Prediction

_Z = 1.96


def law_lines(prior: PriorFields) -> list[str]:
    """Return the law, its errors on left-out clusters, and what a guess loses, one sentence a line."""
    calibration, learned = prior.calibration, prior.learned
    center = prior.features.center
    best, left, right = (law.predict(center) for law in learned.laws)
    at = listed(f"{name} = {value:.4g}" for name, (_, value, _) in prior.features.numbers.items())
    lines = [f"{prior.describe()[0].upper()}{prior.describe()[1:]}."]
    lines += [f"Best learning rate: {math.exp(best.mean):.3g}{f' at {at}' if at else ''}."]
    for name, exponent in prior.exponents.items():
        lines.append(_effect(name, exponent, is_number=name in prior.features.numbers))
    lines.append(
        f"Beyond that, sweeps differ by a factor of {math.exp(best.sd):.2f} (standard deviation). Half the best "
        f"learning rate costs {math.exp(left.mean):.2g}, twice costs {math.exp(right.mean):.2g}; a run has a noise of "
        f"{learned.noise:.2g}."
    )
    if calibration.n_folds >= 2:  # else nothing could be left out
        median, most = calibration.error
        mean, worst = calibration.guess_loss
        lines.append(
            f"On left-out clusters ({count_of(calibration.n_sweeps, 'sweep')}): it is off by {median:.2f} octaves in "
            f"the median and {most:.2f} in 90%; its learning rate loses {mean:.2g} on average without any trial, "
            f"up to {worst:.2g} in 90%."
        )
    lines.append(claim_line(prior))
    return [*lines, *(f"Note: {note}." for note in prior.notes)]


def claim_line(prior: PriorFields) -> str:
    """Return whether a search may end by what this prior knows."""
    calibration = prior.calibration
    if calibration.required < 1:
        return (
            f"A search may end by it: its statements at 95% were true in {calibration.true_share:.1%} of the left-out "
            "sweeps."
        )
    return (
        f"It guides a search but cannot end one: {count_of(len(prior.sweeps), 'sweep')} in "
        f"{count_of(calibration.n_clusters, 'cluster')} are too few, or too different, for a statement at 95%."
    )


def _effect(name: str, exponent: Prediction, *, is_number: bool) -> str:
    factor = math.log(2) if is_number else 1.0
    low, middle, high = (math.exp(factor * (exponent.mean + z * exponent.sd)) for z in (-_Z, 0.0, _Z))
    what = f"Twice the {name}" if is_number else name
    return f"{what}: learning rate times {middle:.2f} [{low:.2f}, {high:.2f}]."
