"""Search for a learning rate on the digits, then start a search under another schedule where theory suggests.

    python examples/search_digits.py

The model is a softmax regression in numpy. The search stops when no learning rate in the range can be better by more
than the tolerance, provided that the loss is one convex valley.
"""

from robust_lr import SearchOptions, search_learning_rate, transfer_learning_rate
from robust_lr.cli.demo import demo_task

LR_MIN, LR_MAX, TOLERANCE = 1e-3, 10.0, 0.005

if __name__ == "__main__":
    train = demo_task()
    constant = search_learning_rate(train, LR_MIN, LR_MAX, tolerance=TOLERANCE, schedule="constant")
    cold = search_learning_rate(train, LR_MIN, LR_MAX, tolerance=TOLERANCE, schedule="cosine")
    start = transfer_learning_rate(constant, to_schedule="cosine", from_total_steps=1500, convex=True)
    options = SearchOptions(start=start.lr, start_factor=start.factor)
    warm = search_learning_rate(train, LR_MIN, LR_MAX, tolerance=TOLERANCE, schedule="cosine", options=options)
    for name, result in (("constant", constant), ("cosine", cold), (f"cosine from {start.lr:.3g}", warm)):
        print(f"\n{name}\n{result}")
