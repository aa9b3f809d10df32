"""The learning rate of a scikit-learn pipeline, by cross-validation, without a grid.

    python examples/sklearn_search.py

The search chooses each learning rate from the scores before it, over a range of six decades, and stops when no other
can be better by more than the tolerance.
"""

from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

from robust_lr_sklearn import LearningRateSearchCV

if __name__ == "__main__":
    model = make_pipeline(MinMaxScaler(), SGDClassifier(loss="log_loss", learning_rate="constant", random_state=0))
    search = LearningRateSearchCV(
        model, param="sgdclassifier__eta0", lr_min=1e-5, lr_max=10.0, tolerance=0.01, scoring="neg_log_loss", n_jobs=2
    )
    search.fit(*load_digits(return_X_y=True))

    print("learning rate  mean log-loss of 5 splits")
    for row, params in enumerate(search.cv_results_["params"]):
        mark = "  <- best" if row == search.best_index_ else ""
        print(f"{params['sgdclassifier__eta0']:13.3g}  {-search.cv_results_['mean_test_score'][row]:.4f}{mark}")

    found = search.search_result_
    low, high = found.good_interval
    print(f"stopped after {found.n_trials} learning rates: {found.reason}")
    print(f"any other gains at most {found.excess_bound:.4f}; good from {low:.3g} to {high:.3g}")
