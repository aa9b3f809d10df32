"""Training scripts as people have them: they read argv, print a log, and know nothing of this package."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

# A bigram model of characters, trained by gradient descent; it prints a log as such scripts do.
GPT = """
import argparse, json, math, random, sys
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=1.0)
parser.add_argument("--schedule", default="cosine")
parser.add_argument("--seed", type=int, default=1337)
parser.add_argument("--steps", type=int, default=30)
parser.add_argument("--batch", type=int, default=16)
parser.add_argument("--out", default="ckpt.json")
args = parser.parse_args()
random.seed(args.seed)

text = "to be or not to be that is the question " * 5
chars = sorted(set(text))
index = {c: i for i, c in enumerate(chars)}
data = [index[c] for c in text]
train_data, val_data = data[:150], data[150:]
n = len(chars)
logits = [[random.gauss(0, 0.1) for _ in range(n)] for _ in range(n)]


def softmax(row):
    top = max(row)
    exps = [math.exp(x - top) for x in row]
    total = sum(exps)
    return [e / total for e in exps]


def loss_on(tokens):
    losses = [-math.log(max(softmax(logits[a])[b], 1e-30)) for a, b in zip(tokens, tokens[1:])]
    return sum(losses) / len(losses)


def multiplier(step):
    if args.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * step / args.steps))
    return 1.0


print(f"number of parameters: {n * n}")
for step in range(args.steps):
    lr = args.lr * multiplier(step)
    for _ in range(args.batch):
        i = random.randrange(len(train_data) - 1)
        a, b = train_data[i], train_data[i + 1]
        p = softmax(logits[a])
        for j in range(n):
            logits[a][j] -= lr * (p[j] - (j == b))
    if step % 10 == 0:
        print(f"step {step}: val loss {loss_on(val_data):.4f}, lr {lr:.3e}", file=sys.stderr)

Path(args.out).write_text(json.dumps(logits))
val_loss = loss_on(val_data)
if args.lr > 1000:
    val_loss = float("nan")
print(f"step {args.steps}: val loss {val_loss:.4f}")
print(json.dumps({"step": args.steps, "val_loss": val_loss, "train_loss": loss_on(train_data)}))
"""

# Hangs, with a child of its own, and writes down both process ids.
HANGS = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
with open(sys.argv[1], "a") as file:
    print(os.getpid(), child.pid, file=file)
print("about to hang", flush=True)
time.sleep(600)
"""

PYTHON = sys.executable


def write_script(name: str, text: str) -> str:
    Path(name).write_text(text)
    return name


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie that nobody has reaped does not."""
    try:
        os.kill(pid, 0)
        stat = Path(f"/proc/{pid}/stat")
        return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until(condition, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert condition()


def pids_in(file: Path) -> list[int]:
    return [int(pid) for line in file.read_text().splitlines() for pid in line.split()] if file.exists() else []
