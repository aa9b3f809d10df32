"""annealed in configure_optimizers: every optimizer step has its rate, or the Trainer says why it cannot."""

import pytest
import torch
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from torch.optim.lr_scheduler import CosineAnnealingLR
from torch.optim.optimizer import register_optimizer_step_pre_hook
from torch.utils.data import DataLoader, IterableDataset

from robust_lr import parse_schedule
from robust_lr.exceptions import OptionError
from robust_lr_lightning import annealed
from tests.lightning.tiny import LOADER, QUIET, Line, trainer

pytestmark = [pytest.mark.filterwarnings(line) for line in QUIET]
torch.set_num_threads(1)

SPEC = "warmup(0.2)+cosine"


@pytest.fixture
def rates():
    found = []
    handle = register_optimizer_step_pre_hook(lambda optimizer, *_: found.append(optimizer.param_groups[0]["lr"]))
    yield found
    handle.remove()


def closed_form(n_steps, n_planned=None):
    return [0.1 * float(parse_schedule(SPEC)(step, n_planned or n_steps)) for step in range(n_steps)]


@pytest.mark.parametrize(
    ("options", "n_steps"),
    [
        ({}, 16),
        ({"max_epochs": 3, "accumulate_grad_batches": 3}, 9),
        ({"max_epochs": -1, "max_steps": 11}, 11),
        ({"limit_train_batches": 5}, 10),
    ],
    ids=["epochs", "accumulated", "steps", "fewer batches"],
)
def test_the_schedule_spans_the_run_and_steps_with_the_optimizer(options, n_steps, tmp_path, rates):
    trainer(tmp_path, **options).fit(Line(lambda *both: annealed(*both, SPEC)), LOADER)
    assert rates == pytest.approx(closed_form(n_steps), rel=1e-12)


def test_without_the_helper_lightning_steps_once_an_epoch_which_hardly_anneals(tmp_path, rates):
    """What the helper is for: 0.05 is the rate of the second epoch, and no rate comes near zero."""
    stock = Line(
        lambda module, sgd: ([sgd], [CosineAnnealingLR(sgd, T_max=int(module.trainer.estimated_stepping_batches))])
    )
    trainer(tmp_path).fit(stock, LOADER)
    assert min(rates) > 0.099


def test_a_run_that_is_stopped_early_keeps_the_schedule_that_was_planned(tmp_path, rates):
    run = trainer(tmp_path, max_epochs=4, max_time="00:00:05:00", limit_train_batches=2)
    run.fit(Line(lambda *both: annealed(*both, SPEC, total_steps=32)), LOADER)
    assert rates == pytest.approx(closed_form(8, 32), rel=1e-12)


class Endless(IterableDataset):
    def __iter__(self):
        while True:
            yield torch.zeros(1), torch.zeros(1)


def test_a_number_of_steps_that_nobody_knows_is_an_error_with_the_way_out(tmp_path):
    module = Line(lambda *both: annealed(*both, SPEC))
    with pytest.raises(OptionError, match="does not know the number of steps of this run: give it max_steps"):
        trainer(tmp_path).fit(module, DataLoader(Endless(), batch_size=2))
    module = Line(lambda *both: annealed(*both, SPEC))
    with pytest.raises(OptionError, match="does not know the number of steps of this run: give it max_steps"):
        trainer(tmp_path, max_epochs=-1).fit(module, LOADER)


def test_an_accumulation_that_changes_over_the_epochs_is_not_counted_wrongly(tmp_path, rates):
    changing = GradientAccumulationScheduler({0: 4, 1: 1})
    with pytest.raises(OptionError, match="a GradientAccumulationScheduler changes how many batches make a step"):
        trainer(tmp_path, callbacks=[changing]).fit(Line(lambda *both: annealed(*both, SPEC)), LOADER)
    trainer(tmp_path, callbacks=[changing]).fit(Line(lambda *both: annealed(*both, SPEC, total_steps=10)), LOADER)
    assert rates == pytest.approx(closed_form(10), rel=1e-12)


def test_with_manual_optimization_the_module_says_how_many_steps_it_makes(tmp_path, rates):
    class Manual(Line):
        automatic_optimization = False

        def training_step(self, batch, batch_idx):
            optimizer = self.optimizers()
            optimizer.zero_grad()
            self.manual_backward(super().training_step(batch, batch_idx))
            optimizer.step()
            self.lr_schedulers().step()

    with pytest.raises(
        OptionError, match=r"pass total_steps to annealed\(\), and call self.lr_schedulers\(\).step\(\)"
    ):
        trainer(tmp_path).fit(Manual(lambda *both: annealed(*both, SPEC)), LOADER)
    module = Manual(lambda *both: annealed(*both, SPEC, total_steps=16))
    trainer(tmp_path).fit(module, LOADER)
    assert rates == pytest.approx(closed_form(16), rel=1e-12)
