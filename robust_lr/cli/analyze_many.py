"""Analyze many sweeps together: what they say about the next one of their kind."""

from __future__ import annotations

import argparse
from itertools import islice

from ..analysis import Analysis, analyze_sweep
from ..collection import CollectionAnalysis, SweepCollection, analyze_collection
from ..collection.analysis import DEFAULT_TOLERANCE
from ..exceptions import InsufficientDataError
from ..report.answer import overview_box
from ..report.collection_report import write_collection_report
from ..report.console import make_console, print_analysis, print_blocks, print_box, print_rows
from ..report.groups import group_rows
from ..report.html import write_report
from ..report.pooled_text import collection_blocks, data_notes
from ..sweep import SweepResult
from .arguments import list_of_names
from .output import figures, write_json, writing_report
from .plugins import SweepSource

FEW = 4  # sweeps whose answers are shown one by one too


def analyze_many(collection: SweepCollection, options: argparse.Namespace, source: SweepSource) -> int:
    """Print the pooled recommendation, and the answer of each sweep if they are few; write the files asked for."""
    pooled, console = _pooled(collection, options), make_console()
    is_few, analyses = len(collection) <= FEW, dict[str, Analysis]()
    if is_few or options.details or options.json is not None or isinstance(pooled, InsufficientDataError):
        analyses = {each.label: _single(each.sweep, options) for each in collection}
    shown = dict(islice(analyses.items(), FEW))
    if isinstance(pooled, CollectionAnalysis):
        print_blocks(collection_blocks(pooled, n_shown=0 if is_few else None), console)
    else:
        console.print(f"No recommendation for further sweeps: {pooled}.")
        for note in data_notes(collection):
            console.print(f"Note: {note}.", soft_wrap=not console.is_terminal)
        print_rows(console, group_rows(analyses), "Over the groups")
    if is_few or isinstance(pooled, InsufficientDataError):
        print_box(overview_box(shown), console)
    for label, analysis in analyses.items() if options.details else ():
        print_analysis(analysis, console, title=label)
    if options.json is not None:
        together = {"pooled": pooled.to_dict() if isinstance(pooled, CollectionAnalysis) else None}
        write_json(options, {label: figures(each) for label, each in analyses.items()} | together)
    if options.report is not None:
        with writing_report(options, source) as report:
            if isinstance(pooled, CollectionAnalysis):
                write_collection_report(pooled, analyses=shown if is_few else {}, **report)
            else:
                write_report(list(shown.items()), **report)
        console.print(f"report: {options.report}")
    found = isinstance(pooled, CollectionAnalysis) and not pooled.answer.beyond
    return 0 if found or any(analysis.recommendations for analysis in analyses.values()) else 1


def _pooled(collection: SweepCollection, options: argparse.Namespace) -> CollectionAnalysis | InsufficientDataError:
    named = options.cluster_by
    try:
        return analyze_collection(
            collection,
            tolerance=DEFAULT_TOLERANCE if options.tolerance is None else options.tolerance,
            confidence_level=options.confidence_level,
            cluster_by=None if named is None else () if named == "none" else list_of_names(named),
        )
    except InsufficientDataError as error:
        return error


def _single(sweep: SweepResult, options: argparse.Namespace) -> Analysis:
    return analyze_sweep(
        sweep, tolerance=options.tolerance, confidence_level=options.confidence_level, noise=options.noise
    )
