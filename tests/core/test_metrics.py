from __future__ import annotations

import math
from types import SimpleNamespace

import pytest

from robust_lr import TrialResult, TrialSpec
from robust_lr._metrics import Objective, looks_like_a_score
from robust_lr.exceptions import OptionError

SCORES = """
acc accuracy val_acc valAcc val/acc eval/accuracy test.accuracy acc1 acc@1 acc_top1 Acc@5 top1 top-5 top_1_acc
f1 F1 eval/f1 f1_macro f1-score eval_f1_weighted macroF1 auc roc_auc rocAUC AUROC val/auroc r2 R2 r2_score R^2 val_r2
reward mean_reward episode_reward_mean eval/episode_return ep_rew_return bleu BLEU-4 eval/bleu sacrebleu_bleu rouge1
rougeL eval/rougeLsum iou mIoU meanIoU val_iou map mAP mAP50 mAP@0.5 coco/AP dice val_dice_score precision recall
recall@5 mcc ndcg@10 mrr hits@10 psnr ssim score best_score exact_match_em success_rate win_rate
neg_mean_squared_error neg_log_loss spearmanr pearson log_likelihood Accuracy/test valid_accuracy val_categorical_acc
metrics/mAP50-95(B)
"""
LOSSES = """
loss val_loss val/loss train_loss eval_loss final_loss dice_loss auc_loss error test_error error_rate err mse RMSE mae
nll neg_log_likelihood perplexity ppl val_ppl wer cer fid bits_per_byte cross_entropy val_ce brier_score logloss
accuracy_error accuracy_gap lr seconds epoch objective value precision_loss
"""


@pytest.mark.parametrize("name", SCORES.split())
def test_a_name_of_a_score_is_recognized(name):
    assert looks_like_a_score(name)


@pytest.mark.parametrize("name", LOSSES.split())
def test_a_name_of_a_loss_is_not_taken_for_a_score(name):
    assert not looks_like_a_score(name)


SPEC = TrialSpec("cosine", 0.1, 0)


def trained(loss, **metrics):
    return TrialResult(SPEC, loss, "ok", metrics=metrics)


def test_a_metric_that_is_maximized_becomes_a_loss_and_nothing_is_lost():
    judged = Objective("acc", "maximize").judge(trained(0.5, acc=0.9))
    assert (judged.loss, judged.metrics) == (-0.9, {"loss": 0.5, "acc": 0.9})
    assert Objective().judge(trained(0.5, acc=0.9)) == trained(0.5, acc=0.9)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_metric_that_is_not_finite_has_diverged(value):
    for direction in ("minimize", "maximize"):
        judged = Objective("acc", direction).judge(trained(0.5, acc=value))
        assert (judged.status, judged.loss) == ("diverged", math.inf)


def test_a_missing_metric_is_a_failure_that_says_which_keys_came():
    judged = Objective("acc").judge(trained(0.5, f1=0.9))
    assert not judged.is_final and not judged.is_worth_retrying
    assert "a mapping with the key 'acc'; it returned 'loss', 'f1'" in judged.error
    without_loss = Objective().judge(trained(math.nan, val_loss=0.9))
    assert "the key 'loss'; it returned 'val_loss'; to optimize another, pass metric='val_loss'" in without_loss.error


def test_failures_and_divergences_stay_what_they_are():
    for status in ("failed", "out_of_memory", "diverged"):
        result = TrialResult(SPEC, math.inf if status == "diverged" else math.nan, status)
        assert Objective("acc", "maximize").judge(result) is result


@pytest.mark.parametrize(
    ("objective", "train", "is_doubtful"),
    [
        (Objective("val_acc"), None, True),
        (Objective("val_acc", "minimize"), None, False),
        (Objective("val_acc", "maximize"), None, False),
        (Objective("val_loss"), None, False),
        (Objective(), "accuracy", True),
        (Objective(), "train", False),
        (Objective("val_loss"), "accuracy", False),
    ],
)
def test_only_a_name_like_a_score_without_a_direction_is_doubtful(objective, train, is_doubtful):
    function = SimpleNamespace(__name__=train) if train else None
    assert bool(objective.doubts(function)) == is_doubtful


@pytest.mark.parametrize(("metric", "direction"), [("", None), (3, None), ("acc", "max"), ("acc", "")])
def test_an_objective_that_cannot_be_is_refused(metric, direction):
    with pytest.raises(OptionError):
        Objective(metric, direction)
