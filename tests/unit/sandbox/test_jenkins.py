import base64
import re
import subprocess
import warnings

import pytest

with warnings.catch_warnings():  # Starlette would like httpx2; the project has httpx
    warnings.simplefilter("ignore")
    from fastapi.testclient import TestClient

from sandbox.stand_ins import jenkins, jenkins_builds
from sandbox.stand_ins.jenkins_controller import Controller, job_config
from tests.waiting import wait_until

ENVIRONMENT = {
    "JENKINS_URL": "http://jenkins.test",
    "JENKINS_USER": "bot",
    "JENKINS_TOKEN": "token-of-the-bot",
    "GITLAB_TOKEN": "glpat-x",
    "HARBOR_URL": "http://harbor.test",
    "REGISTRY": "harbor.test",
    "HARBOR_USER": "robot$bot",
    "HARBOR_PASSWORD": "secret",
}
XML = {"Content-Type": "application/xml"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
JOB = "/job/shop/job/web"
TREE = "builds[number,result,building,queueId,url,timestamp,duration,actions[parameters[name,value]]]{0,50}"
PASSING = "from app.main import VALUE\n\ndef test_value():\n    assert VALUE == 1\n"
FAILING = "def test_good():\n    pass\n\ndef test_bad():\n    assert 1 == 2, 'one is not two'\n"
LONG = "import time\n\ndef test_long():\n    time.sleep(60)\n"


def git(folder, *arguments):
    identity = ["-c", "user.name=d", "-c", "user.email=d@x.test"]
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path):
    folder = tmp_path / "web.git"
    folder.mkdir()
    git(folder, "init", "-q")
    (folder / "app").mkdir()
    (folder / "app" / "__init__.py").touch()
    (folder / "app" / "main.py").write_text("VALUE = 1\n")
    (folder / "tests").mkdir()
    return folder


def commit(repository, tests):
    """Commit these tests; return commit and tree."""
    (repository / "tests" / "test_web.py").write_text(tests)
    git(repository, "add", "-A")
    git(repository, "commit", "-q", "--allow-empty", "-m", "a change")
    return git(repository, "rev-parse", "HEAD"), git(repository, "rev-parse", "HEAD^{tree}")


@pytest.fixture
def pushed(monkeypatch):
    pushes = []

    def push(url, repository, tag, source, labels, auth):
        files = sorted(path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file())
        pushes.append({"url": url, "repository": repository, "tag": tag, "labels": labels, "files": files})
        return "sha256:" + "0" * 64

    monkeypatch.setattr(jenkins_builds, "push_image", push)
    return pushes


def client_of(folder):
    folder.mkdir(exist_ok=True)
    client = TestClient(jenkins.create_app(ENVIRONMENT, folder), follow_redirects=False)
    client.auth = ("bot", "token-of-the-bot")
    return client


@pytest.fixture
def client(tmp_path, pushed):
    with client_of(tmp_path / "jenkins") as client:
        yield client


def make_job(client, git_url, *, quiet=0, parameters=("TREE", "COMMIT", "ATTEMPT"), change=lambda config: config):
    client.post("/createItem", params={"name": "shop", "mode": jenkins.FOLDER})
    config = change(job_config(str(git_url), quiet, parameters))
    response = client.post("/job/shop/createItem", params={"name": "web"}, content=config, headers=XML)
    assert response.status_code == 200


def start(client, **parameters):
    response = client.post(f"{JOB}/buildWithParameters", data=parameters)
    assert response.status_code == 201
    return int(re.fullmatch(r"http://jenkins\.test/queue/item/(\d+)/", response.headers["Location"])[1])


def ended(client, number):
    def look():
        response = client.get(f"{JOB}/{number}/api/json")
        return response.json() if response.status_code == 200 and not response.json()["building"] else None

    return wait_until(look, f"the end of build {number}")


def started(client, item_id):
    def look():
        return (client.get(f"/queue/item/{item_id}/api/json").json().get("executable") or {}).get("number")

    return wait_until(look, f"the build of item {item_id}")


def test_nobody_and_the_wrong_token_are_refused_in_html(client):
    client.auth = None
    nobody = client.get("/api/json")
    wrong = client.get("/api/json", auth=("bot", "x"))
    assert (nobody.status_code, wrong.status_code) == (403, 401)
    assert wrong.headers["WWW-Authenticate"] == 'Basic realm="Jenkins"'
    assert {nobody.headers["Content-Type"], wrong.headers["Content-Type"]} == {"text/html; charset=utf-8"}
    assert all("X-Jenkins" in each.headers for each in (nobody, wrong))


