"""The callback of Lightning: the last line of JSON, runs that diverge, and what the doctor finds."""

import json
import logging
import math

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR

from robust_lr.commands._outputs import JsonLines
from robust_lr_lightning import RobustLRCallback, annealed
from tests.lightning.tiny import LOADER, QUIET, Line, trainer

pytestmark = [pytest.mark.filterwarnings(line) for line in QUIET]
torch.set_num_threads(1)


def read(output, metric):
    lines = JsonLines(metric)
    for line in output.encode().splitlines():
        lines.see(line)
    return lines.metrics()[metric]


def ours(caplog):
    return [record.message for record in caplog.records if record.name.startswith("robust_lr")]


def line(lr=0.1):
    return Line(lambda module, optimizer: annealed(module, optimizer, "cosine"), lr)


def test_the_metrics_are_read_from_the_output_of_the_script(tmp_path, capsys):
    callback = RobustLRCallback()
    run = trainer(tmp_path, callbacks=[callback])
    module = line()
    run.fit(module, LOADER, LOADER)
    value = float(run.callback_metrics["val_loss"])
    assert read(capsys.readouterr().out, "val_loss") == value
    assert callback.metrics(run)["val_loss"] == value
    with torch.no_grad():
        module.layer.weight.fill_(0.0)
    (validated,) = run.validate(module, LOADER, verbose=False)
    assert read(capsys.readouterr().out, "val_loss") == validated["val_loss"] != value


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_run_that_diverges_stops_and_all_its_metrics_are_nan(accumulate, tmp_path, capsys, caplog):
    callback = RobustLRCallback(check_every=4)
    run = trainer(tmp_path, callbacks=[callback], max_epochs=50, accumulate_grad_batches=accumulate)
    with caplog.at_level(logging.WARNING, "robust_lr_torch"):
        run.fit(line(lr=1e30), LOADER, LOADER)
    assert run.global_step == 4
    assert callback.diverged_at in (1, 2)
    assert ours(caplog) == [f"The loss diverged at step {callback.diverged_at}, so training stops."]
    found = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert math.isnan(found["val_loss"]) and math.isnan(found["train_loss"]) and found["step"] == 4
    assert math.isnan(callback.metrics(run)["val_loss"])


def test_a_scheduler_that_lightning_steps_once_an_epoch_is_found_by_the_doctor(tmp_path, caplog):
    stock = Line(lambda _, sgd: ([sgd], [CosineAnnealingLR(sgd, T_max=64)]))
    with caplog.at_level(logging.WARNING, "robust_lr_torch"):
        trainer(tmp_path, callbacks=[RobustLRCallback()], max_epochs=8).fit(stock, LOADER)
    assert any("Schedule doctor: stepped-per-epoch" in message for message in ours(caplog)), ours(caplog)


def test_an_annealed_run_gives_the_doctor_nothing_to_say(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "robust_lr_torch"):
        trainer(tmp_path, callbacks=[RobustLRCallback()], max_epochs=8).fit(line(), LOADER, LOADER)
    assert ours(caplog) == []
