"""Search a learning rate on the digits, then start the search under another schedule where theory says.

    python examples/search_digits.py

A softmax regression, trained in numpy. The search stops when no learning rate in the range can be better by more than
the tolerance, if the loss is one valley.
"""

from robust_lr.cli.demo import demo_task
from robust_lr.search.run import search_learning_rate
from robust_lr.search.transfer import transfer_learning_rate
from robust_lr.search.words import search_headline, search_sentences

LR_MIN, LR_MAX, TOLERANCE = 1e-3, 10.0, 0.005

if __name__ == "__main__":
    train = demo_task()
    constant = search_learning_rate(train, LR_MIN, LR_MAX, tolerance=TOLERANCE, schedule="constant")
    cold = search_learning_rate(train, LR_MIN, LR_MAX, tolerance=TOLERANCE, schedule="cosine")
    start = transfer_learning_rate(constant, to_schedule="cosine", from_total_steps=1500)
    warm = search_learning_rate(train, LR_MIN, LR_MAX, tolerance=TOLERANCE, schedule="cosine", start=start, ratio=2)
    for name, result in (("constant", constant), ("cosine", cold), (f"cosine from {start:.3g}", warm)):
        print(f"{name}: {search_headline(result)}")
        for sentence in search_sentences(result):
            print(f"  {sentence}")