def test_the_servers_own_pages(client):
    assert client.get("/api/json").json()["numExecutors"] == 2
    assert client.get("/whoAmI/api/json").json()["name"] == "bot"
    assert client.get("/crumbIssuer/api/json").json()["crumbRequestField"] == "Jenkins-Crumb"
    missing = client.get("/nowhere")
    assert (missing.status_code, missing.headers["Content-Type"]) == (404, "text/html; charset=utf-8")
    assert "X-Jenkins" in missing.headers


def test_folders_and_jobs_are_created_once(client):
    folder = client.post("/createItem", data={"name": "shop", "mode": jenkins.FOLDER})
    assert (folder.status_code, folder.headers["Location"]) == (302, "http://jenkins.test/job/shop/configure")
    make_job(client, "http://gitlab.test/shop/web.git")
    config = job_config("x", 1, ())
    again = client.post("/job/shop/createItem", params={"name": "web"}, content=config, headers=XML)
    assert again.status_code == 400
    assert "A job already exists with the name" in again.text
    assert [
        each["name"] for each in client.get("/job/shop/api/json", params={"tree": "jobs[name]"}).json()["jobs"]
    ] == ["web"]


@pytest.mark.parametrize(
    ("path", "name", "headers", "status"),
    [
        ("/createItem", "", XML, 400),
        ("/createItem", "..", XML, 400),
        ("/createItem", "a/b", XML, 400),
        ("/createItem", "a", {}, 400),
        ("/job/nowhere/createItem", "a", XML, 404),
    ],
)
def test_what_is_not_created(client, path, name, headers, status):
    response = client.post(path, params={"name": name}, content="<project/>", headers=headers)
    assert response.status_code == status


def test_a_cut_config_is_no_job(client):
    response = client.post("/createItem", params={"name": "a"}, content="<project>", headers=XML)
    assert response.status_code == 500
    assert client.get("/job/a/api/json").status_code == 404


def test_a_good_build_tests_and_pushes(client, repository, pushed):
    sha, tree = commit(repository, PASSING)
    make_job(client, repository)
    item = start(client, TREE=tree, COMMIT=sha, ATTEMPT="run.0", UNDECLARED="x")
    assert started(client, item) == 1
    build = ended(client, 1)
    assert build["result"] == "SUCCESS", client.get(f"{JOB}/1/consoleText").text
    assert build["queueId"] == item
    assert [value["name"] for value in build["actions"][0]["parameters"]] == ["TREE", "COMMIT", "ATTEMPT"]
    report = client.get(f"{JOB}/1/testReport/api/json").json()
    assert (report["passCount"], report["failCount"], report["skipCount"]) == (1, 0, 0)
    assert pushed == [
        {
            "url": "http://harbor.test",
            "repository": "shop/web",
            "tag": "build-web-1",
            "labels": {
                "org.opencontainers.image.revision": sha,
                "org.opencontainers.image.source": str(repository).removesuffix(".git"),
                "org.opencontainers.image.title": "web",
            },
            "files": ["app/__init__.py", "app/main.py", "tests/test_web.py"],
        }
    ]
    log = client.get(f"{JOB}/1/consoleText").text
    assert "Finished: SUCCESS" in log
    assert not any(secret in log for secret in ("glpat-x", base64.b64encode(b"oauth2:glpat-x").decode()))
    listed = client.get(f"{JOB}/api/json", params={"tree": f"name,nextBuildNumber,{TREE}"}).json()
    assert (listed["name"], listed["nextBuildNumber"], "color" in listed) == ("web", 2, False)
    (first,) = listed["builds"]
    assert (first["number"], first["result"], first["duration"] > 0) == (1, "SUCCESS", True)
    assert client.get(f"{JOB}/api/json").json()["builds"][0].keys() == {"_class", "number", "url"}
    assert client.get("/_sandbox/state").json()["effects"] == {"queued": 1, "builds": 1, "images": 1}


