"""How far packs in bfloat16 are from float32, and how far trials alone in bfloat16 are.

    python benchmarks/packed_bfloat16.py                 12 trials of 40 steps each, about a minute on one core
    python benchmarks/packed_bfloat16.py --steps 200

Each row has 3 learning rates x 4 seeds, trained in float32, and then in bfloat16 alone and in one pack: under autocast,
or with parameters of bfloat16. An error is the relative difference of a final loss from that in float32; given is the
root of its mean square over the trials that learn at all in float32. A pack should be as near as a trial alone.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from dataclasses import replace

import torch
from packed import CharTransformer, digits_data, image_data, make_mlp, text_data, token_loss
from torch import Tensor, nn
from torch.nn import functional

from robust_lr import CosineDecay, TrialSpec
from robust_lr.runners import TrialList
from robust_lr_torch import SupervisedTask
from robust_lr_torch.packing._pack import PackEvaluator

SCHEDULES = {"cosine": CosineDecay()}


class InHalf(nn.Module):
    """A model of bfloat16 whose outputs are float32."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body.bfloat16()

    def forward(self, x: Tensor) -> Tensor:
        """Compute in bfloat16; tokens stay whole numbers."""
        outputs: Tensor = self.body(x.bfloat16() if x.is_floating_point() else x)
        return outputs.float()


def make_cnn() -> nn.Module:
    """Two convolutions with a batch norm."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 10),
    )


def make_transformer() -> nn.Module:
    """One block of width 32."""
    return CharTransformer(width=32, n_blocks=1)


NETWORKS = {
    "MLP": (make_mlp, digits_data(), functional.cross_entropy, 32),
    "CNN with batch norm": (make_cnn, image_data(), functional.cross_entropy, 32),
    "transformer": (make_transformer, text_data(), token_loss, 4),
}
OPTIMIZERS = {
    "SGD + momentum": (torch.optim.SGD, {"momentum": 0.9}, (0.003, 0.03, 0.3)),
    "AdamW": (torch.optim.AdamW, {}, (3e-4, 3e-3, 3e-2)),
    "RMSprop": (torch.optim.RMSprop, {}, (1e-4, 1e-3, 1e-2)),
}


def half(task: SupervisedTask, way: str) -> SupervisedTask:
    """Return the task in bfloat16."""
    if way == "autocast":
        return replace(task, autocast=torch.bfloat16)
    make_model: Callable[[], nn.Module] = task.make_model
    return replace(task, make_model=lambda: InHalf(make_model()))


def alone(task: SupervisedTask, trials: list[TrialSpec]) -> dict[TrialSpec, float]:
    """Return the losses of one trial after the other."""
    return {t: task(lr=t.lr, schedule="cosine", seed=t.seed)["loss"] for t in trials}


def packed(task: SupervisedTask, trials: list[TrialSpec]) -> dict[TrialSpec, float]:
    """Return the losses of all trials in one pack."""
    return {r.spec: r.loss for r in PackEvaluator(task, SCHEDULES, len(trials)).results(TrialList(trials))}


def error(losses: dict[TrialSpec, float], exact: dict[TrialSpec, float]) -> str:
    """Return the root mean square of the relative differences, in percent."""
    known = [losses[t] / exact[t] - 1 for t in exact if math.isfinite(losses[t])]
    return f"{100 * math.sqrt(sum(e * e for e in known) / len(known)):.2g} %"


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=40)
    args = parser.parse_args()
    torch.set_num_threads(1)
    print("| network | optimizer | in bfloat16 | error alone | error in a pack |")
    print("| --- | --- | --- | --- | --- |")
    for network, (make_model, data, loss, batch_size) in NETWORKS.items():
        for name, (optimizer, options, lrs) in OPTIMIZERS.items():
            task = SupervisedTask(
                make_model=make_model,
                train_data=data,
                loss=loss,
                batch_size=batch_size,
                optimizer=optimizer,
                optimizer_options=options,
                total_steps=args.steps,
            )
            trials = [TrialSpec("cosine", lr, seed) for lr in lrs for seed in range(4)]
            untrained = alone(replace(task, total_steps=1), [replace(t, lr=1e-9) for t in trials])
            start = {t.seed: value for t, value in untrained.items()}
            exact = {t: value for t, value in alone(task, trials).items() if value < start[t.seed]}
            for way in ("autocast", "parameters"):
                errors = [error(train(half(task, way), trials), exact) for train in (alone, packed)]
                print(f"| {' | '.join([network, name, way, *errors])} |", flush=True)


if __name__ == "__main__":
    main()
