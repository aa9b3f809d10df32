"""`robust-lr analyze --pruning-audit` on a table of histories and on a study."""

from __future__ import annotations

import optuna

from tests.cli.command_line import said

LRS = (0.01, 0.02, 0.04, 0.08, 0.16)


def losses(k):
    return [1 + (t / 10) ** 6 * abs(k - 3) + (1 - (t / 10) ** 6) * k for t in range(1, 11)]


def test_a_table_of_histories_is_audited(robust_lr, tmp_path):
    rows = [f"r{k},{e},{lr},{loss}" for k, lr in enumerate(LRS) for e, loss in enumerate(losses(k), 1)]
    path = tmp_path / "runs.csv"
    path.write_text("\n".join(["run_id,epoch,lr,val_loss", *rows]) + "\n")
    answer = robust_lr("analyze", path, "--pruning-audit")
    out = " ".join(said(answer).split())
    assert answer.code == 0
    assert "ended worse than the best by more than 0.1% in 1 of 1 searches. Rank whole runs only" in out
    assert "all runs 30% 1 of 1 3 3 4" in out


def test_a_study_is_audited(robust_lr, tmp_path):
    storage = f"sqlite:///{tmp_path}/study.db"
    study = optuna.create_study(storage=storage)
    for k, lr in enumerate(LRS):
        study.add_trial(
            optuna.trial.create_trial(
                params={"lr": lr},
                distributions={"lr": optuna.distributions.FloatDistribution(1e-3, 1.0, log=True)},
                value=losses(k)[-1],
                intermediate_values=dict(enumerate(losses(k), 1)),
            )
        )
    answer = robust_lr("analyze", "--optuna", storage, "--pruning-audit", "--tolerance", 0.5)
    assert "by more than 0.5 in 1 of 1 searches" in " ".join(said(answer).split())


def test_runs_without_histories_are_refused_in_one_line(one_line, tmp_path):
    path = tmp_path / "runs.csv"
    path.write_text("lr,loss\n0.1,1\n0.2,2\n0.4,3\n")
    assert "holds no histories: a pruning audit needs a row for each" in one_line("analyze", path, "--pruning-audit")
