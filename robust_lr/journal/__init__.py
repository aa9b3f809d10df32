"""The journal: the finished trials of a sweep or search, in a file that survives a kill."""

from ._open import open_journal as open_journal
from ._open import report_counts as report_counts
from ._open import tell as tell
from .journal import Journal as Journal
from .journal import JournalContents as JournalContents
from .journal import SweepHeader as SweepHeader
from .journal import read_journal as read_journal
