"""Find the best learning rate of two optimizers, with one search for each that stops when it is good enough.

    python examples/optuna_search.py

The objective stays as it is; only the sampler is new. With a storage, any number of processes can work on the same
searches.
"""

import optuna
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

from robust_lr_optuna import LearningRateSampler, search_result

INPUTS, LABELS = load_digits(return_X_y=True)
SOLVERS = ["sgd", "adam"]


def objective(trial: optuna.Trial) -> float:
    """Cross-entropy on the training set after five epochs."""
    model = MLPClassifier(
        hidden_layer_sizes=(32,),
        solver=trial.suggest_categorical("solver", SOLVERS),
        learning_rate_init=trial.suggest_float("lr", 1e-4, 10.0, log=True),
        momentum=0.0,
        batch_size=32,
        random_state=0,
    )
    for _ in range(5):
        model.partial_fit(INPUTS[:1200] / 16, LABELS[:1200], classes=range(10))
    return float(model.loss_)


if __name__ == "__main__":
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=LearningRateSampler(tolerance=0.02, choices={"solver": SOLVERS}))
    study.optimize(objective)
    for solver in SOLVERS:
        found = search_result(study, {"solver": solver})
        print(f"{solver}: lr {found.lr:.3g}, loss {found.loss:.3f} after {found.n_trials} trials; {found.reason}")
