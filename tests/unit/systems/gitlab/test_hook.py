"""The GitLab hook against answers as GitLab gives them, without a network."""

from __future__ import annotations

import json

import pytest
import requests  # noqa: TID253 - the transport is what these tests stub

from platform_ops.common.errors import (
    AuthenticationFailed,
    Busy,
    Invalid,
    PlatformError,
    TryAgain,
    Unreachable,
)
from platform_ops.systems.gitlab.errors import CommitNotFound, ProjectNotFound, TransitionRefused
from platform_ops.systems.gitlab.models import CommitState, CommitStatus, Project
from tests.unit.systems.gitlab.conftest import TOKEN

SHA = "a" * 40
PROJECT = "/api/v4/projects/shop%2Fstorefront"
RUNNING = {
    "name": "release/rc",
    "status": "running",
    "ref": "rc",
    "target_url": "http://airflow/run",
    "description": "Release to rc is under way.",
}
CANNOT = 'Cannot transition status via :run from :running (Reason(s): Status cannot transition via "run")'


def set_running(hook, **other):
    given = {"name": "release/rc", "state": CommitState.RUNNING, "ref": "rc", "target_url": "http://airflow/run"}
    hook.set_status("shop/storefront", SHA, **{**given, "description": "Under way.", **other})


def test_project(hook, answers):
    answers.give(
        f"GET {PROJECT}",
        body={
            "id": 7,
            "path_with_namespace": "shop/storefront",
            "web_url": "http://gitlab.test/shop/storefront",
            "http_url_to_repo": "http://gitlab.test/shop/storefront.git",
            "default_branch": None,
        },
    )
    assert hook.project("shop/storefront") == Project(
        7, "shop/storefront", "http://gitlab.test/shop/storefront", "http://gitlab.test/shop/storefront.git", ""
    )
    assert answers.asked[0].headers["PRIVATE-TOKEN"] == TOKEN


def test_mergers_reads_every_page_and_only_what_was_merged(hook, answers):
    path = f"{PROJECT}/repository/commits/{SHA}/merge_requests"
    first = [
        {"state": "merged", "merge_user": {"username": "ravi"}, "merged_by": {"username": "someone"}},
        {"state": "opened", "merge_user": None, "merged_by": None},
        {"state": "closed", "merge_user": {"username": "dana"}, "merged_by": None},
    ]
    second = [
        {"state": "merged", "merge_user": None, "merged_by": {"username": "old"}},
        {"state": "merged", "merge_user": {"username": "ravi"}, "merged_by": None},
        {"state": "merged", "merge_user": None, "merged_by": None},
    ]
    answers.give(f"GET {path}", body=first, headers={"Link": f'<http://gitlab.test{path}?page=2>; rel="next"'})
    answers.give(f"GET {path}?page=2", body=second)
    assert hook.mergers("shop/storefront", SHA) == ("old", "ravi")


def test_statuses(hook, answers):
    bare = {"name": "build", "status": "manual", "ref": None, "target_url": None, "description": None}
    answers.give(f"GET {PROJECT}/repository/commits/{SHA}/statuses", body=[RUNNING, bare])
    assert hook.statuses("shop/storefront", SHA) == (
        CommitStatus("release/rc", "running", "rc", "http://airflow/run", "Release to rc is under way."),
        CommitStatus("build", "manual", "", "", ""),
    )


def test_set_status_sends_name_ref_and_a_description_that_fits(hook, answers):
    answers.give(f"POST {PROJECT}/statuses/{SHA}", 201, RUNNING)
    set_running(hook, description="é" * 300)
    sent = json.loads(answers.asked[0].body)
    assert sent == {
        "name": "release/rc",
        "state": "running",
        "ref": "rc",
        "target_url": "http://airflow/run",
        "description": "é" * 254 + "…",
    }


@pytest.mark.parametrize("said", [{"message": CANNOT}, {"message": {"state": [CANNOT]}}])
def test_the_same_status_again_is_fine(hook, answers, said):
    answers.give(f"POST {PROJECT}/statuses/{SHA}", 400, said)
    answers.give(f"GET {PROJECT}/repository/commits/{SHA}/statuses", body=[RUNNING])
    set_running(hook)


@pytest.mark.parametrize("other", [{"status": "pending"}, {"name": "release/dev"}, {"ref": "dev"}])
def test_another_present_status_is_refused(hook, answers, other):
    answers.give(f"POST {PROJECT}/statuses/{SHA}", 400, {"message": CANNOT})
    answers.give(f"GET {PROJECT}/repository/commits/{SHA}/statuses", body=[{**RUNNING, **other}])
    with pytest.raises(TransitionRefused, match=f"release/rc of commit {SHA}"):
        set_running(hook)


