"""Find the learning rate of a scikit-learn pipeline by cross-validation, without a grid.

    python examples/sklearn_search.py

The search chooses each learning rate from the scores so far, over a range of six decades, and stops when no other can
be better by more than the tolerance.
"""

from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

from robust_lr_sklearn import LearningRateSearchCV

if __name__ == "__main__":
    model = make_pipeline(MinMaxScaler(), SGDClassifier(loss="log_loss", learning_rate="constant", random_state=0))
    search = LearningRateSearchCV(
        model, 1e-5, 10.0, tolerance=0.01, lr_name="sgdclassifier__eta0", scoring="neg_log_loss", n_jobs=2
    )
    search.fit(*load_digits(return_X_y=True))

    print(search.search_result_)  # the losses are mean log-losses over 5 splits
    print(f"best_params_: {search.best_params_}")
