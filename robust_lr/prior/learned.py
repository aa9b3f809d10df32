"""`LearningRatePrior`: what a collection of sweeps knows about the next one."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from .._text import count_of
from ..collection._clusters import cluster_numbers, columns_to_leave_out
from ..exceptions import DataError, InsufficientDataError
from ._calibration import calibrate
from ._features import Features, Value
from ._fields import KnownSweep, PriorFields
from ._law import Law
from ._learning import Learned, learn
from .valley_prior import ValleyPrior

if TYPE_CHECKING:
    from ..collection import SweepCollection

_LEAST_POINTS, _MOST_SWEEPS = 3, 20_000
# Degrees of freedom of what is assumed about the spreads before any sweep.
_PRIOR_DOF = 4


@dataclass(frozen=True, eq=False, repr=False)
class LearningRatePrior(PriorFields):
    """What many sweeps know about the next one: a law for the best learning rate, and the valley around it.

    The logarithm of the best learning rate is linear in the logarithms of the covariates that are numbers, with a level
    for each value of the others. The same holds for the cost of half and of twice that learning rate. Each coefficient
    is regularized, and sweeps of one cluster may be alike. `at` gives what this says about a new sweep, which is what
    `LearningRateSearch` takes as ``prior=``.

    `fit` makes a prior, `grown_by` adds sweeps to it, `save` and `load` keep it in a readable file.

    Attributes:
        sweeps: the sweeps that it was learned from, with their losses.
        cluster_by: the covariates that sweeps of one cluster share.
        features: the covariates as the law uses them.
        learned: the laws, the noise of a run, and the powers of the valley.
        calibration: how large its errors were on left-out clusters.
        notes: caveats on the sweeps.

    Example:
        >>> import math
        >>> from robust_lr import SweepCollection, SweepResult
        >>> def sweep(params):
        ...     lrs = [2.0**k * 1e-3 for k in range(7)]
        ...     losses = [3 + 0.01 * math.log2(lr / (0.01 * (1e8 / params) ** 0.5)) ** 2 for lr in lrs]
        ...     return {"params": params}, SweepResult(("cosine",), lrs, (0,), [[[loss] for loss in losses]])
        >>> prior = LearningRatePrior.fit(SweepCollection.from_sweeps(map(sweep, [1e8, 2e8, 4e8, 8e8])))
        >>> round(prior.at(params=3e8).lr, 4), round(prior.exponents["params"].mean, 1)
        (0.0058, -0.5)
    """

    @classmethod
    def fit(cls, collection: SweepCollection, *, cluster_by: Sequence[str] | None = None) -> Self:
        """Learn a prior from a collection.

        A sweep needs three learning rates with a finite loss; others are left out, and a note says so. With several
        schedules the schedule is one more covariate.

        Args:
            collection: the sweeps.
            cluster_by: the covariates that sweeps of one cluster share, because they may be alike; by default all but
                the one whose values vary most within what the others share.

        Raises:
            InsufficientDataError: when fewer than two sweeps are left.
            DataError: when the collection is of scores, or of more than 20,000 sweeps.
            OptionError: when there is no such covariate.
        """
        sweeps, notes = _known_sweeps(collection)
        return cls._of(sweeps, cluster_by, notes)

    def grown_by(self, collection: SweepCollection) -> Self:
        """Return the prior learned from its own sweeps and these together.

        A sweep with the covariates of a known one replaces it.

        Raises:
            DataError: when their covariates are not the same.
        """
        new, notes = _known_sweeps(collection)
        if set(new[0].covariates) != set(self.sweeps[0].covariates):
            ours, theirs = (", ".join(sweeps[0].covariates) or "none" for sweeps in (self.sweeps, new))
            raise DataError(f"the prior has the covariates {ours}, the new sweeps have {theirs}")
        sweeps = {tuple(sorted(each.covariates.items())): each for each in (*self.sweeps, *new)}
        return self._of(tuple(sweeps.values()), self.cluster_by, (*self.notes, *notes))

    @classmethod
    def _of(cls, sweeps: tuple[KnownSweep, ...], cluster_by: Sequence[str] | None, notes: Sequence[str]) -> Self:
        if len(sweeps) < 2:
            raise InsufficientDataError(
                f"a prior needs at least two sweeps with {_LEAST_POINTS} finite losses, got {len(sweeps)}"
            )
        if len(sweeps) > _MOST_SWEEPS:
            raise DataError(f"a prior takes at most {_MOST_SWEEPS} sweeps, got {len(sweeps)}")
        covariates = [each.covariates for each in sweeps]
        columns = columns_to_leave_out(sweeps, cluster_by)
        cluster = cluster_numbers(sweeps, columns)
        features = Features.of(covariates)
        rows = np.array([features.row(each)[0] for each in covariates]).reshape(len(sweeps), -1)
        learned, known = learn([each.points for each in sweeps], rows, cluster, features.plausible)

        laws_of: dict[bytes, tuple[Law, Law, Law]] = {}

        def left_out(number: int, kept: NDArray[np.bool_]) -> ValleyPrior:
            if kept.tobytes() not in laws_of:
                laws_of[kept.tobytes()] = known.laws(kept)
            n_clusters = len(np.unique(cluster[kept]))
            return _valley_prior(replace(learned, laws=laws_of[kept.tobytes()]), rows[number], n_clusters)

        calibration = calibrate(known, left_out)
        return cls(sweeps, columns or tuple(covariates[0]), features, learned, calibration, tuple(dict.fromkeys(notes)))

    def at(self, **covariates: Value) -> ValleyPrior:
        """Return what the sweeps expect of a new one with these covariates; pass it to a search as ``prior=``.

        Outside of what they know (a number far from all, an unknown level) it is wider, and its notes say so.

        Raises:
            OptionError: when a covariate is missing, unknown, or no number > 0.
        """
        checked = self.features.check(covariates)
        notes, is_far = self.features.notes(checked)
        row, unknown = self.features.row(checked)
        found = _valley_prior(self.learned, row, self.calibration.n_clusters, unknown)
        required = 1.0 if is_far else self.calibration.required
        return replace(found, required=required, notes=notes)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the prior as JSON.

        Raises:
            DataError: when the file cannot be written.
        """
        from ._file import write_prior

        write_prior(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a prior that `save` wrote.

        Raises:
            DataError: when the file is missing, no prior, of another version, or damaged.
        """
        from ._file import read_prior

        return cls(**vars(read_prior(path)))

    def __str__(self) -> str:
        from ._words import law_lines

        return "\n".join(law_lines(self))

    def __repr__(self) -> str:
        return f"LearningRatePrior({self.describe()})"


def _valley_prior(learned: Learned, row: NDArray[np.float64], n_clusters: int, unknown: float = 0.0) -> ValleyPrior:
    lr, left, right = (law.predict(row, unknown) for law in learned.laws)
    return ValleyPrior(
        lr=math.exp(lr.mean), lr_spread=lr.sd,
        left_rise=math.exp(left.mean), left_spread=left.sd,
        right_rise=math.exp(right.mean), right_spread=right.sd,
        left_power=learned.powers.left, right_power=learned.powers.right,
        noise=learned.noise, misfit=learned.misfit, dof=float(_PRIOR_DOF + n_clusters - 1),
    )  # fmt: skip


def _known_sweeps(collection: SweepCollection) -> tuple[tuple[KnownSweep, ...], list[str]]:
    if collection.direction != "minimize":
        raise DataError("a prior is learned from losses; these sweeps maximize a score")
    schedules, found, n_short = collection.schedules, list[KnownSweep](), 0
    for each in collection:
        for schedule in schedules:
            points = each.points(schedule)
            if points is None:
                continue
            if np.isfinite(points.loss).sum() < _LEAST_POINTS:
                n_short += 1
                continue
            more = {"schedule": schedule} if len(schedules) > 1 else {}
            n_seeds = float(points.n_seeds.mean())
            lrs, loss = tuple(points.learning_rates.tolist()), tuple(points.loss.tolist())
            found.append(KnownSweep({**each.covariates, **more}, lrs, loss, n_seeds, points.noise))
    if not found:
        raise InsufficientDataError(f"no sweep has {_LEAST_POINTS} learning rates with a finite loss")
    few = f"{count_of(n_short, 'sweep')} with fewer than {_LEAST_POINTS} finite losses left out"
    return tuple(found), [*collection.notes, *([few] if n_short else [])]
