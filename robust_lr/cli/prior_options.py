"""The options --prior and --at: what earlier sweeps expect of a new one."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..exceptions import OptionError

if TYPE_CHECKING:
    from ..prior import ValleyPrior

_LENGTHS = ("tokens", "total_steps", "steps", "epochs")
_AT = "values of the covariates of the new sweep, such as params=1e9,batch_size=512"


def add_prior(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--prior", metavar="FILE", help="prior from earlier sweeps, written by robust-lr learn")
    parser.add_argument("--at", metavar="NAME=VALUE,...", help=f"with --prior: {_AT}")
    parser.add_argument(
        "--length", metavar="NAME",
        help="with --prior and --horizons: the covariate that grows with the length [default: tokens, total_steps, "
        "steps or epochs, whichever --at has]",
    )  # fmt: skip


def add_at(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--at", metavar="NAME=VALUE,...", help=_AT)


def read_prior_option(options: argparse.Namespace) -> ValleyPrior | None:
    """Return the prior of the options, or None without one."""
    if options.prior is None:
        for name in ("at", "length"):
            if getattr(options, name) is not None:
                raise OptionError(f"--{name} needs --prior, the file that robust-lr learn wrote")
        return None
    if options.length is not None:
        raise OptionError("--length needs --horizons")
    return read_prior(options.prior, options.at)


def read_prior_at_lengths(options: argparse.Namespace) -> Callable[[int], ValleyPrior] | None:
    """Return what the prior of the options expects of a training of so many steps, or None without one."""
    if options.prior is None:
        read_prior_option(options)
        return None
    from ..prior import LearningRatePrior

    prior, at = LearningRatePrior.load(options.prior), read_at(options.at)
    prior.at(**at)  # a wrong covariate, before any trial
    name = options.length or next((name for name in _LENGTHS if name in at), None)
    value = at.get(name or "")
    if name is None or not isinstance(value, float):
        raise OptionError(f"--length must name a number in --at that grows with the length, got {name or 'none'}")
    return lambda steps: prior.at(**{**at, name: value * steps / options.total_steps})


def read_prior(path: str, at: str | None) -> ValleyPrior:
    from ..prior import LearningRatePrior

    return LearningRatePrior.load(path).at(**read_at(at))


def read_at(text: str | None) -> dict[str, float | str]:
    """Read "params=1e9,data=web"; what looks like a number is one.

    Example:
        >>> read_at("params=1e9, data=web")
        {'params': 1000000000.0, 'data': 'web'}
    """
    values: dict[str, float | str] = {}
    for entry in (text or "").split(","):
        name, sign, value = (part.strip() for part in entry.partition("="))
        if not entry.strip():
            continue
        if not sign or not name or not value or name in values:
            raise OptionError(f"--at must be a list such as params=1e9,batch_size=512, got {text!r}")
        try:
            values[name] = float(value)
        except ValueError:
            values[name] = value
    return values
