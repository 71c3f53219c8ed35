"""Errors of the backups.

Contradiction (Refused)        a source's entry, its bucket and its keys do not fit together
Corrupt (FailNow)              stored bytes are not those that were written
GivenUp (Refused)              a point was deleted by a newer run before it was complete
NoPoint (NotFound)             the source has no such point, or none that is verified
NotProven (Refused)            what was restored is not what was backed up
SourceEmptied (Refused)        a source that had something has nothing now
SourceTrouble (TryAgain)       the source could not be read to its end
"""

from __future__ import annotations

from platform_ops.common.errors import FailNow, NotFound, Refused, TryAgain


class Contradiction(Refused):
    """A source's entry, its bucket and its keys do not fit together."""


class Corrupt(FailNow):
    """Stored bytes are not those that were written."""


class GivenUp(Refused):
    """A point was deleted by a newer run before it was complete."""


class NoPoint(NotFound):
    """The source has no such point, or none that is verified."""


class NotProven(Refused):
    """What was restored is not what was backed up."""


class SourceEmptied(Refused):
    """A source that had something has nothing now."""


class SourceTrouble(TryAgain):
    """The source could not be read to its end."""
