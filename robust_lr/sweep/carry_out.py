"""What any sweep or search does with its trials: carry them out, name them in a journal, say where they failed."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence

from .._labels import has_text, is_vague, label_of
from ..exceptions import JournalError, RobustLRError
from ..runners import Runner
from ..schedules.closed_forms import Schedule
from ..trials import TrainFunction, TrialResult, TrialSpec
from .axes import spec_text


def carry_out(
    runner: Runner, train: TrainFunction, trials: Sequence[TrialSpec], schedules: Mapping[str, Schedule]
) -> Generator[TrialResult]:
    """Yield what the runner yields, and check that it is one result for each trial; closing it closes the runner's."""
    waiting = set(trials)
    results = runner.run(train, trials, schedules) if trials else iter(())
    try:
        for result in results:
            if result.spec not in waiting:
                raise RobustLRError(f"{runner} returned a trial twice, or one it was not given: {result.spec}")
            waiting.remove(result.spec)
            yield result
    finally:
        if hasattr(results, "close"):
            results.close()
    if waiting:
        raise RobustLRError(f"{runner} returned no result for {len(waiting)} trials, such as {next(iter(waiting))}")


def journal_label(train: TrainFunction) -> str:
    """Return the name of a training function in a journal.

    Raises:
        JournalError: when it leaves open what the function does.
    """
    label = label_of(train)
    if is_vague(label):
        raise JournalError(
            f"a journal cannot tell train from another function by its name, {label}: give it a label that you change "
            "with the experiment (label=, or --label on the command line), or define it at module level, without "
            "lambdas; a class needs a __repr__ with its parameters"
        )
    return label


def check_specs(schedules: Mapping[str, Schedule]) -> None:
    """Raise unless the text of each schedule tells it from another, as the journal must."""
    for name, schedule in schedules.items():
        if not has_text(schedule) or is_vague(str(schedule)):
            raise JournalError(
                f"a journal cannot tell schedule {name!r} from another by its text, {spec_text(schedule)}: define its "
                "function at module level, or give its class a __str__ that holds its parameters"
            )
