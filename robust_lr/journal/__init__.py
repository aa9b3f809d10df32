"""The journal: what survives a kill, for sweeps and searches alike."""

from ._open import open_journal as open_journal
from .journal import Journal as Journal
from .journal import JournalContents as JournalContents
from .journal import SweepHeader as SweepHeader
from .journal import read_journal as read_journal
