"""A character-level transformer, 72 trainings side by side: how far off may the learning rate of AdamW be?

    python examples/char_lm_packed.py
    python examples/char_lm_packed.py --device cuda --steps 2000

The text is Python's own documentation, from `pydoc_data.topics`. Each training has one of three schedules with a
warm-up, one of eight learning rates and one of the seeds; the loss is that of a character in the last tenth of the
text, which no training sees. `PackedRunner` measures how the trainings run fastest, reports it, and trains that way.
"""

import argparse
import logging
from functools import partial
from pydoc_data.topics import topics

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from robust_lr import GeometricGrid, PackedRunner, SweepResult, run_sweep
from robust_lr.analysis import analyze_sweep
from robust_lr.report.console import make_console, print_analysis
from robust_lr_torch import SupervisedTask

TEXT = "\n".join(topics[name] for name in sorted(topics))
ALPHABET = sorted(set(TEXT))
CONTEXT, WIDTH, N_HEADS, N_LAYERS = 64, 64, 4, 2
BATCH_SIZE = 8
N_TRAIN, N_VALIDATION = 2048, 256  # pieces of text: every training ends with the loss over all of them
SCHEDULES = ("warmup(0.1)+constant", "warmup(0.1)+linear", "warmup(0.1)+cosine")


class Block(nn.Module):
    """Causal self-attention, then a layer for each position, each added to what it reads."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.before_attention, self.before_positions = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.queries_keys_values, self.attended = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.positions = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        """Return the same shape, (B, 64, 64)."""
        heads = self.queries_keys_values(self.before_attention(x)).unflatten(-1, (3 * N_HEADS, -1)).transpose(-2, -3)
        attended = functional.scaled_dot_product_attention(*heads.chunk(3, dim=-3), is_causal=True)
        x = x + self._drop(self.attended(attended.transpose(-2, -3).flatten(-2)))
        return x + self._drop(self.positions(self.before_positions(x)))

    def _drop(self, x: Tensor) -> Tensor:
        return functional.dropout(x, self.dropout, self.training)


class CharacterModel(nn.Module):
    """Characters (B, 64) to the logits of the next one at each place, (B, 64, characters)."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.characters, self.places = nn.Embedding(len(ALPHABET), WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.blocks = nn.Sequential(*[Block(dropout) for _ in range(N_LAYERS)], nn.LayerNorm(WIDTH))
        self.logits = nn.Linear(WIDTH, len(ALPHABET))

    def forward(self, characters: Tensor) -> Tensor:
        """Return the logits."""
        return self.logits(self.blocks(self.characters(characters) + self.places.weight))


def loss_of_a_character(logits: Tensor, characters: Tensor) -> Tensor:
    """The cross-entropy of the next character, in nats, the mean over all places."""
    return functional.cross_entropy(logits.flatten(0, -2), characters.flatten())


def pieces(text: str, n: int) -> tuple[Tensor, Tensor]:
    """Return n non-overlapping pieces of the text, (n, 64), and the next character at each place."""
    code = {character: i for i, character in enumerate(ALPHABET)}
    rows = torch.tensor([code[character] for character in text]).unfold(0, CONTEXT + 1, CONTEXT + 1)
    rows = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[:n]]
    return rows[:, :-1].contiguous(), rows[:, 1:].contiguous()


def make_task(total_steps: int, *, dropout: float = 0.0) -> SupervisedTask:
    """AdamW on batches of pieces; short trainings get no more of them than they read."""
    end = len(TEXT) * 9 // 10
    return SupervisedTask(
        make_model=partial(CharacterModel, dropout),
        train_data=pieces(TEXT[:end], min(N_TRAIN, total_steps * BATCH_SIZE)),
        validation_data=pieces(TEXT[end:], N_VALIDATION),
        loss=loss_of_a_character,
        total_steps=total_steps,
        batch_size=BATCH_SIZE,
        optimizer=torch.optim.AdamW,
        optimizer_options={"weight_decay": 0.01},
        evaluation_batch_size=64,
    )


def finding(sweep: SweepResult) -> str:
    """Return what a learning rate above the best costs under each schedule, and whether annealing lowers that."""
    loss, (fixed, *_) = sweep.loss, sweep.schedules
    best = loss.mean(axis=2).argmin(axis=1)
    steps = min(2, loss.shape[1] - 1 - int(best.max()))
    if steps == 0:
        return "Under some schedule the highest learning rate was the best: the sweep has none that is too high."
    rows = np.arange(len(best))
    lowest, cost = loss[rows, best], loss[rows, best + steps] - loss[rows, best]  # (schedules, seeds)
    costs = ", ".join(f"{mean:.3f} under {name}" for name, mean in zip(sweep.schedules, cost.mean(axis=1), strict=True))
    n, n_cheaper = cost[1:].size, int((cost[1:] < cost[0]).sum())
    verdict = {n: "annealing makes this mistake cheaper", 0: "annealing makes this mistake no cheaper"}
    winner = sweep.schedules[lowest.mean(axis=1).argmin()]
    return (
        f"At its best learning rate {winner} ends lowest, at {lowest.mean(axis=1).min():.3f} nats a character. "
        f"{2**steps} times the best one costs {costs}: less than under {fixed} in {n_cheaper} of {n} comparisons, "
        f"seed by seed; {verdict.get(n_cheaper, 'it is open whether annealing makes this mistake cheaper')} here."
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=400, help="steps of each training")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each schedule at each learning rate")
    parser.add_argument("--jobs", type=int, default=2, help="packs at a time, one process each")
    parser.add_argument("--device", help="where to train, such as cuda")
    parser.add_argument("--dropout", type=float, default=0.0, help="share of the values that are dropped in training")
    parser.add_argument("--journal", help="file that keeps finished trainings; the same command continues from it")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    sweep = run_sweep(
        make_task(args.steps, dropout=args.dropout),
        GeometricGrid(2.0**-11, 2.0**-4, n_points=8),
        SCHEDULES,
        args.seeds,
        runner=PackedRunner(args.jobs, device=args.device),
        journal=args.journal,
    )
    print_analysis(analyze_sweep(sweep, tolerance=0.05), make_console(), every_detail=False)
    print(finding(sweep))
