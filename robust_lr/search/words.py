"""A learning-rate search in words: what it has found, why it stopped, and how sure that is."""

from __future__ import annotations

import math

from ._result import SearchResult


def search_headline(result: SearchResult) -> str:
    """Return the finding in one line.

    Example:
        >>> from robust_lr.search import LearningRateSearch
        >>> search = LearningRateSearch(1e-3, 0.1, tolerance=0.005)
        >>> search_headline(search.result)
        'no learning rate with a finite loss yet, 0 trials'
    """
    trials = f"{result.n_trials} trial" + ("" if result.n_trials == 1 else "s")
    if math.isnan(result.lr):
        return f"no learning rate with a finite loss{' yet' if result.stop is None else ''}, {trials}"
    return f"best learning rate {result.lr:.4g}, loss {result.loss:.6g}, {trials}"


def bound_sentence(result: SearchResult) -> str:
    """Return how much better any other learning rate can be, or why that is not known."""
    if result.excess_bound is None:
        return f"how much better another learning rate can be is not known: {result.bound_note}"
    low, high = result.lr_range
    return (
        f"the best you have is within {_short(result.excess_bound)} of what any learning rate from {low:.4g} to "
        f"{high:.4g} can give ({result.bound_note})"
    )


def search_sentences(result: SearchResult) -> list[str]:
    """Return all that a search knows at its end, or on its way, a sentence each, after the headline."""
    sentences = [bound_sentence(result)]
    if result.good_interval is not None:
        low, high = result.good_interval
        sentences.append(f"within {_short(result.tolerance)} of the best: {low:.4g} to {high:.4g}")
    if result.cliff is not None:
        sentences.append(f"the nearest larger learning rate that diverged: {result.cliff:.4g}")
    if result.edge is not None:
        sentences.append(f"the best lies on the {result.edge} end of the range: look beyond it")
    if result.stop is not None:
        sentences.append(f"stopped: {result.reason}")
    return sentences


def _short(loss: float) -> str:
    """A loss with two digits, rounded up: what is said to be within it is."""
    if not 0 < loss < math.inf:
        return f"{loss:g}"
    unit = 10.0 ** (math.floor(math.log10(loss)) - 1)
    return f"{math.ceil(loss / unit * (1 - 1e-9)) * unit:.2g}"
