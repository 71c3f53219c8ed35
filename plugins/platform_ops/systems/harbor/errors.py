"""Errors of the Harbor room.

ProjectMissing (NotFound)      the project does not exist
ArtifactMissing (NotFound)     the image to be scanned does not exist
LatestRefused (Refused)        the tag ``latest`` was asked for
NotADigest (Invalid)           a tag or nonsense where only a digest is safe
UnknownWord (Invalid)          Harbor uses a scan word we do not know
ScanFailed (FailNow)           the scan ended, but not with success
TagVanished (TryAgain)         a tag that was taken a moment ago is gone
"""

from __future__ import annotations

from platform_ops.common.errors import FailNow, Invalid, NotFound, Refused, TryAgain


class ProjectMissing(NotFound):
    """The project does not exist."""


class ArtifactMissing(NotFound):
    """The image to be scanned does not exist."""


class LatestRefused(Refused):
    """The tag ``latest`` says nothing about what it points to."""


class NotADigest(Invalid):
    """A tag or nonsense where only a digest is safe."""


class UnknownWord(Invalid):
    """Harbor uses a scan word we do not know; guessing its meaning could let a bad image through."""


class ScanFailed(FailNow):
    """The scan ended, but not with success."""


class TagVanished(TryAgain):
    """A tag that was taken a moment ago is gone."""
