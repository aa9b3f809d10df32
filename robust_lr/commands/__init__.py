"""Commands as trials: a training script that is started once for each trial, without an edit."""

from .report import report_metrics as report_metrics
from .task import CommandTask as CommandTask
