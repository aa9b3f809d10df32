"""A training script in the style of Accelerate's complete examples: gradient accumulation, checkpoints, a scheduler.

tests/examples/changes.py has the lines that a user changes.
"""

import argparse

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import OneCycleLR
from torch.utils.data import DataLoader, TensorDataset


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float, default=0.01)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--gradient_accumulation_steps", type=int, default=1)
    parser.add_argument("--checkpointing_steps", type=int, default=4)
    parser.add_argument("--resume_from_checkpoint")
    args = parser.parse_args()
    epochs = args.epochs

    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=args.gradient_accumulation_steps)
    set_seed(args.seed)
    digits = load_digits()
    x, y = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)
    loader = DataLoader(TensorDataset(x[:80], y[:80]), batch_size=8, shuffle=True)
    eval_loader = DataLoader(TensorDataset(x[1000:1064], y[1000:1064]), batch_size=32)
    model = nn.Linear(64, 10)
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr)
    scheduler = OneCycleLR(optimizer, max_lr=args.lr, epochs=epochs, steps_per_epoch=len(loader))
    model, optimizer, loader, eval_loader, scheduler = accelerator.prepare(
        model, optimizer, loader, eval_loader, scheduler
    )

    batches_done = 0
    if args.resume_from_checkpoint:
        accelerator.load_state(args.resume_from_checkpoint)
        batches_done = int(args.resume_from_checkpoint.rsplit("_", 1)[1])

    step = batches_done
    for epoch in range(batches_done // len(loader), epochs):
        model.train()
        loader.set_epoch(epoch)
        batches = loader
        if epoch == batches_done // len(loader):
            batches = accelerator.skip_first_batches(loader, batches_done % len(loader))
        for inputs, targets in batches:
            with accelerator.accumulate(model):
                loss = F.cross_entropy(model(inputs), targets)
                accelerator.backward(loss)
                optimizer.step()
                scheduler.step()
                optimizer.zero_grad()
            step += 1
            if step % args.checkpointing_steps == 0:
                accelerator.save_state(f"step_{step}")

        model.eval()
        losses = []
        for inputs, targets in eval_loader:
            with torch.no_grad():
                loss = F.cross_entropy(model(inputs), targets)
            losses.append(accelerator.gather(loss))
        accelerator.print(f"epoch {epoch}: {torch.stack(losses).mean()}")
    accelerator.end_training()


if __name__ == "__main__":
    main()
