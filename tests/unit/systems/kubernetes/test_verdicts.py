"""When a rollout counts as done, and which troubles end it."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform_ops.systems.kubernetes.models import Pod, Rollout, Trouble, TroubleKind
from platform_ops.systems.kubernetes.verdicts import common_trouble, gave_up, judge_rollout

OURS = "sha256:" + "a" * 64
OTHER = "sha256:" + "b" * 64


def pod(digest=OURS, *, ready=True, terminating=False, wanted=None, kind=None):
    trouble = Trouble(kind, "bad") if kind else None
    return Pod("p", f"reg/web@{wanted or digest}", digest, ready, terminating, 0, trouble)


def rollout(*pods, desired=2, updated=2, ready=2, observed=True, condition="NewReplicaSetAvailable", trouble=None):
    return Rollout(desired, updated, ready, observed, pods, condition, trouble)


DONE = rollout(pod(), pod())


def test_all_pods_on_the_digest_is_done():
    state = judge_rollout(DONE, OURS)
    assert (state.done, state.right, state.wrong) == (True, 2, 0)


def test_a_terminating_pod_does_not_count():
    assert judge_rollout(replace(DONE, pods=(*DONE.pods, pod(OTHER, terminating=True))), OURS).done


@pytest.mark.parametrize(
    "changed",
    [
        replace(DONE, observed=False),
        replace(DONE, updated=1),
        replace(DONE, ready=1),
        replace(DONE, desired=0, updated=0, ready=0, pods=()),
        replace(DONE, desired=3, updated=3, ready=3),
        replace(DONE, pods=(pod(), pod(OTHER))),
        replace(DONE, pods=(pod(), pod(), pod(OTHER, ready=False))),
        replace(DONE, pods=(pod(), pod(ready=False))),
        replace(DONE, pods=(pod(), pod(terminating=True))),
    ],
)
def test_anything_less_is_not_done(changed):
    assert not judge_rollout(changed, OURS).done


PODS = st.builds(
    pod, st.sampled_from([OURS, OTHER, None]), ready=st.booleans(), terminating=st.booleans(), wanted=st.just(OURS)
)


@given(st.lists(PODS, max_size=6), st.integers(0, 4), st.integers(0, 4), st.integers(0, 4), st.booleans())
def test_done_never_with_a_pod_that_serves_another_image(pods, desired, updated, ready, observed):
    state = judge_rollout(rollout(*pods, desired=desired, updated=updated, ready=ready, observed=observed), OURS)
    serving = [p for p in pods if p.ready and not p.terminating]
    if state.done:
        assert len(serving) == desired >= 1
        assert {p.digest for p in serving} == {OURS}


PULL, CRASH, SLOW = TroubleKind.IMAGE_PULL, TroubleKind.CRASH_LOOP, TroubleKind.NOT_READY


@pytest.mark.parametrize(
    ("found", "kind"),
    [
        (rollout(pod(OTHER), pod(None, ready=False, wanted=OURS, kind=PULL)), PULL),
        (rollout(pod(kind=CRASH, ready=False), pod(kind=CRASH, ready=False)), CRASH),
        (rollout(pod(kind=CRASH, ready=False), pod()), None),
        (rollout(pod(kind=CRASH, ready=False), pod(kind=PULL, ready=False)), None),
        (rollout(pod(kind=SLOW, ready=False)), None),
        (rollout(pod(OTHER, kind=CRASH, ready=False)), None),
        (rollout(pod(OTHER), trouble=Trouble(TroubleKind.QUOTA, "full")), TroubleKind.QUOTA),
    ],
)
def test_only_a_lasting_trouble_of_all_new_pods_counts(found, kind):
    assert common_trouble(found, OURS) == kind


def test_the_deadline_counts_for_our_pods_only():
    late = rollout(pod(ready=False), condition="ProgressDeadlineExceeded")
    assert gave_up(late, OURS)
    assert not gave_up(late, OTHER)
    assert not gave_up(replace(late, observed=False), OURS)
