"""The words of an analysis of many sweeps."""

from __future__ import annotations

import numpy as np

from robust_lr import SweepCollection
from robust_lr.collection import analyze_collection
from robust_lr.report.pooled_text import collection_blocks, measured_text
from tests.collection.synthetic import LRS, collection, sweep, valley


def rows(analysis):
    return dict(collection_blocks(analysis)[0].rows)


def test_the_answer_says_the_grid_its_price_and_on_what_it_rests():
    analysis = analyze_collection(collection(), tolerance=0.05)
    answer, found = analysis.answer, rows(analysis)
    assert found["Next sweep"] == "ratio 8 under cosine, 5 trials instead of 13"
    assert found["Loses"] == f"at most {answer.bound:.4f} against the full grid, in 95% of such sweeps"
    assert found["Why not coarser"] == f"ratio 16 could lose {answer.ratios[3].bound:.4f}, more than your 0.05"
    assert found["Measured"].startswith("across 48 sweeps (8 clusters of equal size), grids of ratio 4 lose at most 0.")


def test_the_bounds_are_not_claimed_for_sweeps_of_another_kind():
    text = str(analyze_collection(collection()))
    assert "for further sweeps like these at other values of size; they say nothing about other kinds" in text
    assert "each sweep has one run per learning rate" in text


def test_optima_at_the_edge_are_said():
    pairs = [({"i": i}, sweep(valley(LRS, 6.0 if i < 3 else np.sin(i)))) for i in range(30)]
    text = str(analyze_collection(SweepCollection.from_sweeps(pairs), tolerance=0.05))
    assert "in 3 of 30 sweeps the best learning rate is the highest one tried" in text


def test_notes_that_sweeps_share_are_said_once():
    pairs = [({"i": i}, sweep(valley(LRS, np.sin(i)), notes=["about the file", f"own {i}"])) for i in range(9)]
    text = str(analyze_collection(SweepCollection.from_sweeps(pairs)))
    assert text.count("about the file") == 1
    assert "in 1 sweep: own 0" in text and "6 further notes on single sweeps; --details shows them" in text


def test_sweeps_too_narrow_for_a_coarser_grid_say_so():
    pairs = [({"i": i}, sweep([2.0, 1.0, 2.0], LRS[:3])) for i in range(9)]
    answer = analyze_collection(SweepCollection.from_sweeps(pairs), tolerance=5.0).answer
    assert "2 trials" in str(answer)  # two learning rates are left at ratio 4
    assert measured_text(answer).startswith("across 9 sweeps (each counted as independent), grids of ratio 4 lose")


def test_scores_are_shown_as_scores():
    pairs = [({"i": i}, sweep(valley(LRS, np.sin(i), floor=-0.9), direction="maximize")) for i in range(9)]
    text = str(analyze_collection(SweepCollection.from_sweeps(pairs)))
    assert "score" in text and " 0.89" in text and "-0.8" not in text
