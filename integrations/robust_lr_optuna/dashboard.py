"""The analysis of a study in optuna-dashboard: plots, a note and the report."""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optuna.artifacts import upload_artifact
from optuna.study import Study

from robust_lr import Analysis
from robust_lr.exceptions import OptionError, RobustLRError
from robust_lr.report.html import write_report

from .plots import analyze_study, plot_degradation, plot_learning_rate

if TYPE_CHECKING:
    from optuna.artifacts._protocol import ArtifactStore

_HEADING = "## Learning rates (robust-lr)"
# From the heading to the next one of its level or above, or to the end.
_SECTION = re.compile(rf"^{re.escape(_HEADING)}$.*?(?=^##? |\Z)", re.MULTILINE | re.DOTALL)
_REPORT = "robust-lr-report.html"
_ARTIFACTS = "artifacts:"
# The dashboard has cards of its own size, and a template for its light and its dark theme.
_LAYOUT = {"template": None, "height": None, "margin": {"t": 70, "r": 10}, "legend": {"font_size": 10, "y": -0.17}}


def publish(
    study: Study, analysis: Analysis | None = None, *, artifact_store: ArtifactStore | None = None, **options: Any
) -> Analysis:
    """Publish the analysis of a study in optuna-dashboard, and return it.

    The dashboard then shows `plot_learning_rate` and `plot_degradation` among the study's plots, the recommendation as
    a section of its note and, with an `artifact_store`, the HTML report among its artifacts. Publishing again replaces
    all of these; the rest of the note stays. To see the report, start the dashboard with ``--artifact-dir``.

    Args:
        study: any study, in a storage that the dashboard reads.
        analysis: analysis of its sweep; by default that of `analyze_study`.
        artifact_store: store for the report, such as ``optuna.artifacts.FileSystemArtifactStore(folder)``.
        options: options of `analyze_study`, if there is no `analysis`.

    Raises:
        RobustLRError: if optuna-dashboard or plotly is not installed, or matplotlib, which the report needs.
        DataError: if the study holds no sweep.
        OptionError: if given both an analysis and options.

    Example:
        >>> import optuna
        >>> study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
        >>> study.optimize(lambda trial: (trial.suggest_float("lr", 1e-3, 1.0, log=True) - 0.1) ** 2, n_trials=9)
        >>> analysis = publish(study)
        >>> from optuna_dashboard import get_note
        >>> print(get_note(study).splitlines()[0])
        ## Learning rates (robust-lr)
    """
    try:
        import optuna_dashboard as dashboard
    except ModuleNotFoundError as error:
        if error.name != "optuna_dashboard":
            raise
        raise RobustLRError("publish needs optuna-dashboard: pip install 'robust-lr[dashboard]'") from error
    if analysis is not None and options:
        raise OptionError(f"publish takes an analysis or the options of one, got both: {', '.join(options)}")
    analysis = analysis or analyze_study(study, **options)
    for name, plot in (("robust-lr-learning-rate", plot_learning_rate), ("robust-lr-degradation", plot_degradation)):
        dashboard.save_plotly_graph_object(study, plot(analysis).update_layout(_LAYOUT), graph_object_id=name)
    dashboard.save_note(study, _with_section(dashboard.get_note(study), recommendation_note(analysis)))
    if artifact_store is not None:
        _publish_report(study, analysis, artifact_store)
    return analysis


def recommendation_note(analysis: Analysis) -> str:
    """Return the recommendations as Markdown, under one second-level heading.

    Example:
        >>> from robust_lr import SweepResult, analyze_sweep
        >>> sweep = SweepResult(("cosine",), [0.1, 0.2, 0.4], (0,), [[[1.2], [1.0], [1.1]]])
        >>> print(recommendation_note(analyze_sweep(sweep, tolerance=0.1)).splitlines()[0])
        ## Learning rates (robust-lr)
    """
    return f"{_HEADING}\n\n{analysis.to_markdown()}"


def _publish_report(study: Study, analysis: Analysis, store: ArtifactStore) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, _REPORT)
        source = f"Study {study.study_name} of Optuna"
        write_report(analysis, path, title=f"Learning rates of {study.study_name}", source=source)
        known = _report_of(study)
        if known is None:
            upload_artifact(artifact_store=store, file_path=str(path), study_or_trial=study)
        else:
            with path.open("rb") as report:
                store.write(known, report)


def _report_of(study: Study) -> str | None:
    for name, text in study._storage.get_study_system_attrs(study._study_id).items():
        found = json.loads(text) if name.startswith(_ARTIFACTS) else None  # a deleted artifact is None, too
        if found is not None and found["filename"] == _REPORT:
            return str(found["artifact_id"])
    return None


def _with_section(note: str, section: str) -> str:
    if _SECTION.search(note):
        return _SECTION.sub(lambda _: section + "\n", note, count=1).rstrip() + "\n"
    return f"{note.rstrip()}\n\n{section}" if note.strip() else section
