"""What is optimized: a metric and its direction. Inside, every value is a loss; only here does it change its sign."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Literal, get_args

from .exceptions import OptionError

Direction = Literal["minimize", "maximize"]

_SCORES = frozenset(
    "acc accuracy accuracies ap auc aupr auprc auroc bertscore bleu chrf cider correct correlation corr cosine dice "
    "elo em f1 fbeta fscore hit hits iou jaccard kappa kendall likelihood map mcc meteor miou mrr ndcg pass pearson "
    "pearsonr pesq pr precision prauc psnr r2 recall return returns rew reward rewards roc rocauc rouge score scores "
    "sensitivity spearman spearmanr specificity spice ssim stoi success throughput top1 top3 top5 top10 win wins "
    "winrate".split()
)
_LOSSES = frozenset(
    "bce bpb bpc bits brier ce cer cost crossentropy deviance distance divergence drop ece entropy eer er err error "
    "errors fid fpr gap inaccuracy kid kl logloss loss losses lpips mae mape miss mse msle nll norm perplexity ppl "
    "regret residual rmse rmsle smape time ter wer".split()
)


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
        "direction='maximize' (--direction maximize); if not, direction='minimize' silences this note"
    )
    return 1.0, [note]


def looks_like_a_score(name: str) -> bool:
    """Return whether a metric of this name is probably better when larger, such as an accuracy.

    The words of the name decide: "eval/F1-macro", "top@5" and "meanIoU" are scores, "dice_loss" and "error_rate" are
    not. With "neg" in front, as in "neg_mean_squared_error", it is the other way round.

    Example:
        >>> [looks_like_a_score(name) for name in ("val_acc", "roc_auc_score", "loss", "neg_log_loss")]
        [True, True, False, True]
    """
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|[^A-Za-z0-9]+", " ", name)
    words = [word for word in spaced.lower().split() if not word.isdigit() or len(word) < 3]
    joined = {a + b for a, b in pairwise(words)}
    whole = {word for word in re.split(r"[^a-z0-9]+", name.lower()) if word}
    found = {*words, *joined, *whole}
    found |= {word.rstrip("0123456789") for word in found}
    is_loss = not found.isdisjoint(_LOSSES)
    if not found.isdisjoint(("neg", "negative", "minus")):
        return is_loss
    return not is_loss and not found.isdisjoint(_SCORES)
