"""An existing Optuna study with two lines added: a sampler, and the analysis of its trials.

    python examples/optuna_study.py

The objective stays as it is. The learning rates lie on a geometric grid, and each runs once with every seed.
"""

import optuna
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

from robust_lr import GeometricGrid, analyze_sweep
from robust_lr.report.console import make_console, print_analysis
from robust_lr_optuna import GeometricGridSampler, sweep_from_study

INPUTS, LABELS = load_digits(return_X_y=True)


def objective(trial: optuna.Trial) -> float:
    """Cross-entropy on the training set after five epochs of SGD."""
    model = MLPClassifier(
        hidden_layer_sizes=(32,),
        solver="sgd",
        learning_rate_init=trial.suggest_float("lr", 1e-4, 10.0, log=True),
        momentum=0.0,
        batch_size=32,
        random_state=trial.suggest_int("seed", 0, 99),
    )
    for _ in range(5):
        model.partial_fit(INPUTS[:1200] / 16, LABELS[:1200], classes=range(10))
    return float(model.loss_)


if __name__ == "__main__":
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    grid = GeometricGrid(1e-3, 10.0, n_points=9)
    study = optuna.create_study(sampler=GeometricGridSampler(grid, seeds=4))  # added
    study.optimize(objective)
    analysis = analyze_sweep(sweep_from_study(study), tolerance=0.02)  # added
    print_analysis(analysis, make_console(), every_detail=False)
