"""What the systems say at the end, and where it differs."""

from typing import Any

import pytest

from platform_ops.common.errors import Refused, Unreachable
from platform_ops.delivery.readers import READERS, differences, observe
from platform_ops.systems.kubernetes.models import Pod, Rollout

OURS, OTHER = "sha256:" + "a" * 64, "sha256:" + "b" * 64
ALL_OURS = {"harbor": OURS, "gitops": OURS, "argocd_revision": "f" * 40, "pods": [OURS]}


def pod(digest: str | None, *, terminating: bool = False) -> Pod:
    return Pod("web-1", "web", digest, True, terminating=terminating, restarts=0)


@pytest.fixture
def running(world):
    world.argocd.application.return_value.sync_revision = "f" * 40
    world.kubernetes.rollout.return_value = Rollout(1, 1, 1, True, (pod(world.ours),), None)
    return world


def test_every_place_is_asked_about_the_release(running) -> None:
    running.push_image(running.second)
    running.pin("rc", running.second, running.ours)
    assert observe(running.release("rc")) == (ALL_OURS, [])
    running.argocd.application.assert_called_once_with("web-rc")
    running.kubernetes.rollout.assert_called_once_with("shop", "web")


def test_what_is_not_there_is_none(running) -> None:
    observed, silent = observe(running.release("rc"))
    assert (observed["harbor"], observed["gitops"], silent) == (None, None, [])


def test_harbor_is_not_asked_about_no_commit(running) -> None:
    observe(running.release("rc", commit=""))
    running.harbor.artifact.assert_not_called()


def test_each_digest_of_a_staying_pod_is_told_once(running) -> None:
    pods = (pod(OTHER), pod(OURS), pod(OTHER), pod(None), pod("sha256:gone", terminating=True))
    running.kubernetes.rollout.return_value = Rollout(4, 4, 4, True, pods, None)
    observed, _ = observe(running.release("rc"))
    assert observed["pods"] == sorted([OURS, OTHER, "none yet"])


@pytest.mark.parametrize("error", [Unreachable("gone"), Refused("no")])
@pytest.mark.parametrize("place", READERS)
def test_one_silent_system_does_not_silence_the_others(
    running, monkeypatch: pytest.MonkeyPatch, place: str, error: Exception
) -> None:
    def fails(_release: Any) -> None:
        raise error

    readers = {name: (fails if name == place else lambda _, name=name: name) for name in READERS}
    monkeypatch.setattr("platform_ops.delivery.readers.READERS", readers)
    observed, silent = observe(running.release())
    assert observed == {name: name for name in READERS if name != place}
    assert silent == [f"{place} could not be asked again: {error}"]


def test_nothing_differs_when_all_hold_the_digest() -> None:
    assert differences(ALL_OURS, OURS) == []


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({"harbor": OTHER}, f"Harbor holds {OTHER}, not {OURS}."),
        ({"gitops": OTHER}, f"GitOps holds {OTHER}, not {OURS}."),
        ({"pods": [OURS, OTHER]}, f"Pods run {OTHER}, not {OURS}."),
        ({"pods": ["none yet"]}, f"Pods run none yet, not {OURS}."),
    ],
)
def test_each_difference_is_a_sentence(found: dict[str, Any], said: str) -> None:
    assert differences(ALL_OURS | found, OURS) == [said]


def test_a_silent_place_is_no_difference() -> None:
    assert differences({}, OURS) == []


def test_a_place_that_holds_nothing_differs() -> None:
    assert differences({"harbor": None, "gitops": None, "pods": []}, OURS) == [
        f"Harbor holds nothing, not {OURS}.",
        f"GitOps holds nothing, not {OURS}.",
        f"Pods run nothing, not {OURS}.",
    ]
