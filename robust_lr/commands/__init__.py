"""Commands as trials: a training script that is started once for each trial, without an edit."""

from .task import CommandTask as CommandTask
