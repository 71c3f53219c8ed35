from typing import Any
from unittest.mock import create_autospec

import pytest

from platform_ops.common.remote_work import Probe, RemoteWork, WorkSpec
from platform_ops.common.report import Link
from platform_ops.systems.harbor import work as module
from platform_ops.systems.harbor.errors import ArtifactMissing, ScanFailed
from platform_ops.systems.harbor.hook import HarborHook
from platform_ops.systems.harbor.models import Artifact, Scan, ScanStatus, Severity
from platform_ops.systems.harbor.work import ImageScan

DIGEST = "sha256:" + "a" * 64
IMAGE = ("shop", "web", DIGEST)
URL = "https://harbor.example.com/page"
HANDLE = {"url": URL}


def scanned(status: ScanStatus, severity: Severity = Severity.UNKNOWN, **counts: int) -> Artifact:
    scan = Scan(status, severity, counts, sum(counts.values()), 1, status.value)
    return Artifact(DIGEST, (), {}, scan, "2026-11-25T00:00:00Z", URL)


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Any:
    made = create_autospec(HarborHook, spec_set=True)
    monkeypatch.setattr(module, "HarborHook", made)
    return made.return_value


@pytest.fixture
def work(hook: Any) -> RemoteWork:
    return ImageScan(project="shop", repository="web", digest=DIGEST, harbor_conn_id="harbor_default")


def test_the_work_is_made_from_its_path_and_json(hook: Any) -> None:
    arguments = {"project": "shop", "repository": "web", "digest": DIGEST}
    assert isinstance(WorkSpec("platform_ops.systems.harbor.work.ImageScan", arguments).load(), ImageScan)


@pytest.mark.parametrize("status", [ScanStatus.PENDING, ScanStatus.SCHEDULED, ScanStatus.RUNNING, ScanStatus.SUCCESS])
def test_a_scan_that_goes_on_or_succeeded_is_joined(work: RemoteWork, hook: Any, status: ScanStatus) -> None:
    hook.artifact.return_value = scanned(status)
    assert work.find() == HANDLE
    hook.artifact.assert_called_once_with(*IMAGE)


@pytest.mark.parametrize("status", [ScanStatus.ERROR, ScanStatus.STOPPED, ScanStatus.NOT_SCANNED])
def test_any_other_scan_is_started_anew_once_and_then_fails_closed(
    work: RemoteWork, hook: Any, status: ScanStatus
) -> None:
    hook.artifact.return_value = scanned(status)
    assert work.find() is None
    assert work.start() == HANDLE
    hook.start_scan.assert_called_once_with(*IMAGE)
    assert work.probe(HANDLE).state == "ended"
    with pytest.raises(ScanFailed, match=f"ended as {status.value}, so nothing is known") as caught:
        work.judge(HANDLE)
    assert caught.value.facts == {"scan": status.value}
    hook.start_scan.assert_called_once()


@pytest.mark.parametrize(
    ("status", "state", "detail"),
    [
        (ScanStatus.PENDING, "running", "Pending"),
        (ScanStatus.SCHEDULED, "running", "Scheduled"),
        (ScanStatus.RUNNING, "running", "Running"),
        (ScanStatus.SUCCESS, "ended", "Success"),
    ],
)
def test_a_look_says_where_the_scan_stands(
    work: RemoteWork, hook: Any, status: ScanStatus, state: Any, detail: str
) -> None:
    hook.artifact.return_value = scanned(status)
    assert work.probe(HANDLE) == Probe(state, detail, HANDLE)


def test_success_reports_what_was_found(work: RemoteWork, hook: Any) -> None:
    hook.artifact.return_value = scanned(ScanStatus.SUCCESS, Severity.CRITICAL, Critical=1, Low=2)
    report = work.judge(HANDLE)
    assert report.facts == {"severity": "Critical", "counts": {"Critical": 1, "Low": 2}, "total": 3, "fixable": 1}
    assert "found 3 vulnerabilities, worst Critical" in report.summary


def test_an_image_that_is_gone_cannot_be_scanned(work: RemoteWork, hook: Any) -> None:
    hook.artifact.return_value = None
    for call in (work.find, work.start, lambda: work.probe(HANDLE), lambda: work.judge(HANDLE)):
        with pytest.raises(ArtifactMissing, match=f"shop/web@{DIGEST} is not in Harbor"):
            call()


def test_cancelling_leaves_the_scan_to_the_others_and_the_link_needs_no_call(work: RemoteWork, hook: Any) -> None:
    work.cancel(HANDLE)
    assert work.link(HANDLE) == Link("Image in Harbor", URL)
    assert not hook.method_calls
