import json
from urllib.parse import parse_qs

import httpx
import pytest

from platform_ops.common.errors import AuthenticationFailed, Busy, Invalid, NotFound, Unreachable
from platform_ops.systems.jenkins.errors import JobDisabled, UnknownResult
from platform_ops.systems.jenkins.hook import JenkinsHook, job_path
from platform_ops.systems.jenkins.models import Result, TestReport


class Jenkins:
    """Answers by method and path, and keeps what it was asked."""

    def __init__(self):
        self.answers = {}
        self.requests = []

    def __call__(self, request):
        self.requests.append(request)
        answer = self.answers.get((request.method, request.url.path))
        if callable(answer):
            return answer(request)
        return answer or httpx.Response(404, html="<html><head><title>x</title></head><body>Not Found</body></html>")


@pytest.fixture
def jenkins():
    return Jenkins()


@pytest.fixture
def hook(jenkins, monkeypatch):
    connection = {
        "conn_type": "jenkins",
        "host": "http://jenkins.test/ci",
        "login": "bot",
        "password": "token-of-the-bot",
    }
    monkeypatch.setenv("AIRFLOW_CONN_JENKINS_DEFAULT", json.dumps(connection))
    return JenkinsHook(inner=httpx.MockTransport(jenkins))


def actions(**parameters):
    return [{}, {"parameters": [{"name": name, "value": value} for name, value in parameters.items()]}]


def build_json(number=7, **changes):
    return {
        "number": number,
        "queueId": 70 + number,
        "building": False,
        "result": "SUCCESS",
        "timestamp": 1_700_000_000_500,
        "duration": 4200,
        "actions": actions(TREE="t1", ATTEMPT="a"),
    } | changes


@pytest.mark.parametrize(
    ("job", "path"),
    [("shop/storefront", "/job/shop/job/storefront"), ("a b/c?d#e", "/job/a%20b/job/c%3Fd%23e")],
)
def test_a_job_becomes_a_path(job, path):
    assert job_path(job) == path


@pytest.mark.parametrize("job", ["", "shop//x", "../x", "shop/.", "/shop"])
def test_a_name_that_is_no_job_path_is_refused(job):
    with pytest.raises(Invalid, match="not the path of a Jenkins job"):
        job_path(job)


def test_start_sends_the_parameters_as_a_form_and_reads_the_queue_id(hook, jenkins):
    jenkins.answers["POST", "/ci/job/shop/job/web/buildWithParameters"] = httpx.Response(
        201, headers={"Location": "http://other.test/queue/item/41/"}
    )
    assert hook.start("shop/web", {"TREE": "a&b", "ATTEMPT": "run=1"}) == 41
    request = jenkins.requests[0]
    assert parse_qs(request.content.decode()) == {"TREE": ["a&b"], "ATTEMPT": ["run=1"]}
    assert "delay" not in str(request.url)
    assert request.headers["Authorization"].startswith("Basic ")


def test_start_without_a_location_says_so(hook, jenkins):
    jenkins.answers["POST", "/ci/job/web/buildWithParameters"] = httpx.Response(302, headers={"Location": "/login"})
    with pytest.raises(Unreachable, match=r"without naming a queue item \(Location: /login\)"):
        hook.start("web", {})


def test_start_is_sent_once_when_the_answer_is_lost(hook, jenkins):
    def lose(request):
        raise httpx.ReadError("gone")

    jenkins.answers["POST", "/ci/job/web/buildWithParameters"] = lose
    with pytest.raises(Unreachable):
        hook.start("web", {})
    assert len(jenkins.requests) == 1


def test_a_disabled_job_is_named(hook, jenkins):
    jenkins.answers["POST", "/ci/job/shop/job/web/buildWithParameters"] = httpx.Response(409)
    with pytest.raises(
        JobDisabled, match=r"job shop/web is disabled; enable it at http://jenkins.test/ci/job/shop/job/web/"
    ):
        hook.start("shop/web", {})


def test_a_queue_item_that_waits(hook, jenkins):
    document = {"id": 5, "why": "In the quiet period", "actions": actions(TREE="t1"), "task": {"url": "x"}}
    jenkins.answers["GET", "/ci/queue/item/5/api/json"] = httpx.Response(200, json=document)
    item = hook.queue_item(5)
    assert (item.why, item.cancelled, item.number, item.parameters) == (
        "In the quiet period",
        False,
        None,
        {"TREE": "t1"},
    )


def test_a_queue_item_that_became_a_build(hook, jenkins):
    document = {"id": 5, "why": None, "cancelled": False, "executable": {"number": 9}, "actions": []}
    jenkins.answers["GET", "/ci/queue/item/5/api/json"] = httpx.Response(200, json=document)
    assert hook.queue_item(5).number == 9


def test_a_queue_item_that_left_without_its_build_yet(hook, jenkins):
    document = {"id": 5, "why": None, "cancelled": False, "executable": None, "actions": []}
    jenkins.answers["GET", "/ci/queue/item/5/api/json"] = httpx.Response(200, json=document)
    assert hook.queue_item(5).number is None


def test_a_forgotten_queue_item_is_none(hook):
    assert hook.queue_item(5) is None


