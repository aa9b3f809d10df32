"""A training script in the style of Lightning's README: a LightningModule, a DataLoader, Trainer.fit.

tests/examples/changes.py has the lines that a user changes.
"""

import argparse

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset


class LitDigits(L.LightningModule):
    def __init__(self, lr):
        super().__init__()
        self.lr = lr
        self.model = nn.Linear(64, 10)

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = F.cross_entropy(self.model(x), y)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        x, y = batch
        self.log("val_loss", F.cross_entropy(self.model(x), y), sync_dist=True)

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.lr)
        return optimizer


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float, default=0.01)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max_epochs", type=int, default=3)
    parser.add_argument("--accumulate", type=int, default=1)
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--ckpt_path")
    args = parser.parse_args()

    L.seed_everything(args.seed)
    digits = load_digits()
    x, y = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)
    train_loader = DataLoader(TensorDataset(x[:80], y[:80]), batch_size=8, shuffle=True)
    val_loader = DataLoader(TensorDataset(x[1000:1064], y[1000:1064]), batch_size=32)

    trainer = L.Trainer(
        max_epochs=args.max_epochs,
        accumulate_grad_batches=args.accumulate,
        accelerator="cpu",
        devices=args.devices,
        callbacks=[ModelCheckpoint(dirpath="checkpoints", every_n_train_steps=4, save_top_k=-1)],
        logger=False,
    )
    trainer.fit(LitDigits(args.lr), train_loader, val_loader, ckpt_path=args.ckpt_path)


if __name__ == "__main__":
    main()
