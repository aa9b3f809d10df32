"""A learning-rate grid with seeds in a study; the objective is an ordinary one."""

import optuna
import optunahub


def objective(trial: optuna.Trial) -> float:
    """Gradient descent on a quadratic with noise, 50 steps."""
    lr = trial.suggest_float("lr", 1e-4, 1.0, log=True)
    seed = trial.suggest_int("seed", 0, 9)
    x, state = 5.0, seed
    for _ in range(50):
        state = (1103515245 * state + 12345) % 2**31
        x -= lr * (x + state / 2**31 - 0.5)
    return x * x / 2


if __name__ == "__main__":
    module = optunahub.load_module("samplers/geometric_lr_grid")
    sampler = module.GeometricGridSampler(module.GeometricGrid(1e-3, 1.0, 7), seeds=3)
    study = optuna.create_study(sampler=sampler)
    study.optimize(objective)  # stops by itself after 21 trials
    sampler.refine(study)  # the geometric means of all neighbors too
    study.optimize(objective)  # runs the 18 new trials
    print(study.best_params)