def test_the_queue_of_a_job_is_told_by_the_tasks_address(hook, jenkins):
    def item(number, path):
        return {"id": number, "actions": actions(), "task": {"url": f"https://jenkins.example/{path}"}}

    items = [
        item(1, "job/shop/job/web/"),
        item(2, "job/other/job/shop/job/web/"),
        item(3, "job/shop/job/web2/"),
        item(4, "x/job/shop/job/web/"),
        {"id": 5, "actions": []},
    ]
    jenkins.answers["GET", "/ci/queue/api/json"] = httpx.Response(200, json={"items": items})
    assert [each.id for each in hook.queue("shop/web")] == [4, 1]


def test_builds_ask_for_a_page_and_keep_the_order(hook, jenkins):
    listed = {"builds": [build_json(8, building=True, result=None, duration=0), build_json(7)]}
    jenkins.answers["GET", "/ci/job/web/api/json"] = httpx.Response(200, json=listed)
    running, ended = hook.builds("web", limit=2)
    assert jenkins.requests[0].url.params["tree"].endswith("{0,2}")
    assert (running.active, running.result, running.succeeded) == (True, None, False)
    assert (ended.active, ended.result, ended.succeeded) == (False, Result.SUCCESS, True)
    assert ended.parameters == {"TREE": "t1", "ATTEMPT": "a"}
    assert (ended.seconds, ended.started_at.year, ended.queue_id) == (4.2, 2023, 77)


def test_a_result_that_jenkins_does_not_have_is_named_with_its_build(hook, jenkins):
    odd = build_json(7, result="SKIPPED")
    jenkins.answers["GET", "/ci/job/shop/job/web/7/api/json"] = httpx.Response(200, json=odd)
    jenkins.answers["GET", "/ci/job/shop/job/web/api/json"] = httpx.Response(200, json={"builds": [odd]})
    for ask in (lambda: hook.build("shop/web", 7), lambda: hook.builds("shop/web")):
        with pytest.raises(UnknownResult, match=r"shop/web #7 ended as 'SKIPPED'.*Delete that build"):
            ask()


def test_a_missing_build_is_not_found_and_named(hook):
    with pytest.raises(NotFound, match="build web #7: Not Found"):
        hook.build("web", 7)


def test_a_wrong_token_fails_now(hook, jenkins):
    jenkins.answers["GET", "/ci/job/web/7/api/json"] = httpx.Response(401, html="<p>Invalid password/token</p>")
    with pytest.raises(AuthenticationFailed, match="Invalid password/token"):
        hook.build("web", 7)


def test_the_error_header_is_preferred(hook, jenkins):
    jenkins.answers["GET", "/ci/job/web/7/api/json"] = httpx.Response(
        500, headers={"X-Error": "disk full"}, text="<p>Oops"
    )
    with pytest.raises(Busy, match="disk full"):
        hook.build("web", 7)


def test_a_test_report_of_a_good_build_needs_no_cases(hook, jenkins):
    jenkins.answers["GET", "/ci/job/web/7/testReport/api/json"] = httpx.Response(
        200, json={"passCount": 12, "failCount": 0, "skipCount": 1}
    )
    assert hook.test_report("web", 7) == TestReport(12, 0, 1, ())
    assert len(jenkins.requests) == 1


def test_a_test_report_names_what_failed(hook, jenkins):
    cases = [
        {"className": "tests.test_a", "name": "one", "status": "FAILED"},
        {"className": "tests.test_a", "name": "two", "status": "REGRESSION"},
        {"className": "tests.test_a", "name": "three", "status": "FIXED"},
        {"className": "tests.test_a", "name": "four", "status": "SKIPPED"},
    ]
    document = {"passCount": 1, "failCount": 2, "skipCount": 1, "suites": [{"cases": cases}]}
    jenkins.answers["GET", "/ci/job/web/7/testReport/api/json"] = lambda request: httpx.Response(200, json=document)
    assert hook.test_report("web", 7).failing == ("tests.test_a.one", "tests.test_a.two")


def test_no_test_report_is_none(hook):
    assert hook.test_report("web", 7) is None


def test_a_proxys_page_instead_of_json_is_unreachable(hook, jenkins):
    jenkins.answers["GET", "/ci/queue/item/5/api/json"] = httpx.Response(200, text="<html>sign in</html>")
    with pytest.raises(Unreachable, match="queue item 5 with something that is not JSON"):
        hook.queue_item(5)


@pytest.mark.parametrize("status", [204, 302, 404, 500])
def test_cancelling_takes_what_the_versions_answer(hook, jenkins, status):
    jenkins.answers["POST", "/ci/queue/cancelItem"] = httpx.Response(status)
    hook.cancel_queue_item(5)
    assert jenkins.requests[0].url.params["id"] == "5"


def test_stopping_a_build_that_is_gone_is_fine(hook, jenkins):
    hook.stop("web", 7)
    assert jenkins.requests[0].url.path == "/ci/job/web/7/stop"


def test_the_page_of_a_build(hook):
    assert hook.build_url("shop/web", 7) == "http://jenkins.test/ci/job/shop/job/web/7/"
