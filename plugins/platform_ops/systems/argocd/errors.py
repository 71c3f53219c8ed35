"""Errors of the Argo CD room.

ApplicationNotVisible (NotFound)   no such application, or hidden from this token: Argo CD answers 403 to both
OperationInProgress (Busy)         another operation runs on the application
SyncWindowClosed (Refused)         a sync window forbids syncs now
AutoSyncRefusal (Refused)          automated applications sync to their branch only
SyncFailed (FailNow)               the operation, or the rendering of the manifests, failed
SyncUnsettled (Busy)               the application changed while it was judged
"""

from __future__ import annotations

from platform_ops.common.errors import Busy, FailNow, NotFound, Refused


class ApplicationNotVisible(NotFound):
    """No such application, or hidden from this token."""


class OperationInProgress(Busy):
    """Another operation runs on the application."""


class SyncWindowClosed(Refused):
    """A sync window forbids syncs now."""


class AutoSyncRefusal(Refused):
    """Automated applications sync to their branch only."""


class SyncFailed(FailNow):
    """The operation, or the rendering of the manifests, failed."""


class SyncUnsettled(Busy):
    """The application changed while it was judged."""
