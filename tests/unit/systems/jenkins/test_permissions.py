"""What Jenkins says of our account, and what we make of it."""

import json

import httpx
import pytest

from platform_ops.common.errors import AuthenticationFailed
from platform_ops.systems.jenkins.hook import JenkinsHook
from platform_ops.systems.jenkins.permissions import PERMISSIONS

MAY = {"create": False, "configure": False, "read": True, "start": True, "stop": True}
NOTHING = httpx.Response(404, html="<p>Not Found</p>")


@pytest.fixture
def check(monkeypatch):
    def checked(*, places=("shop/web",), **changes):
        answers = {
            "/ci/whoAmI/api/json": httpx.Response(200, json={"name": "bot", "anonymous": False}),
            "/ci/pluginManager/api/json": httpx.Response(403, html="<p>bot is missing the Overall/SystemRead</p>"),
            "/ci/job/shop/job/web/api/json": httpx.Response(200, json={"name": "web"}),
            "/ci/blue/rest/organizations/jenkins/pipelines/shop/pipelines/web/": httpx.Response(
                200, json={"permissions": MAY}
            ),
        }
        for part, answer in changes.items():
            answers[next(path for path in answers if part in path)] = answer
        connection = {"conn_type": "jenkins", "host": "http://jenkins.test/ci", "login": "bot", "password": "a-token"}
        monkeypatch.setenv("AIRFLOW_CONN_JENKINS_DEFAULT", json.dumps(connection))

        def answer(request):
            assert request.method == "GET", "a POST could start something"
            return answers.get(request.url.path, NOTHING)

        return JenkinsHook(inner=httpx.MockTransport(answer)).check_permissions(places)

    return checked


def wrong(findings):
    return [(finding.permission.name, finding.state) for finding in findings if finding.state != "ok"]


def blue(**changes):
    return httpx.Response(200, json={"permissions": MAY | changes})


def test_read_build_and_cancel_are_all_we_need(check):
    findings = check()
    assert wrong(findings) == []
    assert {finding.permission for finding in findings} == set(PERMISSIONS)


@pytest.mark.parametrize(
    ("changes", "name", "state"),
    [
        ({"job": NOTHING}, "Job/Read", "missing"),
        ({"blue": blue(start=False)}, "Job/Build", "missing"),
        ({"blue": blue(stop=False)}, "Job/Cancel", "missing"),
        ({"blue": blue(configure=True)}, "Job/Configure", "too much"),
        ({"pluginManager": httpx.Response(200, json={"plugins": []})}, "Overall/Administer", "too much"),
    ],
)
def test_what_is_wrong_is_named(check, changes, name, state):
    assert wrong(check(**changes)) == [(name, state)]


def test_without_blue_ocean_jenkins_can_not_say_and_we_do_not_guess(check):
    findings = check(blue=NOTHING)
    assert wrong(findings) == [("Job/Build", "unknown"), ("Job/Cancel", "unknown"), ("Job/Configure", "unknown")]
    assert "does not say whether Job/Build is granted on job shop/web" in findings[2].sentence


def test_nobody_and_a_wrong_token_are_refused(check):
    with pytest.raises(AuthenticationFailed, match="takes us for anonymous"):
        check(whoAmI=httpx.Response(200, json={"name": "anonymous", "anonymous": True}))
    with pytest.raises(AuthenticationFailed, match="Invalid password"):
        check(whoAmI=httpx.Response(401, html="<p>Invalid password/token for user: bot</p>"))
