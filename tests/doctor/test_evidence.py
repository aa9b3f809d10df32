"""Records in bounded memory."""

from itertools import pairwise

from robust_lr.doctor import Record, Records


def records_of(n_steps):
    records = Records()
    for step in range(n_steps):
        if records.wants_next():
            records.keep(Record(step, (1.0,)))
    return records


def test_a_short_run_is_kept_whole():
    assert [r.step for r in records_of(1000).kept] == [*range(1000)]


def test_a_long_run_is_thinned_evenly_and_keeps_its_first_steps():
    records = records_of(100_000)
    steps = [r.step for r in records.kept]
    assert records.n_steps == 100_000
    assert len(steps) <= 1025
    assert steps[:64] == [*range(64)]
    gaps = {b - a for a, b in pairwise(steps[65:])}
    assert len(gaps) == 1
    assert steps[-1] >= 100_000 - max(gaps)
