"""The scan of one image."""

from __future__ import annotations

from platform_ops.common.remote_work import Handle, Probe
from platform_ops.common.report import Link, StepReport
from platform_ops.systems.harbor.errors import ArtifactMissing, ScanFailed
from platform_ops.systems.harbor.hook import HarborHook
from platform_ops.systems.harbor.models import Artifact, ScanStatus


class ImageScan:
    """Harbor's scan of an image, named by its digest.

    A scan that failed, was stopped or never began is not joined: it is started anew, once per work, and what ends
    badly after that fails closed.
    """

    def __init__(
        self, *, project: str, repository: str, digest: str, harbor_conn_id: str = HarborHook.default_conn_name
    ) -> None:
        self._image = (project, repository, digest)
        self._hook = HarborHook(harbor_conn_id)

    @property
    def _name(self) -> str:
        project, repository, digest = self._image
        return f"{project}/{repository}@{digest}"

    def _artifact(self) -> Artifact:
        artifact = self._hook.artifact(*self._image)
        if artifact is None:
            raise ArtifactMissing(
                f"{self._name} is not in Harbor (any more), so it cannot be scanned. Build the image again."
            )
        return artifact

    def find(self) -> Handle | None:
        """Return the scan that goes on or succeeded."""
        artifact = self._artifact()
        joins = artifact.scan.status.is_going_on or artifact.scan.status is ScanStatus.SUCCESS
        return {"url": artifact.url} if joins else None

    def start(self) -> Handle:
        """Start a scan; Harbor marks it by the digest."""
        self._hook.start_scan(*self._image)
        return {"url": self._artifact().url}

    def probe(self, handle: Handle) -> Probe:
        """Look once."""
        scan = self._artifact().scan
        return Probe("running" if scan.status.is_going_on else "ended", scan.detail, handle)

    def judge(self, handle: Handle) -> StepReport:
        """Report what was found.

        :raises ScanFailed: the scan did not succeed.
        """
        scan = self._artifact().scan
        facts = {
            "severity": scan.severity.word,
            "counts": dict(scan.counts),
            "total": scan.total,
            "fixable": scan.fixable,
        }
        if scan.status is not ScanStatus.SUCCESS:
            raise ScanFailed(
                f"The scan of {self._name} ended as {scan.status.value}, so nothing is known about the image and it "
                f"is not released. Read the scan's log at {handle['url']}, then clear this task to scan again.",
                facts={"scan": scan.status.value},
            )
        summary = f"Harbor's scan of {self._name} found {scan.total} vulnerabilities, worst {scan.severity.word}."
        return StepReport(summary, facts=facts)

    def cancel(self, handle: Handle) -> None:
        """Leave it: a scan belongs to the image, and other releases may wait for it."""

    def link(self, handle: Handle) -> Link:
        """Return the image's page."""
        return Link("Image in Harbor", handle["url"])
