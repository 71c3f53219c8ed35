"""The followed sync: every stale state of Argo CD, and every way it can end."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from unittest.mock import create_autospec

import pytest

from platform_ops.systems.argocd.errors import OperationInProgress, SyncFailed, SyncUnsettled
from platform_ops.systems.argocd.hook import ArgoCDHook
from platform_ops.systems.argocd.models import RUN_INFO, Application, Operation, OperationState
from platform_ops.systems.argocd.work import ApplicationSync

OLD, NEW, NEWER = "0" * 40, "1" * 40, "2" * 40
OURS = {RUN_INFO: "run-1"}


def state(phase="Succeeded", revision=NEW, **changes):
    base = OperationState(phase, revision, revision, "", automated=False, infos={}, started_at="t", finished_at="t")
    return replace(base, **changes)


def app(status="Synced", revision=NEW, *, automated=False, operation=None, last=None, conditions=()):
    return Application(
        "web", automated, status, revision, "Healthy", "", operation, last, conditions, (), "main", "http://argo/web"
    )


def running(revision=NEW, *, automated=False, infos=None):
    return Operation(revision, automated, infos or {})


DONE = app(last=state())
STALE = app(revision=OLD, last=state(revision=OLD))


class Case:
    def __init__(self, kind=ApplicationSync):
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.work = kind(application="web", revision=NEW, marker="run-1", clock=lambda: self.now)
        self.hook = create_autospec(ArgoCDHook, instance=True)
        self.work.__dict__["hook"] = self.hook

    def shows(self, plain, refreshed=None):
        self.hook.application.side_effect = lambda _, *, refresh=False: (refreshed or plain) if refresh else plain

    def later(self, seconds):
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def case():
    return Case()


@pytest.mark.parametrize(
    ("found", "handle"),
    [
        (DONE, {"started": True}),
        (STALE, None),
        (app("OutOfSync", last=state(revision=OLD)), None),
        (replace(STALE, operation=running(infos=OURS)), {"started": True}),
        (replace(STALE, operation=running(NEW)), {"started": True}),
        (replace(STALE, operation=running(OLD)), {"started": False}),
        (app("OutOfSync", last=state("Failed", infos=OURS)), {"started": True}),
        (app("OutOfSync", last=state("Failed", infos={RUN_INFO: "run-0"})), None),
        (replace(STALE, automated=True), {"started": True}),
        (app("OutOfSync", automated=True, last=state("Failed", automated=True)), None),
        (app("OutOfSync", automated=True, last=state("Failed", OLD, automated=True)), {"started": True}),
    ],
)
def test_what_is_joined(case, found, handle):
    case.shows(found)
    assert case.work.find() == handle


def test_a_manual_application_is_synced_to_the_commit(case):
    case.shows(STALE)
    assert case.work.start() == {"started": True}
    case.hook.sync.assert_called_once_with("web", NEW, marker="run-1")


def test_an_automated_application_is_synced_to_its_branch(case):
    case.shows(replace(STALE, automated=True))
    case.work.start()
    case.hook.sync.assert_called_once_with("web", "main", marker="run-1")


def test_a_busy_application_is_asked_again_when_it_is_free(case):
    case.shows(STALE)
    case.hook.sync.side_effect = OperationInProgress("busy")
    handle = case.work.start()
    assert handle == {"started": False}
    case.shows(replace(STALE, operation=running(OLD)))
    assert case.work.probe(handle).state == "queued"
    case.hook.sync.side_effect = None
    case.shows(STALE)
    probe = case.work.probe(handle)
    assert (probe.state, probe.handle) == ("queued", {"started": True})


@pytest.mark.parametrize(
    "stale",
    [
        replace(STALE, operation=running(infos=OURS), last=None),  # right after the sync was asked for
        STALE,  # push not seen yet
        app(revision=OLD, last=state()),  # succeeded at the new revision, compared at the old one
        app(last=state(revision=OLD)),  # compared at the new one, the operation is an old one
        app(last=None),
        app("Unknown", "main", last=state()),  # the branch's name instead of a hash
        app(last=state(dry_run=True)),
        app(last=state("Running"), operation=running()),
    ],
)
def test_no_stale_state_is_a_success(case, stale):
    case.shows(stale)
    assert case.work.probe({"started": True}).state == "running"
    with pytest.raises(SyncUnsettled):
        case.work.judge({"started": True})


def test_success_is_reported(case):
    case.shows(DONE)
    assert case.work.probe({"started": True}).state == "ended"
    report = case.work.judge({"started": True})
    assert report.facts == {
        "application": "web",
        "revision": NEW,
        "sync_status": "Synced",
        "health": "Healthy",
        "phase": "Succeeded",
        "automated": False,
    }


def test_degraded_is_no_failure(case):
    case.shows(replace(DONE, health="Degraded"))
    assert case.work.probe({"started": True}).state == "ended"
    assert case.work.judge({}).facts["health"] == "Degraded"


def test_out_of_sync_right_after_is_looked_at_afresh(case):
    case.shows(replace(DONE, sync_status="OutOfSync"), refreshed=DONE)
    assert case.work.probe({"started": True}).state == "ended"


def test_what_was_not_pruned_is_named(case):
    case.shows(app("OutOfSync", last=state(left=("ConfigMap old",))))
    assert case.work.probe({"started": True}).state == "ended"
    assert "ConfigMap old" in case.work.judge({}).summary


@pytest.mark.parametrize("phase", ["Failed", "Error"])
def test_a_failed_operation_names_message_and_resources(case, phase):
    case.shows(app("OutOfSync", last=state(phase, message="refused", failed=("Deployment web: is invalid",))))
    assert case.work.probe({"started": True}).state == "ended"
    with pytest.raises(SyncFailed, match=r"refused.*Deployment web: is invalid") as failed:
        case.work.judge({})
    assert failed.value.facts["failed"] == ["Deployment web: is invalid"]


def test_a_foreign_failure_is_not_ours(case):
    case.shows(app("OutOfSync", last=state("Failed", OLD)))
    assert case.work.probe({"started": True}).state == "running"


def test_a_comparison_error_ends_it_when_it_lasts(case):
    broken = app("Unknown", "main", automated=True, last=state(revision=OLD), conditions=("ComparisonError: bad YAML",))
    case.shows(broken)
    probe = case.work.probe({"started": True})
    assert probe.state == "running"
    case.later(10)
    assert case.work.probe(probe.handle).state == "ended"
    with pytest.raises(SyncFailed, match="bad YAML"):
        case.work.judge(probe.handle)


def test_a_comparison_error_that_passes_is_forgotten(case):
    case.shows(replace(STALE, conditions=("ComparisonError: git is away",)))
    probe = case.work.probe({"started": True})
    case.shows(STALE)
    assert case.work.probe(probe.handle).handle == {"started": True}


STUCK = app(
    "OutOfSync",
    automated=True,
    operation=running(OLD, automated=True),
    last=state("Running", OLD, automated=True, retries=2),
)


def test_retries_of_an_old_commit_are_ended_once(case):
    case.shows(STUCK)
    probe = case.work.probe({"started": True})
    assert probe.handle == {"started": True, "terminated": True}
    case.work.probe(probe.handle)
    case.hook.terminate.assert_called_once_with("web")


@pytest.mark.parametrize(
    "other",
    [
        replace(STUCK, sync_revision=OLD),
        replace(STUCK, last=replace(STUCK.last, retries=0)),
        replace(STUCK, operation=running(NEW, automated=True)),
        replace(STUCK, operation=running(OLD)),
    ],
)
def test_no_other_operation_is_ended(case, other):
    case.shows(other)
    case.work.probe({"started": True})
    case.hook.terminate.assert_not_called()


def test_a_commit_that_changes_nothing_is_synced_by_name(case):
    case.shows(app(automated=True, last=state(revision=OLD)))
    assert case.work.probe({"started": True}).state == "running"
    case.hook.sync.assert_called_once_with("web", "main", marker="run-1")


def test_a_subclass_may_accept_descendants():
    class Descendants(ApplicationSync):
        def accepts(self, revision):
            return revision in (NEW, NEWER)

    case = Case(Descendants)
    case.shows(app(revision=NEWER, last=state()))
    assert case.work.probe({"started": True}).state == "ended"
    assert case.work.judge({}).facts["revision"] == NEWER


@pytest.mark.parametrize(("infos", "ended"), [(OURS, 1), ({}, 0)])
def test_only_our_operation_is_cancelled(case, infos, ended):
    case.shows(replace(STALE, operation=running(infos=infos)))
    case.work.cancel({"started": True})
    assert case.hook.terminate.call_count == ended


def test_the_link_is_the_applications_page(case):
    case.hook.application_url.return_value = "http://argo/web"
    assert case.work.link({}).url == "http://argo/web"
