"""The GitOps commits that hold our digest, and the two works that follow them."""

from typing import Any
from unittest.mock import create_autospec

import pytest

from platform_ops.common.errors import Superseded
from platform_ops.common.remote_work import Probe
from platform_ops.common.report import Link, StepReport
from platform_ops.delivery.pins import Pin
from platform_ops.delivery.work import GitOpsLine, HealthyRelease, NotOurPin, PinnedSync, PinReplaced
from platform_ops.systems.argocd.models import Application
from platform_ops.systems.git.errors import CommitNotFound
from platform_ops.systems.kubernetes.errors import RolloutFailed
from platform_ops.systems.kubernetes.work import DigestRollout

ENVIRONMENTS = ("dev", "rc", "prod")


def line(world, environment: str = "rc", commit: str | None = None) -> GitOpsLine:
    """Pin a commit and return the line from there."""
    commit = commit or world.second
    revision = world.pin(environment, commit, world.ours)
    return GitOpsLine(world.release().service, environment, Pin(world.ours, commit), revision)


def newer(world) -> str:
    made = world.source.commit("Third", world.second, files={"app": "3"})
    world.source.move(made, "dev", "rc", "master")
    return made


def test_the_commit_that_pinned_us_holds(world) -> None:
    assert line(world).holds(world.gitops.head())


@pytest.mark.parametrize("revision", ["", "main", "1" * 40])
def test_what_is_no_commit_of_the_branch_is_not_synced(world, revision: str) -> None:
    sync = PinnedSync(**(pinned(world) | {"revision": revision}), marker="r1/3")
    with pytest.raises(NotOurPin, match="Clear pin_image"):
        sync.find()


def test_a_commit_of_another_branch_is_not_synced(world) -> None:
    arguments = pinned(world)
    head = world.gitops.head()
    side = world.gitops.commit("Aside", head, files={"README": "unreviewed"})
    world.gitops.move(side, "aside")
    with pytest.raises(NotOurPin):
        PinnedSync(**(arguments | {"revision": side}), marker="r1/3").find()


def test_a_commit_of_the_branch_that_pins_something_else_is_not_synced(world) -> None:
    earlier = world.pin("rc", world.first, world.other)
    arguments = pinned(world) | {"revision": earlier}
    with pytest.raises(PinReplaced):
        PinnedSync(**arguments, marker="r1/3").find()


def test_a_later_commit_that_keeps_our_digest_holds_and_is_looked_at_once(world) -> None:
    ours = line(world)
    later = world.pin("dev", world.second, world.other)
    assert ours.holds(later)
    assert ours.holds(later)
    world.git.repository.assert_called_once()


def test_a_later_commit_that_pins_our_digest_for_a_newer_commit_holds(world) -> None:
    ours = line(world)
    assert ours.holds(world.pin("rc", newer(world), world.ours))


def test_an_earlier_commit_does_not_hold_it(world) -> None:
    earlier = world.gitops.head()
    assert not line(world).holds(earlier)


def test_an_earlier_commit_with_the_same_digest_does_not_hold_it(world) -> None:
    earlier = world.pin("rc", world.first, world.ours)
    assert not line(world).holds(earlier)


def test_a_commit_that_does_not_exist_is_named(world) -> None:
    with pytest.raises(CommitNotFound):
        line(world).holds("1" * 40)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_a_newer_commit_with_another_digest_supersedes_us(world, environment: str) -> None:
    ours, third = line(world, environment), newer(world)
    later = world.pin(environment, third, world.other)
    with pytest.raises(Superseded, match="which is newer") as ended:
        ours.holds(later)
    assert ended.value.facts == {"pinned": {"commit": third, "digest": world.other}}
    with pytest.raises(Superseded):
        ours.require()


@pytest.mark.parametrize("environment", ENVIRONMENTS)
@pytest.mark.parametrize("pinned", ["first", "second"])
def test_going_back_or_another_digest_of_our_commit_is_refused(world, environment: str, pinned: str) -> None:
    ours = line(world, environment)
    later = world.pin(environment, getattr(world, pinned), world.other)
    with pytest.raises(PinReplaced, match="went back or changed it by hand"):
        ours.holds(later)
    with pytest.raises(PinReplaced):
        ours.require()


@pytest.mark.parametrize(("environment", "error"), [("dev", Superseded), ("rc", PinReplaced), ("prod", PinReplaced)])
def test_only_dev_moves_to_another_line(world, environment: str, error: type[Exception]) -> None:
    ours = line(world, environment)
    with pytest.raises(error):
        ours.holds(world.pin(environment, world.apart, world.other))


def test_a_pin_that_was_removed_is_refused(world) -> None:
    ours = line(world)
    files = {"apps/web/rc/kustomization.yaml": "images:\n- name: shop/web\n"}
    later = world.gitops.commit("Unpin", world.gitops.head(), files=files)
    world.gitops.move(later, "main")
    with pytest.raises(PinReplaced, match="pins nothing instead"):
        ours.holds(later)


def test_the_head_may_have_moved_as_long_as_it_keeps_our_digest(world) -> None:
    ours = line(world)
    world.pin("dev", world.second, world.other)
    ours.require()


def test_what_a_commit_holds_is_known_and_where_the_head_is_is_asked(world) -> None:
    ours = line(world)
    ours.require()
    ours.require()
    later = world.pin("rc", newer(world), world.other)
    with pytest.raises(Superseded):
        ours.require()
    with pytest.raises(Superseded):
        ours.holds(later)


def test_commits_that_leave_our_file_alone_hold_it_without_another_look(world) -> None:
    ours = line(world)
    between = world.pin("dev", world.first, world.other)
    world.pin("prod", world.first, world.other)
    ours.require()
    world.git.repository.reset_mock()
    assert ours.holds(between)
    world.git.repository.assert_not_called()


