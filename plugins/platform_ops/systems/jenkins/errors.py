"""Errors of the Jenkins room.

BuildFailed (FailNow)          the build ended badly, was cancelled or is nowhere to be found
├── TestsFailed                … because tests failed
JobDisabled (Refused)          the job takes no builds
UnknownResult (FailNow)        a build ended with a word that Jenkins's own code does not have
"""

from __future__ import annotations

from platform_ops.common.errors import FailNow, Refused


class BuildFailed(FailNow):
    """The build did not end as SUCCESS."""


class TestsFailed(BuildFailed):
    """Tests of the built commit failed; ``facts["failing"]`` names them."""

    __test__ = False  # pytest takes classes of this name for tests


class JobDisabled(Refused):
    """The job is switched off."""


class UnknownResult(FailNow):
    """A build ended with a word that hudson.model.Result does not have."""
