from __future__ import annotations

import pytest

from robust_lr._metrics import looks_like_a_score

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