def test_failing_tests_fail_the_build_and_are_reported(client, repository, pushed):
    sha, tree = commit(repository, FAILING)
    make_job(client, repository)
    start(client, TREE=tree, COMMIT=sha)
    assert ended(client, 1)["result"] == "FAILURE"
    report = client.get(f"{JOB}/1/testReport/api/json").json()
    assert (report["passCount"], report["failCount"]) == (1, 1)
    (bad,) = [case for case in report["suites"][0]["cases"] if case["status"] == "FAILED"]
    assert (bad["className"], bad["name"]) == ("tests.test_web", "test_bad")
    assert "one is not two" in bad["errorDetails"]
    assert pushed == []
    sha, tree = commit(repository, FAILING.replace("1 == 2", "2 == 2"))
    start(client, TREE=tree, COMMIT=sha)
    assert ended(client, 2)["result"] == "SUCCESS"
    report = client.get(f"{JOB}/2/testReport/api/json").json()
    assert [case["status"] for case in report["suites"][0]["cases"]] == ["PASSED", "FIXED"]


@pytest.mark.parametrize("wrong", ["tree", "commit", "no hash"])
def test_a_build_of_something_else_fails_without_a_report(client, repository, pushed, wrong):
    sha, tree = commit(repository, PASSING)
    make_job(client, repository)
    sha = {"commit": "0" * 40, "no hash": "--upload-pack=x"}.get(wrong, sha)
    start(client, TREE="0" * 40 if wrong == "tree" else tree, COMMIT=sha)
    assert ended(client, 1)["result"] == "FAILURE"
    assert client.get(f"{JOB}/1/testReport/api/json").status_code == 404
    assert pushed == []


def test_equal_items_merge_while_they_wait(client):
    make_job(client, "nowhere", quiet=60)
    first = start(client, TREE="1", COMMIT="2", ATTEMPT="3")
    assert start(client, TREE="1", COMMIT="2", ATTEMPT="3") == first
    assert start(client, TREE="1", COMMIT="2", ATTEMPT="4") == first + 1
    item = client.get(f"/queue/item/{first}/api/json").json()
    assert item["_class"] == "hudson.model.Queue$WaitingItem"
    assert item["why"].startswith("In the quiet period.")
    assert "executable" not in item
    queue = client.get("/queue/api/json", params={"tree": "items[id,task[url]]"}).json()["items"]
    assert [each["task"]["url"] for each in queue] == [f"http://jenkins.test{JOB}/"] * 2
    job = client.get(f"{JOB}/api/json").json()
    assert (job["inQueue"], job["queueItem"]["id"]) == (True, first)


def test_a_merged_start_makes_the_wait_shorter_only(client, repository):
    sha, tree = commit(repository, PASSING)
    make_job(client, repository, quiet=60)
    first = start(client, TREE=tree, COMMIT=sha)
    assert start(client, TREE=tree, COMMIT=sha, delay="0sec") == first
    assert started(client, first) == 1
    ended(client, 1)


def test_a_cancelled_item_stays_known_for_a_while(client):
    make_job(client, "nowhere", quiet=60)
    item = start(client, TREE="1")
    assert client.post("/queue/cancelItem", params={"id": item}).status_code == 204
    left = client.get(f"/queue/item/{item}/api/json").json()
    assert (left["_class"], left["cancelled"], left["executable"]) == ("hudson.model.Queue$LeftItem", True, None)
    assert client.get("/queue/api/json").json()["items"] == []
    assert client.post("/queue/cancelItem", params={"id": item}).status_code == 500
    assert client.post("/queue/cancelItem", params={"id": 99}).status_code == 404
    assert start(client, TREE="1") == item + 1


def test_two_executors_and_a_stop(client, repository):
    sha, tree = commit(repository, LONG)
    make_job(client, repository)
    items = [start(client, TREE=tree, COMMIT=sha, ATTEMPT=str(each)) for each in range(3)]
    assert [started(client, item) for item in items[:2]] == [1, 2]
    third = client.get(f"/queue/item/{items[2]}/api/json").json()
    assert (third["_class"], third["why"]) == (
        "hudson.model.Queue$BuildableItem",
        "Waiting for next available executor",
    )
    assert client.post(f"{JOB}/1/stop").status_code == 302
    assert ended(client, 1)["result"] == "ABORTED"
    assert started(client, items[2]) == 3
    assert client.post(f"{JOB}/1/stop").status_code == 302


