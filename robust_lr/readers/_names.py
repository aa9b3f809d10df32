"""What a column's name says: whether it may hold the learning rate, the loss, a setting of the run, and so on."""

from __future__ import annotations

import re
from functools import lru_cache

from .._metrics import looks_like_a_score


def _words(*texts: str) -> frozenset[str]:
    return frozenset(word for text in texts for word in text.split())


_CONFIG = _words("config params param hparams hyperparameters hp args")
_OUTER = _CONFIG | _words("attrs metrics summary tags")
_LR_OWNERS = _words("optimizer optim opt adam adamw w sgd base peak max maximum initial init start train training")
_HELD_OUT = _words("val valid validation dev eval evaluation heldout holdout")
_NO_LOSS = _words("std sem stderr var variance scale weight weights fn function type name coef time seconds lr rate id")
_LOSSES = _words(
    "nll perplexity ppl error err rmse mse mae bpb bpc crossentropy entropy wer cer logloss objective cost"
)
_SETTINGS = _words(
    "model arch architecture backbone dataset data task batch bs optimizer weight wd decay dropout momentum beta beta1",
    "beta2 eps clip augmentation width depth layers hidden heads steps iterations epochs tokens warmup init loss_fn",
)
_LENGTHS = _words("batch bs steps iterations epochs iters tokens accumulation length duration experiment project")
_PLACES = _words("dir directory folder path output name uri url host device logging run id date time timestamp")
_NO_SETTINGS = _words(
    "notes note comment comments tags user host hostname commit created updated started ended date timestamp time",
    "runtime duration seconds minutes hours sweep source uri url path state status seed epoch iteration iter step loss",
    "diverged failed crashed killed aborted pruned ok success succeeded id index number run trial replicate repeat rep",
    "fold datetime gpu cuda machine node job slurm worker pid ip uuid",
)
_STEPS = _words("step global_step trainer_global_step epoch train_epoch iteration iter training_iteration")
_FLAGS = _words("diverged failed crashed killed aborted pruned ok success succeeded")
_RUN_IDS = ("run_id", "id", "run_uuid", "uuid", "trial_id", "run_name", "trial_name", "name", "run", "trial", "number")
_TIMES = _words("created created_at start_time started started_at datetime_start timestamp date datetime time")


def words(name: str) -> list[str]:
    """Return the words of a column's name without the group that a tracker puts in front.

    Example:
        >>> words("metrics.val_loss"), words("train_loop_config/learningRate"), words("Val. loss")
        (['val', 'loss'], ['learning', 'rate'], ['val', 'loss'])
    """
    each = _all_words(name)
    outer = [i for i, word in enumerate(each[:-1]) if word in _OUTER]
    return each[outer[-1] + 1 :] if outer else each


def _all_words(name: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower())


def is_config(name: str) -> bool:
    """Return whether a tracker marked the column as a setting, as in "config/lr" or "params.lr"."""
    return not _CONFIG.isdisjoint(_all_words(name)[:-1])


@lru_cache(maxsize=1024)  # a tracker asks for each value
def is_lr(name: str) -> bool:
    """Return whether the column may hold the learning rate: "lr", "optimizer.lr", "Learning rate (peak)"."""
    own = [word for word in words(name) if word not in _LR_OWNERS]
    return "_".join(own) in ("lr", "lr0", "learning_rate", "learningrate", "learn_rate")


def loss_rank(name: str) -> tuple[int, ...] | None:
    """Return how likely a column holds the final loss, the likeliest first; None if it holds none.

    A validation loss comes before a test loss, then a loss without a split, other errors, scores, and what is measured
    in training, then what was measured before it; a plain name before one with further words, such as "best".
    """
    own = set(words(name))
    if own == {"value"}:  # the objective of an Optuna study
        return (-1,)
    if own & _NO_LOSS or is_config(name):
        return None
    kind = 0 if "loss" in own else 1 if own & _LOSSES else 2 if looks_like_a_score(name) else None
    if kind is None:
        return None
    split = 0 if own & _HELD_OUT else 1 if "test" in own else 2
    others = own - _HELD_OUT - _words("loss test train training")
    before_training = bool(own & _words("initial init first untrained"))
    return 2 * before_training + bool(own & _words("train training")), kind, split, len(others)


def is_schedule(name: str) -> bool:
    """Return whether the column may hold the name of the schedule."""
    own = "_".join(words(name))
    return own in (
        "schedule",
        "scheduler",
        "lr_schedule",
        "lr_scheduler",
        "lr_scheduler_type",
        "learning_rate_schedule",
    )


def is_seed(name: str) -> bool:
    """Return whether the column may hold the seed."""
    return "_".join(words(name)) in ("seed", "random_seed", "rng_seed", "random_state", "manual_seed")


def is_state(name: str) -> bool:
    """Return whether the column may say how a run ended."""
    return words(name)[-1:] in (["state"], ["status"])


def flag_word(name: str) -> str:
    """Return what a column of true and false says of a run, as "failed" in "is_failed"; "" if its name says nothing."""
    own = [word for word in words(name) if word not in ("is", "has", "was", "did")]
    return own[0] if len(own) == 1 and own[0] in _FLAGS else ""


def is_step(name: str) -> bool:
    """Return whether the column may count the steps or epochs of one run."""
    return "_".join(words(name)) in _STEPS


def is_time(name: str) -> bool:
    """Return whether the column may say when a run began."""
    return "_".join(words(name)) in _TIMES


def run_id_rank(name: str) -> int | None:
    """Return how likely a column names the run, the likeliest first; None if it does not."""
    own = "_".join(words(name))
    return _RUN_IDS.index(own) if own in _RUN_IDS else None


def is_setting(name: str) -> bool | None:
    """Return whether the column holds a setting of the run, such as the batch size; None if its name does not say."""
    own = set(words(name))
    if own & {"lr", "learning"} and not own & {"schedule", "scheduler"}:
        return False
    if own & _SETTINGS:
        return True
    if is_config(name):
        return not own & _PLACES
    return False if own & _NO_SETTINGS or own & _LOSSES or looks_like_a_score(name) else None


def sets_length(name: str) -> bool:
    """Return whether a setting decides how many steps a run has, such as the batch size or the experiment."""
    return not _LENGTHS.isdisjoint(words(name))


def inner(name: str) -> str:
    """Return the last part of a nested name: "lr" for "config/generator/lr"."""
    return re.split(r"[/.]", name)[-1]
