"""A script of the kind that people have: it trains a small GPT on text, reads its arguments and prints a log.

It knows nothing of robust-lr, and is not to be edited for it.
"""

import argparse
import math
import pydoc_data.topics
import time

import torch
from torch import nn
from torch.nn import functional

parser = argparse.ArgumentParser()
parser.add_argument("--learning_rate", type=float, default=1e-3)
parser.add_argument("--decay", choices=("constant", "linear", "cosine"), default="cosine")
parser.add_argument("--max_iters", type=int, default=40)
parser.add_argument("--warmup_iters", type=int, default=2)
parser.add_argument("--eval_interval", type=int, default=20)
parser.add_argument("--eval_iters", type=int, default=2)
parser.add_argument("--batch_size", type=int, default=8)
parser.add_argument("--block_size", type=int, default=16)
parser.add_argument("--n_layer", type=int, default=1)
parser.add_argument("--n_head", type=int, default=2)
parser.add_argument("--n_embd", type=int, default=16)
parser.add_argument("--weight_decay", type=float, default=0.1)
parser.add_argument("--grad_clip", type=float, default=1.0)
parser.add_argument("--seed", type=int, default=1337)
args = parser.parse_args()
torch.manual_seed(args.seed)
torch.set_num_threads(1)

text = "".join(pydoc_data.topics.topics.values())[:20_000]
chars = sorted(set(text))
stoi = {c: i for i, c in enumerate(chars)}
data = torch.tensor([stoi[c] for c in text])
n = int(0.9 * len(data))
train_data, val_data = data[:n], data[n:]


def get_batch(split):
    source = train_data if split == "train" else val_data
    ix = torch.randint(len(source) - args.block_size, (args.batch_size,))
    x = torch.stack([source[i : i + args.block_size] for i in ix])
    y = torch.stack([source[i + 1 : i + 1 + args.block_size] for i in ix])
    return x, y


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(args.n_embd), nn.LayerNorm(args.n_embd)
        self.c_attn, self.c_proj = nn.Linear(args.n_embd, 3 * args.n_embd), nn.Linear(args.n_embd, args.n_embd)
        self.mlp = nn.Sequential(
            nn.Linear(args.n_embd, 4 * args.n_embd), nn.GELU(), nn.Linear(4 * args.n_embd, args.n_embd)
        )

    def forward(self, x):
        heads = [
            part.unflatten(-1, (args.n_head, -1)).transpose(1, 2) for part in self.c_attn(self.ln_1(x)).chunk(3, -1)
        ]
        y = functional.scaled_dot_product_attention(*heads, is_causal=True)
        x = x + self.c_proj(y.transpose(1, 2).flatten(2))
        return x + self.mlp(self.ln_2(x))


class GPT(nn.Module):
    def __init__(self):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(len(chars), args.n_embd), nn.Embedding(args.block_size, args.n_embd)
        self.h = nn.Sequential(*(Block() for _ in range(args.n_layer)))
        self.ln_f, self.lm_head = nn.LayerNorm(args.n_embd), nn.Linear(args.n_embd, len(chars), bias=False)

    def forward(self, idx, targets):
        logits = self.lm_head(self.ln_f(self.h(self.wte(idx) + self.wpe.weight)))
        return functional.cross_entropy(logits.flatten(0, 1), targets.flatten())


def get_lr(it):
    if it < args.warmup_iters:
        return args.learning_rate * (it + 1) / args.warmup_iters
    ratio = (it - args.warmup_iters) / max(args.max_iters - args.warmup_iters, 1)
    left = {"constant": 1.0, "linear": 1 - ratio, "cosine": 0.5 * (1 + math.cos(math.pi * ratio))}
    return args.learning_rate * left[args.decay]


@torch.no_grad()
def estimate_loss():
    model.eval()
    out = {s: torch.stack([model(*get_batch(s)) for _ in range(args.eval_iters)]).mean() for s in ("train", "val")}
    model.train()
    return out


model = GPT()
print(f"number of parameters: {sum(p.numel() for p in model.parameters()) / 1e6:.2f}M")
optimizer = torch.optim.AdamW(model.parameters(), lr=args.learning_rate, weight_decay=args.weight_decay)
t0 = time.time()
for iter_num in range(args.max_iters + 1):
    for group in optimizer.param_groups:
        group["lr"] = get_lr(iter_num)
    if iter_num % args.eval_interval == 0 or iter_num == args.max_iters:
        losses = estimate_loss()
        print(f"step {iter_num}: train loss {losses['train']:.4f}, val loss {losses['val']:.4f}")
    if iter_num == args.max_iters:
        break
    loss = model(*get_batch("train"))
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), args.grad_clip)
    optimizer.step()
    if iter_num % 10 == 0:
        print(f"iter {iter_num}: loss {loss.item():.4f}, time {(time.time() - t0) * 1000:.2f}ms")