def test_a_commit_between_that_pinned_something_else_does_not_hold_it(world) -> None:
    ours = line(world)
    between = world.pin("rc", world.first, world.other)
    world.pin("rc", world.second, world.ours)
    ours.require()
    with pytest.raises(PinReplaced):
        ours.holds(between)


def pinned(world, environment: str = "rc") -> dict[str, Any]:
    revision = world.pin(environment, world.second, world.ours)
    return {
        "service": "web",
        "environment": environment,
        "commit": world.second,
        "digest": world.ours,
        "revision": revision,
    }


def test_the_sync_accepts_what_keeps_our_digest(world) -> None:
    earlier = world.gitops.head()
    sync = PinnedSync(**pinned(world), marker="r1/3")
    assert (sync.application, sync.argocd_conn_id, sync.marker) == ("web-rc", "argocd_default", "r1/3")
    assert sync.revision == world.gitops.head()
    assert sync.accepts(sync.revision)
    assert sync.accepts(world.pin("dev", world.second, world.other))
    assert not sync.accepts(earlier)
    later = world.pin("rc", newer(world), world.other)
    with pytest.raises(Superseded):
        sync.accepts(later)


class Watched:
    """A followed release whose pods and application show what a test says."""

    def __init__(self, world) -> None:
        self.world = world
        arguments = pinned(world)
        self.revision = arguments["revision"]
        self.work = HealthyRelease(**arguments)
        self.rollout = create_autospec(DigestRollout, instance=True)
        self.work._rollout = self.rollout
        self.shows(self.revision)
        self.pods("ended", done=True)

    def shows(self, revision: str, health: str = "Healthy") -> None:
        self.world.argocd.application.return_value = Application(
            "web-rc", True, "Synced", revision, health, "", None, None, (), (), "main", "http://argocd.test"
        )

    def pods(self, state: Any, *, done: bool) -> None:
        self.rollout.probe.return_value = Probe(state, "1 of 2 pods", {"since": "now"})
        self.rollout.is_done.return_value = done

    def probe(self) -> Probe:
        return self.work.probe({"rollout": {"since": "then"}})


@pytest.fixture
def watched(world) -> Watched:
    return Watched(world)


def test_it_ends_when_the_pods_are_right_and_argocd_agrees(watched: Watched) -> None:
    probe = watched.probe()
    assert (probe.state, probe.handle) == ("ended", {"rollout": {"since": "now"}})
    watched.rollout.probe.assert_called_once_with({"since": "then"})
    watched.world.argocd.application.assert_called_once_with("web-rc")


def test_a_later_commit_with_our_digest_is_agreement(watched: Watched) -> None:
    watched.shows(watched.world.pin("dev", watched.world.second, watched.world.other))
    assert watched.probe().state == "ended"


@pytest.mark.parametrize(
    ("revision", "health"),
    [("earlier", "Healthy"), ("ours", "Progressing"), ("ours", ""), ("main", "Healthy"), ("", "Healthy")],
)
def test_right_pods_wait_until_argocd_agrees(watched: Watched, revision: str, health: str) -> None:
    known = {"ours": watched.revision, "earlier": watched.world.gitops.git("rev-parse", "main^")}
    watched.shows(known.get(revision, revision), health)
    probe = watched.probe()
    assert probe.state == "running"
    assert probe.detail == f"1 of 2 pods; Argo CD shows {health or 'no health'}"


def test_pods_that_are_not_right_yet_are_awaited(watched: Watched) -> None:
    watched.pods("running", done=False)
    assert watched.probe().state == "running"


def test_pods_that_never_will_be_right_end_it_whatever_argocd_says(watched: Watched) -> None:
    watched.shows(watched.revision, "Degraded")
    watched.pods("ended", done=False)
    assert watched.probe().state == "ended"


def test_newer_work_ends_the_wait(watched: Watched) -> None:
    watched.shows(watched.world.pin("rc", newer(watched.world), watched.world.other))
    with pytest.raises(Superseded):
        watched.probe()


def test_it_is_judged_by_its_pods_and_by_the_head_of_gitops(watched: Watched) -> None:
    watched.rollout.judge.return_value = StepReport("All 2 pods run it.", facts={"digest": watched.world.ours})
    report = watched.work.judge({"rollout": {"since": "now"}})
    assert report.summary == "All 2 pods run it. Argo CD shows Healthy."
    facts = report.facts
    assert (facts["digest"], facts["health"], facts["revision"]) == (watched.world.ours, "Healthy", watched.revision)
    assert facts["checked_at"]


def test_pods_that_fail_are_the_verdict(watched: Watched) -> None:
    watched.rollout.judge.side_effect = RolloutFailed("They crash.")
    with pytest.raises(RolloutFailed):
        watched.work.judge({"rollout": {}})


def test_healthy_pods_do_not_count_once_gitops_has_moved_on(watched: Watched) -> None:
    watched.rollout.judge.return_value = StepReport("All 2 pods run it.")
    watched.world.pin("rc", newer(watched.world), watched.world.other)
    with pytest.raises(Superseded):
        watched.work.judge({"rollout": {}})


def test_looking_starts_and_cancels_nothing(watched: Watched) -> None:
    assert watched.work.find() == watched.work.start() == {"rollout": {}}
    watched.work.cancel({"rollout": {}})
    assert watched.work.link({}) == Link("Argo CD: web-rc", "http://argocd.test/web-rc")
    watched.world.argocd.sync.assert_not_called()
    watched.world.argocd.terminate.assert_not_called()
