"""Deployments through the GitLab hook, against answers as GitLab gives them."""

from __future__ import annotations

import json

import pytest

from platform_ops.common.errors import AuthenticationFailed, Busy, Invalid
from platform_ops.systems.gitlab.errors import DeploymentNotFound, TransitionRefused
from platform_ops.systems.gitlab.models import Deployment, DeploymentState
from tests.unit.systems.gitlab.test_hook import PROJECT, SHA

MINE = {
    "id": 42, "iid": 2, "ref": "rc", "sha": SHA, "status": "running", "deployable": None,
    "user": {"id": 1, "username": "platform-bot"}, "environment": {"id": 9, "name": "rc"},
}  # fmt: skip
NEWEST = f"{PROJECT}/deployments?environment=rc&order_by=id&sort=desc&per_page=100"
RUNNING = f"{PROJECT}/deployments?environment=rc&status=running&order_by=id&sort=desc&per_page=100"
CANNOT = {"message": {"status": ['cannot transition via "succeed"']}}


@pytest.fixture(autouse=True)
def account(answers):
    answers.give("GET /api/v4/user", body={"id": 1, "username": "platform-bot"})


@pytest.mark.parametrize("other", [{}, {"user": {"id": 2}}, {"user": None}, {"deployable": {"id": 7}}])
def test_whose_a_deployment_is(hook, answers, other):
    answers.give(f"GET {NEWEST}", body=[{**MINE, **other}])
    found = hook.deployments("shop/storefront", "rc")
    assert found == (Deployment(42, 9, SHA, "running", ours=not other),)


def test_only_those_of_a_state_are_asked_for(hook, answers):
    answers.give(f"GET {RUNNING}", body=[])
    assert hook.deployments("shop/storefront", "rc", DeploymentState.RUNNING) == ()


def test_a_deployment_is_recorded_with_its_branch(hook, answers):
    answers.give(f"POST {PROJECT}/deployments", 201, MINE)
    made = hook.create_deployment("shop/storefront", "rc", SHA, ref="rc", state=DeploymentState.RUNNING)
    assert (made.id, made.ours) == (42, True)
    sent = next(json.loads(one.body) for one in answers.asked if one.method == "POST")
    assert sent == {"environment": "rc", "sha": SHA, "ref": "rc", "tag": False, "status": "running"}


def end(hook):
    hook.set_deployment("shop/storefront", 42, DeploymentState.SUCCESS)


def test_a_deployment_is_ended(hook, answers):
    answers.give(f"PUT {PROJECT}/deployments/42", 200, {**MINE, "status": "success"})
    end(hook)
    assert json.loads(answers.asked[0].body) == {"status": "success"}


def test_the_same_end_again_is_fine(hook, answers):
    answers.give(f"PUT {PROJECT}/deployments/42", 400, CANNOT)
    answers.give(f"GET {PROJECT}/deployments/42", body={**MINE, "status": "success"})
    end(hook)


def test_another_state_that_stays_is_refused(hook, answers):
    answers.give(f"PUT {PROJECT}/deployments/42", 400, CANNOT)
    answers.give(f"GET {PROJECT}/deployments/42", body=MINE)
    with pytest.raises(TransitionRefused, match="from running to success"):
        end(hook)


@pytest.mark.parametrize(
    ("status", "said", "kind"),
    [
        (400, "status does not have a valid value", Invalid),
        (403, "403 Forbidden", AuthenticationFailed),
        (404, "404 Not found", DeploymentNotFound),
        (503, "Whoops", Busy),
    ],
)
def test_answers_become_our_errors(hook, answers, status, said, kind):
    answers.give(f"PUT {PROJECT}/deployments/42", status, {"message": said})
    with pytest.raises(kind, match="deployment 42 of shop/storefront"):
        end(hook)