def test_another_400_is_no_transition(hook, answers):
    answers.give(f"POST {PROJECT}/statuses/{SHA}", 400, {"error": "state does not have a valid value"})
    with pytest.raises(Invalid, match="state does not have a valid value"):
        set_running(hook)
    assert len(answers.asked) == 1


def test_credentials_are_those_of_a_token(hook):
    assert hook.credentials() == ("oauth2", TOKEN)


@pytest.mark.parametrize(
    ("status", "said", "kind"),
    [
        (401, "401 Unauthorized", AuthenticationFailed),
        (403, "403 Forbidden", AuthenticationFailed),
        (404, "404 Commit Not Found", CommitNotFound),
        (404, "404 Project Not Found", ProjectNotFound),
        (400, "bad", Invalid),
        (409, "Another update to this commit status is in progress", Busy),
        (500, "500 Internal Server Error", Busy),
        (502, "Whoops", Busy),
    ],
)
def test_answers_become_our_errors(hook, answers, status, said, kind):
    answers.give(f"GET {PROJECT}/repository/commits/{SHA}/merge_requests", status, {"message": said})
    answers.give(f"POST {PROJECT}/statuses/{SHA}", status, {"message": said})
    answers.give(f"GET {PROJECT}/repository/commits/{SHA}/statuses", status, {"message": said})
    calls = (
        lambda: hook.mergers("shop/storefront", SHA),
        lambda: set_running(hook),
        lambda: hook.statuses("shop/storefront", SHA),
    )
    for call in calls:
        with pytest.raises(PlatformError) as raised:
            call()
        assert type(raised.value) is kind
        assert str(status) in str(raised.value)
        assert SHA in str(raised.value)
        assert TOKEN not in str(raised.value)
        assert raised.value.facts == {"status": status}
    assert len(answers.asked) == 3, "none of these is sent twice"


def test_a_missing_project_is_named(hook, answers):
    answers.give(f"GET {PROJECT}", 404, {"message": "404 Project Not Found"})
    with pytest.raises(ProjectNotFound, match="project shop/storefront"):
        hook.project("shop/storefront")


def test_a_full_server_is_asked_once_more_for_reading(hook, answers):
    path = f"GET {PROJECT}/repository/commits/{SHA}/merge_requests"
    answers.give(path, 429, {"message": "Retry later"}, headers={"Retry-After": "0"})
    answers.give(path, 200, [])
    assert hook.mergers("shop/storefront", SHA) == ()
    assert len(answers.asked) == 2


def test_a_full_server_is_not_asked_again_for_writing(hook, answers):
    answers.give(f"POST {PROJECT}/statuses/{SHA}", 429, {"message": "Retry later"}, headers={"Retry-After": "0"})
    with pytest.raises(Busy, match="Try again later"):
        set_running(hook)
    assert len(answers.asked) == 1


@pytest.mark.parametrize("trouble", [requests.ConnectionError("refused"), requests.ReadTimeout("slow")])
def test_no_answer(hook, answers, trouble):
    answers.given[f"POST {PROJECT}/statuses/{SHA}"] = [(0, trouble, {})]
    with pytest.raises(Unreachable, match="did not answer") as raised:
        set_running(hook)
    assert isinstance(raised.value, TryAgain)
    assert len(answers.asked) == 1, "whether it happened is unknown; it is not sent twice"


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (b"<html>sign in</html>", "text/html"),
        (b'{"id": 1, ', "application/json"),
        (b"{}", "application/json"),
    ],
)
def test_an_answer_that_is_not_gitlabs(hook, answers, raw, kind):
    answers.give(f"GET {PROJECT}", raw=raw, headers={"Content-Type": kind})
    with pytest.raises(Unreachable, match="project shop/storefront"):
        hook.project("shop/storefront")


def test_a_redirected_write_is_explained(hook, answers):
    https = {"Location": f"https://gitlab.test{PROJECT}/statuses/{SHA}"}
    answers.give(f"POST {PROJECT}/statuses/{SHA}", 301, {}, headers=https)
    answers.give(f"GET {PROJECT}/statuses/{SHA}", 200, {})
    hook.client.session.mount("https://gitlab.test", answers)
    with pytest.raises(Invalid, match="enter its final address"):
        set_running(hook)


@pytest.mark.parametrize("name", ["", ".", ".."])
def test_names_that_are_addresses(hook, answers, name):
    for call in (
        lambda: hook.project(name),
        lambda: hook.mergers("shop/storefront", name),
        lambda: hook.mergers(name, SHA),
        lambda: hook.statuses("shop/storefront", name),
    ):
        with pytest.raises(Invalid, match="names nothing"):
            call()
    assert not answers.asked
