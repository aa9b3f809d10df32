"""The journal of a search: that of a sweep, and it grows while it is open."""

from __future__ import annotations

from robust_lr import SweepResult, TrialResult, TrialSpec
from robust_lr.journal.journal import read_journal
from robust_lr.journal.search_journal import SearchJournal

SCHEDULES = {"cosine": "cosine"}


def test_it_makes_room_for_each_trial_that_is_expected_and_reads_as_a_sweep(tmp_path):
    with SearchJournal.begin(tmp_path / "search.jsonl", schedules=SCHEDULES, train="valley") as journal:
        for lr, seed in ((0.1, 0), (0.01, 0), (0.01, 1)):
            journal.expect([TrialSpec("cosine", lr, seed)])
            journal.append(TrialResult(TrialSpec("cosine", lr, seed), lr, "ok"))
    sweep = SweepResult.from_journal(tmp_path / "search.jsonl")
    assert (sweep.learning_rates.tolist(), sweep.seeds, sweep.n_trials) == ([0.01, 0.1], (0, 1), 3)


def test_what_it_has_room_for_is_not_written_again(tmp_path):
    path = tmp_path / "search.jsonl"
    with SearchJournal.begin(path, schedules=SCHEDULES, train="valley") as journal:
        journal.expect([TrialSpec("cosine", 0.1, 0)])
    size = path.stat().st_size
    with SearchJournal.begin(path, schedules=SCHEDULES, train="valley") as journal:
        journal.expect([TrialSpec("cosine", 0.1, 0)])
    assert path.stat().st_size == size


def test_a_search_that_does_not_know_its_training_function_leaves_the_label_that_is_there(tmp_path):
    path = tmp_path / "search.jsonl"
    SearchJournal.begin(path, schedules=SCHEDULES, train="valley").close()
    with SearchJournal.begin(path, schedules={"linear": "linear"}) as journal:
        journal.expect([TrialSpec("linear", 0.1, 0)])
    header = read_journal(path).header
    assert (header.train, set(header.schedules)) == ("valley", {"cosine", "linear"})
