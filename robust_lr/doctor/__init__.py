"""The schedule doctor: finds faults of a learning-rate schedule in the rates that a run applied."""

from ._diagnosis import diagnose as diagnose
from .evidence import Evidence as Evidence
from .evidence import Move as Move
from .evidence import Promise as Promise
from .evidence import Record as Record
from .evidence import Records as Records
from .findings import Finding as Finding
from .findings import findings_text as findings_text
