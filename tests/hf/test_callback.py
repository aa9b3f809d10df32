"""The callback of the Trainer: the last line of JSON, and runs that diverge."""

import json
import logging
import math

import pytest
import torch
from transformers import Trainer

from robust_lr.commands._outputs import JsonLines
from robust_lr_hf import RobustLRCallback, annealed
from tests.hf.tiny import QUIET, arguments, data, tiny_model

pytestmark = [pytest.mark.filterwarnings(line) for line in QUIET]
torch.set_num_threads(1)


def read(output, metric):
    lines = JsonLines(metric)
    for line in output.encode().splitlines():
        lines.see(line)
    return lines.metrics()


def test_the_metrics_are_read_from_the_output_of_the_script(tmp_path, capsys):
    trainer = annealed(Trainer, "cosine")(
        model=tiny_model(), args=arguments(tmp_path, eval_strategy="steps", eval_steps=3), **data()
    )
    learned = trainer.train()
    found = read(capsys.readouterr().out, "eval_loss")
    assert found["train_loss"] == learned.training_loss
    assert found["eval_loss"] == trainer.state.log_history[-2]["eval_loss"]
    assert found["step"] == 6
    later = trainer.evaluate(metric_key_prefix="test")
    assert read(capsys.readouterr().out, "test_loss")["test_loss"] == later["test_loss"]


def test_a_trainer_with_its_own_scheduler_reports_too(tmp_path, capsys):
    trainer = Trainer(model=tiny_model(), args=arguments(tmp_path), callbacks=[RobustLRCallback()], **data())
    trainer.train()
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["train_loss"] > 0


@pytest.mark.parametrize(("check_every", "n_steps"), [(1, 2), (10, 10)])
def test_a_run_with_a_loss_of_nan_stops_and_all_its_metrics_are_nan(check_every, n_steps, tmp_path, capsys, caplog):
    trainer = annealed(Trainer, "constant")(
        model=tiny_model(),
        args=arguments(tmp_path, learning_rate=3e37, max_steps=40),
        callbacks=[RobustLRCallback(check_every=check_every)],
        **data(),
    )
    with caplog.at_level(logging.WARNING, "robust_lr_torch"):
        trainer.train()
    assert trainer.state.global_step == n_steps
    ours = [record.message for record in caplog.records if record.name.startswith("robust_lr_torch")]
    assert ours == ["The loss diverged at step 1, so training stops."]
    metrics = trainer.evaluate()
    assert math.isnan(metrics["eval_loss"]) and metrics["eval_runtime"] > 0
    found = read(capsys.readouterr().out, "eval_loss")
    assert math.isnan(found["eval_loss"]) and math.isnan(found["train_loss"])


def test_a_loss_far_above_its_start_is_a_divergence_though_it_is_finite(tmp_path):
    rule = RobustLRCallback(check_every=2, divergence_factor=1.1, divergence_patience=2)
    args = arguments(tmp_path, learning_rate=3.0, max_steps=40, gradient_accumulation_steps=2)
    trainer = annealed(Trainer, "constant")(model=tiny_model(), args=args, callbacks=[rule], **data())
    trainer.train()
    assert rule.diverged_at is not None and rule.diverged_at <= 20
    assert trainer.state.global_step < 40
    assert math.isnan(trainer.evaluate()["eval_loss"])


def test_a_new_run_of_the_same_trainer_is_judged_anew(tmp_path):
    args = arguments(tmp_path, learning_rate=3e37)
    trainer = annealed(Trainer, "constant")(model_init=tiny_model, args=args, **data())
    trainer.train()
    assert math.isnan(trainer.evaluate()["eval_loss"])
    trainer.args.learning_rate = 1e-3
    trainer.train()
    assert math.isfinite(trainer.evaluate()["eval_loss"])


def test_the_doctor_has_nothing_to_say_of_an_annealed_run_and_names_a_schedule_of_another_length(tmp_path, caplog):
    def said(trainer_class):
        with caplog.at_level(logging.WARNING, "robust_lr_torch"):
            args = arguments(tmp_path, max_steps=40)
            trainer_class(model=tiny_model(), args=args, callbacks=[RobustLRCallback()], **data()).train()
        found = [record.message for record in caplog.records if record.name.startswith("robust_lr_torch")]
        caplog.clear()
        return found

    class Longer(Trainer):
        def create_scheduler(self, num_training_steps, optimizer=None):
            return super().create_scheduler(10 * num_training_steps, optimizer)

    assert said(annealed(Trainer, "warmup(0.2)+cosine")) == []
    assert any(message.startswith("Schedule doctor: horizon-longer") for message in said(Longer))