def test_a_job_that_is_not_concurrent_blocks(client, repository):
    sha, tree = commit(repository, LONG)
    make_job(client, repository, change=lambda config: config.replace("<concurrentBuild>true</concurrentBuild>", ""))
    first, second = (start(client, TREE=tree, COMMIT=sha, ATTEMPT=str(each)) for each in range(2))
    started(client, first)
    assert client.get(f"/queue/item/{second}/api/json").json()["_class"] == "hudson.model.Queue$BlockedItem"


def test_how_a_job_may_not_be_started(client):
    make_job(client, "nowhere")
    assert client.post(f"{JOB}/build").status_code == 400
    assert client.post("/job/shop/job/other/buildWithParameters").status_code == 404
    config = job_config("nowhere", 60, ())
    client.post("/createItem", params={"name": "plain"}, content=config, headers=XML)
    assert client.post("/job/plain/buildWithParameters").status_code == 500
    assert client.post("/job/plain/build").status_code == 201
    disabled = config.replace("<disabled>false", "<disabled>true")
    client.post("/createItem", params={"name": "off"}, content=disabled, headers=XML)
    refused = client.post("/job/off/build")
    assert (refused.status_code, "off is not buildable" in refused.text) == (409, True)


def test_the_page_of_a_build_is_for_people(client, repository):
    sha, tree = commit(repository, PASSING)
    make_job(client, repository)
    start(client, TREE=tree, COMMIT=sha)
    ended(client, 1)
    client.auth = None
    page = client.get(f"{JOB}/1/")
    assert (page.status_code, "shop/web #1: SUCCESS" in page.text) == (200, True)


def test_a_restart_aborts_builds_and_keeps_the_queue(tmp_path, repository, pushed):
    folder = tmp_path / "jenkins"
    sha, tree = commit(repository, LONG)
    with client_of(folder) as client:
        make_job(client, repository)
        item = start(client, TREE=tree, COMMIT=sha)
        started(client, item)
        state = (folder / "state.json").read_text()
        waiting = client.post(f"{JOB}/buildWithParameters", data={"TREE": "9", "delay": "60sec"})
    assert waiting.status_code == 201
    with client_of(folder) as client:
        assert client.get(f"{JOB}/1/api/json").json()["result"] == "ABORTED"
        assert client.get("/queue/item/2/api/json").json()["_class"] == "hudson.model.Queue$WaitingItem"
        assert client.get(f"/queue/item/{item}/api/json").json()["executable"]["number"] == 1
    # A kill leaves the state as it was while the build ran.
    (folder / "state.json").write_text(state)
    with client_of(folder) as client:
        build = client.get(f"{JOB}/1/api/json").json()
        assert (build["building"], build["result"]) == (False, "ABORTED")
        assert "Jenkins was restarted" in client.get(f"{JOB}/1/consoleText").text


def test_an_item_is_forgotten_five_minutes_after_it_left(tmp_path):
    now = [1000.0]
    controller = Controller(tmp_path, ENVIRONMENT, clock=lambda: now[0])
    jobs = {"path": "a", "git_url": "", "quiet_seconds": 5, "parameters": {"P": ""}, "concurrent": True}
    job = jenkins.Job(**jobs, disabled=False)
    controller.create("a", job)
    item = controller.schedule(job, {"P": "1"}, None)
    assert controller.item_state(item) == "Waiting"
    now[0] += 5
    assert controller.item_state(item) == "Buildable"
    controller.cancel(item.id)
    now[0] += 299
    assert controller.item_state(controller.item(item.id)) == "Left"
    now[0] += 1
    assert controller.item(item.id) is None
    assert controller.cancel(item.id) is None


def test_a_hanging_test_is_ended(client, repository, monkeypatch):
    monkeypatch.setattr(jenkins_builds, "STEP_SECONDS", 1)
    sha, tree = commit(repository, LONG)
    make_job(client, repository)
    start(client, TREE=tree, COMMIT=sha)
    assert ended(client, 1)["result"] == "ABORTED"
    assert "timed out" in client.get(f"{JOB}/1/consoleText").text


def test_what_the_account_may_do_with_a_job(client):
    assert client.get("/pluginManager/api/json").status_code == 403, "it is no administrator"
    make_job(client, "x")
    path = "/blue/rest/organizations/jenkins/pipelines/shop/pipelines/web/"
    may = {"create": True, "configure": False, "read": True, "start": True, "stop": True}
    assert client.get(path).json()["permissions"] == may
    assert client.get(path.replace("web", "nothing")).status_code == 404
