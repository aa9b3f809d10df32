"""The file of a prior: JSON that people can read, checked when it is read."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from .._checks import check_number, check_whole
from ..exceptions import DataError, OptionError
from ._calibration import Calibration
from ._features import Features
from ._fields import KnownSweep, PriorFields
from ._law import Law
from ._learning import Learned
from ._valley import Powers

_FORMAT, _KIND = 1, "robust-lr learning-rate prior"
_MOST_BYTES = 200_000_000
_MOST_POINTS, _MOST_FEATURES = 10_000, 1_000
_LAWS = ("learning_rate", "left_rise", "right_rise")


def write_prior(prior: PriorFields, path: str | os.PathLike[str]) -> None:
    try:
        Path(path).write_text(json.dumps(to_dict(prior), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror or error}") from None


def read_prior(path: str | os.PathLike[str]) -> PriorFields:
    try:
        if Path(path).stat().st_size > _MOST_BYTES:
            raise DataError(f"{path} has more than {_MOST_BYTES // 1_000_000} MB: no prior is that large")
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from None
    except (ValueError, RecursionError):
        raise DataError(f"{path} is no JSON; `robust-lr learn` writes priors") from None
    if not isinstance(content, Mapping) or content.get("kind") != _KIND:
        raise DataError(f"{path} is no prior; `robust-lr learn` writes one")
    if content.get("format") != _FORMAT:
        raise DataError(f"{path} is a prior in format {content.get('format')!r}; this version reads {_FORMAT}")
    try:
        return from_dict(content)
    except (KeyError, TypeError, ValueError, AttributeError, DataError, OptionError) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise DataError(f"the prior in {path} is damaged: {what}") from None


def to_dict(prior: PriorFields) -> dict[str, Any]:
    """Return the prior as JSON values; None stands for NaN and for a diverged training."""
    learned = prior.learned
    laws = {
        name: {
            "intercept": float(law.coefficients[0]),
            "coefficients": dict(zip(prior.features.names, law.coefficients[1:].tolist(), strict=True)),
            "covariance": law.covariance.tolist(),
            "within": law.within,
            "between": law.between,
        }
        for name, law in zip(_LAWS, learned.laws, strict=True)
    }
    return {
        "kind": _KIND,
        "format": _FORMAT,
        "features": {
            "numbers": {name: list(range_) for name, range_ in prior.features.numbers.items()},
            "levels": {name: list(levels) for name, levels in prior.features.levels.items()},
            "ignored": list(prior.features.ignored),
        },
        "laws": laws,
        "powers": list(learned.powers),
        "noise": learned.noise,
        "misfit": learned.misfit,
        "calibration": {key: _json(value) for key, value in asdict(prior.calibration).items()},
        "cluster_by": list(prior.cluster_by),
        "notes": list(prior.notes),
        "sweeps": [
            {
                "covariates": dict(each.covariates),
                "learning_rates": list(each.learning_rates),
                "loss": [_json(loss) for loss in each.loss],
                "n_seeds": each.n_seeds,
                "noise": _json(each.noise),
            }
            for each in prior.sweeps
        ],
    }


def from_dict(content: Mapping[str, Any]) -> PriorFields:
    features, calibration = content["features"], content["calibration"]
    numbers = {name: _numbers(f"range of {name}", range_, 3) for name, range_ in features["numbers"].items()}
    if any(not 0 < low <= center <= high for low, center, high in numbers.values()):
        raise DataError(f"the ranges of numbers must be (smallest, mean, largest) > 0, got {numbers}")
    levels = {name: _texts(f"levels of {name}", values) for name, values in features["levels"].items()}
    known = Features(numbers, levels, _texts("ignored", features["ignored"]))  # type: ignore[arg-type]
    if len(known.names) > _MOST_FEATURES:
        raise DataError(f"at most {_MOST_FEATURES} features, got {len(known.names)}")
    first, second, third = (_law(content["laws"][name], known) for name in _LAWS)
    powers = _numbers("powers", content["powers"], 2, at_least=1.0)
    noise = check_number("noise", content["noise"], at_least=0, error=DataError)
    misfit = check_number("misfit", content["misfit"], above=0, at_most=1, error=DataError)
    return PriorFields(
        tuple(map(_sweep, content["sweeps"])),
        _texts("cluster_by", content["cluster_by"]),
        known,
        Learned((first, second, third), Powers(*powers), noise, misfit),
        _calibration(calibration),
        _texts("notes", content["notes"]),
    )


def _law(values: Mapping[str, Any], features: Features) -> Law:
    names, n = features.names, len(features.names) + 1
    if list(values["coefficients"]) != list(names):
        raise DataError(f"the coefficients must be those of {', '.join(names)}, got {list(values['coefficients'])}")
    coefficients = _numbers("coefficients", [values["intercept"], *values["coefficients"].values()], n)
    covariance = np.array([_numbers("covariance", row, n) for row in values["covariance"]])
    if covariance.shape != (n, n) or not np.allclose(covariance, covariance.T) or (
        np.linalg.eigvalsh(covariance) < -1e-9 * np.abs(covariance).max()
    ).any():  # fmt: skip
        raise DataError("a covariance must be symmetric and positive")
    within, between = (check_number(name, values[name], at_least=0, error=DataError) for name in ("within", "between"))
    return Law(np.array(coefficients), covariance, within, between)


def _calibration(values: Mapping[str, Any]) -> Calibration:
    pairs = [tuple(_float(key, each) for each in values[key]) for key in ("error", "guess_loss")]
    if any(len(pair) != 2 for pair in pairs):
        raise DataError("error and guess_loss must be pairs")
    whole = {name: check_whole(name, values[name], at_least=0) for name in ("n_sweeps", "n_clusters", "n_folds")}
    return Calibration(
        check_number("required", values["required"], at_least=0.5, at_most=1, error=DataError),
        _float("true_share", values["true_share"]),
        **whole,
        error=pairs[0],  # type: ignore[arg-type]
        guess_loss=pairs[1],  # type: ignore[arg-type]
    )


def _sweep(values: Mapping[str, Any]) -> KnownSweep:
    lrs, losses = values["learning_rates"], values["loss"]
    if not isinstance(lrs, list) or not isinstance(losses, list) or not 3 <= len(lrs) == len(losses) <= _MOST_POINTS:
        raise DataError("a sweep needs as many losses as learning rates, at least 3")
    rates = _numbers("learning_rates", lrs, len(lrs), at_least=1e-300)
    if list(rates) != sorted(set(rates)):
        raise DataError(f"learning rates must ascend, got {lrs[:5]}")
    loss = tuple(math.inf if each is None else check_number("loss", each, error=DataError) for each in losses)
    covariates = dict(values["covariates"])
    for name, value in covariates.items():
        if not isinstance(value, str):
            covariates[name] = check_number(name, value, error=DataError)
    n_seeds = check_number("n_seeds", values["n_seeds"], at_least=1, error=DataError)
    return KnownSweep(covariates, rates, loss, n_seeds, _float("noise", values["noise"]))


def _numbers(name: str, values: object, n: int, *, at_least: float = -math.inf) -> tuple[float, ...]:
    if not isinstance(values, Sequence) or isinstance(values, str) or len(values) != n:
        raise DataError(f"{name} must be {n} numbers, got {str(values)[:60]}")
    return tuple(check_number(name, value, at_least=at_least, error=DataError) for value in values)


def _texts(name: str, values: object) -> tuple[str, ...]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise DataError(f"{name} must be a list of texts, got {str(values)[:60]}")
    return tuple(values)


def _float(name: str, value: object) -> float:
    return math.nan if value is None else check_number(name, value, error=DataError)


def _json(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_json(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
