"""A tiny LightningModule, and what Lightning and torch say of themselves while they train."""

import lightning
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

QUIET = [
    r"ignore:`isinstance\(treespec, LeafSpec\)` is deprecated",
    "ignore:.*does not have many workers",
    "ignore:You're resuming from a checkpoint that ended before the epoch ended",
    "ignore:Checkpoint directory .* exists and is not empty",
    "ignore:You defined a `validation_step` but have no `val_dataloader`",
]

_X = torch.linspace(-1, 1, 32).unsqueeze(1)
LOADER = DataLoader(TensorDataset(_X, 3 * _X), batch_size=4)


class Line(lightning.LightningModule):
    """Fits a line; `optimizers` makes what `configure_optimizers` returns, from the module and SGD."""

    def __init__(self, optimizers, lr=0.1):
        super().__init__()
        self.layer, self.make, self.lr = nn.Linear(1, 1), optimizers, lr

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = nn.functional.mse_loss(self.layer(x), y)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        x, y = batch
        self.log("val_loss", nn.functional.mse_loss(self.layer(x), y))

    def configure_optimizers(self):
        return self.make(self, torch.optim.SGD(self.parameters(), lr=self.lr))


def trainer(folder, **options):
    defaults = {"accelerator": "cpu", "logger": False, "enable_checkpointing": False, "max_epochs": 2}
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "default_root_dir": str(folder)}
    return lightning.Trainer(**{**defaults, **quiet, **options})
