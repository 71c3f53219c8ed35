"""The watched rollout: when it ends, and with which words."""

from datetime import UTC, datetime, timedelta
from unittest.mock import create_autospec

import pytest

from platform_ops.systems.kubernetes.errors import NeverReady, RolloutFailed, RolloutUnsettled
from platform_ops.systems.kubernetes.hook import KubernetesHook
from platform_ops.systems.kubernetes.models import Pod, Rollout, Trouble, TroubleKind
from platform_ops.systems.kubernetes.work import DigestRollout

DIGEST = "sha256:" + "a" * 64
BAD = Trouble(TroubleKind.IMAGE_PULL, "Pod web-2 cannot fetch its image")


def pod(*, ready=True, trouble=None):
    return Pod(
        "web-2", f"reg/web@{DIGEST}", DIGEST if ready else None, ready, terminating=False, restarts=0, trouble=trouble
    )


def rollout(*pods, condition=None, trouble=None):
    return Rollout(1, 1, sum(p.ready for p in pods), True, pods, condition, trouble)


class Case:
    def __init__(self):
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.work = DigestRollout(
            kubernetes_conn_id="k", namespace="shop", deployment="web", digest=DIGEST, clock=lambda: self.now
        )
        self.hook = create_autospec(KubernetesHook, instance=True)
        self.work.__dict__["hook"] = self.hook

    def shows(self, found):
        self.hook.rollout.return_value = found

    def later(self, seconds):
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def case():
    return Case()


def test_nothing_is_started_or_cancelled(case):
    assert case.work.find() == case.work.start() == {}
    case.work.cancel({})
    assert case.work.link({}) is None
    assert case.hook.mock_calls == []


def test_done_is_reported_with_the_pods(case):
    case.shows(rollout(pod()))
    assert case.work.probe({}).state == "ended"
    report = case.work.judge({})
    assert report.facts["pods"] == [
        {"name": "web-2", "digest": DIGEST, "ready": True, "image": f"reg/web@{DIGEST}", "restarts": 0}
    ]
    assert (report.facts["desired"], report.facts["ready"]) == (1, 1)


def test_a_trouble_ends_it_only_when_it_lasts(case):
    case.shows(rollout(pod(ready=False, trouble=BAD)))
    probe = case.work.probe({})
    case.later(19)
    probe = case.work.probe(probe.handle)
    assert probe.state == "running"
    case.later(1)
    probe = case.work.probe(probe.handle)
    assert probe.state == "ended"
    with pytest.raises(RolloutFailed, match="cannot fetch its image") as failed:
        case.work.judge(probe.handle)
    assert failed.value.facts["troubles"] == [{"kind": "image_pull", "message": BAD.message}]


def test_a_trouble_that_passes_starts_counting_anew(case):
    case.shows(rollout(pod(ready=False, trouble=BAD)))
    probe = case.work.probe({})
    case.later(19)
    case.shows(rollout(pod(ready=False)))
    probe = case.work.probe(probe.handle)
    assert probe.handle == {}
    case.later(5)
    case.shows(rollout(pod(ready=False, trouble=BAD)))
    assert case.work.probe(probe.handle).state == "running"


def test_pods_that_never_get_ready_end_by_the_deployments_deadline(case):
    slow = Trouble(TroubleKind.NOT_READY, "Pod web-2 runs but does not report ready")
    case.shows(rollout(pod(ready=False, trouble=slow)))
    probe = case.work.probe({})
    case.later(3600)
    assert case.work.probe(probe.handle).state == "running"
    case.shows(rollout(pod(ready=False, trouble=slow), condition="ProgressDeadlineExceeded"))
    assert case.work.probe(probe.handle).state == "ended"
    with pytest.raises(NeverReady, match="does not report ready"):
        case.work.judge({})


def test_a_used_up_quota_ends_it(case):
    case.shows(rollout(trouble=Trouble(TroubleKind.QUOTA, "The quota is used up")))
    probe = case.work.probe({})
    case.later(20)
    assert case.work.probe(probe.handle).state == "ended"
    with pytest.raises(RolloutFailed, match="quota is used up"):
        case.work.judge({})


def test_a_change_while_judging_is_tried_again(case):
    case.shows(rollout(pod(ready=False)))
    with pytest.raises(RolloutUnsettled):
        case.work.judge({})
