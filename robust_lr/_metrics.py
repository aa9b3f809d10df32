"""What is optimized: a metric and a direction. Everything else works with losses; only here does a value change its
sign."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal, get_args

from ._text import main_line
from .exceptions import OptionError
from .trials import TrialResult

Direction = Literal["minimize", "maximize"]

_SCORES = """
acc accuracies accuracy ap auc aupr auprc auroc bertscore bleu chrf cider corr correlation dice elo em f1 fbeta fscore
hit hits iou jaccard kappa kendall likelihood map mcc meteor miou mrr ndcg pass1 pearson pearsonr pesq pr prauc
precision psnr r2 recall return returns rew reward rewards roc rocauc rouge score scores sensitivity spearman spearmanr
specificity spice ssim stoi success throughput top1 top10 top3 top5 win winrate
"""
_NO_SCORES = """
bce bits bpb bpc brier ce cer cost crossentropy deviance distance divergence drop ece eer entropy er err error errors
fid fpr gap inaccuracy kid kl logloss loss losses lpips mae mape miss mixed mse msle nll norm perplexity ppl regret
residual rmse rmsle smape ter time wer
"""


@dataclass(frozen=True)
class Objective:
    """What a sweep or a search optimizes.

    Attributes:
        metric: "loss", or a key of the mapping that the training function returns.
        direction: "minimize" or "maximize"; None, if the user gave none, means "minimize".

    Raises:
        OptionError: when the metric is no name, or the direction is none of these.
    """

    metric: str = "loss"
    direction: Direction | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.metric, str) or not self.metric:
            raise OptionError(f"metric must be the name of a metric, got {self.metric!r}")
        direction_of(self.direction)

    def judge(self, result: TrialResult) -> TrialResult:
        """Return the result with the objective as its loss, and "loss" as a metric; a failure if it has none.

        A metric of NaN or an infinity has diverged.

        Example:
            >>> from robust_lr.trials import TrialSpec
            >>> trained = TrialResult(TrialSpec("cosine", 0.1, 0), 0.3, "ok", metrics={"acc": 0.9})
            >>> Objective("acc", "maximize").judge(trained).loss
            -0.9
        """
        if result.status != "ok":
            return result
        returned = self.values_of(result)
        if self.metric not in returned:
            error = missing_metric(self.metric, returned)
            return replace(result, loss=math.nan, status="failed", error=error, is_worth_retrying=False)
        sign, _ = direction_of(self.direction)
        loss = sign * returned[self.metric]
        metrics = result.metrics if self.metric == "loss" else returned
        if not math.isfinite(loss):
            return replace(result, loss=math.inf, status="diverged", metrics=metrics)
        return replace(result, loss=loss, metrics=metrics)

    def values_of(self, result: TrialResult) -> Mapping[str, float]:
        """Return all values of an "ok" result by name."""
        return result.metrics if math.isnan(result.loss) else {"loss": result.loss, **result.metrics}

    def notes(self, train: object = None) -> list[str]:
        """Return the notes on this objective; the name of a training function may say what its loss is."""
        judged = [f"judged by the metric {self.metric!r}"] if self.metric != "loss" else []
        return judged + self.doubts(train)

    def doubts(self, train: object = None) -> list[str]:
        """Return the note that the direction may be wrong, if it may."""
        name = getattr(train, "__name__", "") if self.metric == "loss" else self.metric
        return direction_of(self.direction, name)[1]


def missing_metric(metric: str, returned: Mapping[str, object]) -> str:
    """Return the error for a mapping without the metric, which says what it holds."""
    keys = ", ".join(map(repr, returned)) or "an empty mapping"
    some = next(iter(difflib.get_close_matches(metric, list(returned), 1) or returned), "")
    other = f"; to optimize another, pass metric={some!r} (--metric {some})" if some else ""
    must = "its loss, or a mapping with the key 'loss'" if metric == "loss" else f"a mapping with the key {metric!r}"
    return f"train must return {must}; it returned {keys}{other}"


def without_metric(metric: str, returned: Iterable[str]) -> str:
    """Return the words for stored trials that lack the metric: which they have, and how to choose one."""
    names = list(dict.fromkeys(returned))
    if not names:
        return f"no metric {metric!r}; it has none"
    some = next(iter(difflib.get_close_matches(metric, names, 1) or names))
    return f"no metric {metric!r}; it has {', '.join(names)}: choose one, such as metric={some!r} (--metric {some})"


def direction_of(direction: Direction | None, metric: str = "") -> tuple[float, list[str]]:
    """Return the factor that turns a value into a loss, 1 or -1, and the notes on it.

    Args:
        direction: None if the user gave none; it then means "minimize", with a note if the metric looks like a score.
        metric: name of the metric, "" if unknown.

    Raises:
        OptionError: when the direction is none of these.

    Example:
        >>> direction_of("maximize"), direction_of(None, "val_acc")[0]
        ((-1.0, []), 1.0)
    """
    if direction not in (None, *get_args(Direction)):
        raise OptionError(f"direction must be 'minimize' or 'maximize', got {direction!r}")
    if direction is not None or not looks_like_a_score(metric):
        return (-1.0 if direction == "maximize" else 1.0), []
    note = (
        f"{metric!r} looks like a score, but smaller counts as better here: if larger is better, pass "
        "direction='maximize' (--direction maximize); if not, 'minimize' silences this note"
    )
    return 1.0, [note]


def quantity(direction: Direction) -> str:
    """Return the word for what people read: "loss", or "score" if a larger value is better."""
    return "score" if direction == "maximize" else "loss"


def outcome_text(result: TrialResult, direction: Direction = "minimize") -> str:
    """Return the outcome of a trial, such as ``loss 0.213`` or ``failed (ValueError: no such file)``."""
    if result.status == "ok":
        return f"{quantity(direction)} {-result.loss if direction == 'maximize' else result.loss:.6g}"
    return result.status.replace("_", " ") + ("" if result.is_final else f" ({main_line(result.error)})")


def looks_like_a_score(name: str) -> bool:
    """Return whether a metric of this name is probably better when larger, such as an accuracy.

    The words of the name decide: "eval/F1-macro", "top@5" and "meanIoU" are scores, "dice_loss" and "error_rate" are
    not. With "neg" in front, as in "neg_mean_squared_error", it is the other way round.

    Example:
        >>> [looks_like_a_score(name) for name in ("val_acc", "roc_auc_score", "loss", "neg_log_loss")]
        [True, True, False, True]
    """
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|[^A-Za-z0-9]+", " ", name)
    words = spaced.lower().split()
    found = {*words, *(a + b for a, b in pairwise(words)), *re.split(r"[^a-z0-9]+", name.lower())}
    found |= {word.rstrip("0123456789") for word in found}
    is_no_score = not found.isdisjoint(_NO_SCORES.split())
    if not found.isdisjoint(("neg", "negative", "minus")):
        return is_no_score
    return not is_no_score and not found.isdisjoint(_SCORES.split())


LOSS = Objective()
