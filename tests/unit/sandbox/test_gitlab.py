"""The GitLab stand-in, in process: words, codes and states as GitLab's, on real bare repositories."""

from __future__ import annotations

import base64
import json
import threading
import time
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from platform_ops.common.webhook_secrets import read_secrets
from platform_ops.web.signatures import judge
from sandbox.stand_ins import gitlab, gitlab_store
from tests.unit.sandbox.gitlab_world import (
    BOT,
    ENVIRONMENT,
    PROJECT,
    RAVI,
    Receiver,
    TestClient,
    basic,
    client,
    push,
    receiver,
    sha,
    work,
)

__all__ = ["client", "receiver", "sha", "work"]

CANNOT = 'Cannot transition status via :run from :running (Reason(s): Status cannot transition via "run")'


def test_who_may_ask(client):
    for headers in ({"PRIVATE-TOKEN": "wrong"}, {"PRIVATE-TOKEN": "", "Authorization": "Bearer wrong"}):
        answer = client.get("/api/v4/user", headers=headers)
        assert (answer.status_code, answer.json()) == (401, {"message": "401 Unauthorized"})
    assert client.get("/api/v4/user").json()["username"] == "platform-bot"
    ravi = client.get("/api/v4/user", headers={"PRIVATE-TOKEN": "", **RAVI}).json()
    assert (ravi["username"], ravi["email"], ravi["name"]) == ("ravi", "ravi@example.com", "Ravi")
    assert client.get("/api/v4/personal_access_tokens/self").json()["scopes"][0] == "api"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/projects/shop%2Fnope", {"message": "404 Project Not Found"}),
        ("/projects/99", {"message": "404 Project Not Found"}),
        ("/projects/shop%2Fstorefront/repository/commits/dev", {"message": "404 Commit Not Found"}),
        ("/projects/shop%2Fstorefront/repository/commits/--all", {"message": "404 Commit Not Found"}),
        ("/projects/shop%2Fstorefront/repository/branches/no%2Fpe", {"message": "404 Branch Not Found"}),
        ("/projects/shop%2Fstorefront/merge_requests/1", {"message": "404 Not found"}),
        ("/projects/shop/storefront", {"error": "404 Not Found"}),
        ("/nothing", {"error": "404 Not Found"}),
    ],
)
def test_what_is_missing(client, path, body):
    answer = client.get(f"/api/v4{path}")
    assert (answer.status_code, answer.json()) == (404, body)


def test_projects(client):
    shown = client.get(PROJECT).json()
    assert shown == client.get(f"/api/v4/projects/{shown['id']}").json()
    assert shown["http_url_to_repo"] == "http://gitlab.test/shop/storefront.git"
    taken = client.post("/api/v4/projects", json={"name": "storefront", "namespace_id": 1})
    assert taken.status_code == 400
    assert taken.json()["message"]["name"] == ["has already been taken"]
    escaping = client.post("/api/v4/projects", json={"name": "x", "path": "../x", "namespace_id": 1})
    assert escaping.status_code == 400
    client.post("/api/v4/projects", data={"name": "payments", "namespace_id": "1"})
    page = client.get("/api/v4/projects?per_page=1")
    assert [one["path"] for one in page.json()] == ["payments"]
    assert page.headers["X-Next-Page"] == "2"
    assert [one["path"] for one in client.get(page.links["next"]["url"]).json()] == ["storefront"]


def test_a_hook_keeps_its_tokens(client):
    signing_token = "whsec_" + base64.b64encode(bytes(range(32))).decode()
    wanted = {"url": "http://ci.test/x", "token": "secret", "signing_token": signing_token, "push_events": True}
    made = client.post(f"{PROJECT}/hooks", json=wanted)
    assert made.status_code == 201
    listed = client.get(f"{PROJECT}/hooks")
    assert listed.json()[0]["url"] == "http://ci.test/x"
    assert (made.json()["token_present"], made.json()["signing_token_present"]) == (True, True)
    assert "secret" not in made.text + listed.text
    assert "whsec" not in made.text + listed.text


@pytest.mark.parametrize("signing_token", ["secret", "whsec_", "whsec_c2hvcnQ=", "whsec_" + "*" * 44])
def test_a_signing_token_has_a_shape(client, signing_token):
    made = client.post(f"{PROJECT}/hooks", json={"url": "http://ci.test/x", "signing_token": signing_token})
    assert made.status_code == 422
    assert list(made.json()["message"]) == ["signing_token"]


def test_statuses_walk_gitlabs_state_machine(client, sha):
    def put(state, headers=BOT, **other):
        body = {"state": state, "name": "release/dev", "ref": "dev", **other}
        answer = client.post(f"{PROJECT}/statuses/{sha}", json=body, headers={"PRIVATE-TOKEN": "", **headers})
        return answer.status_code, answer.json()

    def shown(query=""):
        rows = client.get(f"{PROJECT}/repository/commits/{sha}/statuses{query}").json()
        return [row["status"] for row in rows]

    assert put("done") == (400, {"error": "state does not have a valid value"})
    assert put("running", description="x" * 256)[0] == 400
    assert shown() == []
    assert put("running", target_url="http://airflow/run")[0] == 201
    assert put("running", description="again") == (400, {"message": CANNOT})
    assert put("skipped")[0] == 400
    status, row = put("success", description="Released.")
    assert (status, row["status"], row["target_url"]) == (201, "success", "http://airflow/run")
    assert put("success")[0] == 201, "an ended status is followed by a new one"
    assert shown() == ["success"]
    assert shown("?all=true") == ["success", "success"]
    assert put("pending")[0] == 201
    assert put("failed", headers=RAVI)[1]["author"]["username"] == "ravi"
    assert shown() == ["failed"], "the newest of a name counts, whoever wrote it"
    put("running", name="release/rc")
    assert shown("?name=release/rc") == ["running"]


def test_merging_makes_a_merge_commit_of_the_merging_user(client, work, receiver):
    base = work.commit("rc", {"a": "1"})
    head = work.commit("dev", {"a": "1", "b": "2"}, base, message="Add b")
    moved = work.commit("rc", {"a": "1", "c": "3"}, base)
    client.post(f"{PROJECT}/hooks", json={"url": "http://ci.test/x", "token": "secret"})
    body = {"title": "Dev to rc", "source_branch": "dev", "target_branch": "rc"}
    opened = client.post(f"{PROJECT}/merge_requests", json=body)
    assert (opened.status_code, opened.json()["detailed_merge_status"]) == (201, "preparing")
    assert client.post(f"{PROJECT}/merge_requests", json=body).status_code == 409
    assert client.get(f"{PROJECT}/merge_requests/1").json()["detailed_merge_status"] == "mergeable"
    wrong = client.put(f"{PROJECT}/merge_requests/1/merge", json={"sha": base})
    assert (wrong.status_code, head in wrong.json()["message"]) == (409, True)

    merged = client.put(
        f"{PROJECT}/merge_requests/1/merge", json={"sha": head}, headers={"PRIVATE-TOKEN": "", **RAVI}
    ).json()
    made = merged["merge_commit_sha"]
    assert (merged["state"], merged["merge_user"]["username"], merged["merged_by"]["username"]) == (
        "merged",
        "ravi",
        "ravi",
    )
    assert work.git("rev-parse", "refs/heads/rc") == made
    commit = client.get(f"{PROJECT}/repository/commits/rc").json()
    assert commit["parent_ids"] == [moved, head]
    assert (commit["author_email"], commit["committer_email"]) == ("ravi@example.com", "ravi@example.com")
    assert commit["message"] == "Merge branch 'dev' into 'rc'\n\nDev to rc\n\nSee merge request shop/storefront!1"
    assert work.git("ls-tree", "--name-only", made).split() == ["a", "b", "c"]
    for contained, count in ((made, 1), (head, 1), (base, 0)):
        assert len(client.get(f"{PROJECT}/repository/commits/{contained}/merge_requests").json()) == count
    again = client.put(f"{PROJECT}/merge_requests/1/merge")
    assert (again.status_code, again.json()) == (405, {"message": "405 Method Not Allowed"})
    assert [one["iid"] for one in client.get(f"{PROJECT}/merge_requests?state=merged&target_branch=rc").json()] == [1]
    assert client.get(f"{PROJECT}/merge_requests?state=opened").json() == []

    events = {body["ref"]: body for _, body, _ in receiver.wait(2)}
    assert (events["refs/heads/rc"]["after"], events["refs/heads/rc"]["user_username"]) == (made, "ravi")


def test_what_can_not_be_merged(client, work):
    base = work.commit("rc", {"a": "1"})
    work.commit("dev", {"a": "2"}, base)
    work.commit("rc", {"a": "3"}, base)
    work.commit("same", {"a": "1"}, base)
    work.git("update-ref", "refs/heads/same", base)
    for source in ("dev", "same"):
        client.post(f"{PROJECT}/merge_requests", json={"title": "x", "source_branch": source, "target_branch": "rc"})
    for iid, word in ((1, "conflict"), (2, "commits_status")):
        assert client.get(f"{PROJECT}/merge_requests/{iid}").json()["detailed_merge_status"] == word
        assert client.put(f"{PROJECT}/merge_requests/{iid}/merge").status_code == 405
    closed = client.put(f"{PROJECT}/merge_requests/1", json={"state_event": "close"}).json()
    assert (closed["state"], closed["detailed_merge_status"]) == ("closed", "not_open")


def test_git_needs_a_token(client, sha):
    path = "/shop/storefront.git/info/refs?service=git-upload-pack"
    for headers in ({}, basic("wrong"), {"Authorization": "Basic ???"}):
        refused = client.get(path, headers=headers)
        assert refused.status_code == 401
        assert refused.headers["WWW-Authenticate"] == 'Basic realm="GitLab"'
    answer = client.get(path, headers=basic("glpat-dana"))
    assert answer.headers["Content-Type"] == "application/x-git-upload-pack-advertisement"
    assert sha in answer.text
    assert client.get(path.replace("storefront", "nope"), headers=basic("glpat-dana")).status_code == 404
    assert client.get("/shop/storefront.git/HEAD", headers=basic("glpat-dana")).status_code == 404


def test_a_push_is_told_once_as_its_pushers(client, work, receiver, sha):
    for number in range(22):
        sha = work.commit("hidden", {"a": str(number), f"b{number}": ""}, sha, message=f"Change {number}")
    work.git("update-ref", "-d", "refs/heads/hidden")
    client.post(f"{PROJECT}/hooks", json={"url": "http://ci.test/x", "token": "secret"})
    start = work.git("rev-parse", "dev")
    push(client, start, sha, "refs/heads/dev")
    url, event, headers = receiver.wait(1)[0]
    assert url == "http://ci.test/x"
    assert (headers["X-Gitlab-Event"], headers["X-Gitlab-Token"]) == ("Push Hook", "secret")
    assert headers["webhook-id"] == headers["Idempotency-Key"]
    assert "webhook-signature" not in headers
    assert (event["ref"], event["after"], event["checkout_sha"]) == ("refs/heads/dev", sha, sha)
    assert (event["user_username"], event["project"]["path_with_namespace"]) == ("dana", "shop/storefront")
    assert (event["total_commits_count"], len(event["commits"])) == (23, 20)
    newest = event["commits"][-1]
    assert (newest["id"], newest["modified"], newest["added"], newest["removed"]) == (sha, ["a"], ["b21"], ["b20"])
    push(client, sha, "0" * 40, "refs/heads/dev")
    _, event, _ = receiver.wait(1)[1]
    assert (event["after"], event["checkout_sha"], event["commits"]) == ("0" * 40, None, [])
    assert client.get("/_sandbox/state").json()["effects"]["pushes"] == 2


def test_a_webhook_is_sent_again_with_the_same_id_and_signed_anew(client, receiver, sha, monkeypatch):
    monkeypatch.setattr(gitlab_store, "PAUSES", (0, 0, 0))
    receiver.statuses = [503, httpx.ConnectError("refused"), 404]
    token = "whsec_" + base64.b64encode(bytes(range(32))).decode()
    client.post(f"{PROJECT}/hooks", json={"url": "http://ci.test/x", "signing_token": token})
    push(client, "0" * 40, sha, "refs/heads/rc")
    secrets, sent = read_secrets({"signing_token": token}), receiver.wait(4)
    for _, body, headers in sent:
        lowered = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        signed = judge(lowered, secrets, now=time.time())
        assert signed.covers(json.dumps(body).encode())
        assert headers["webhook-id"] == headers["Idempotency-Key"]
        assert "X-Gitlab-Token" not in headers
    assert len({headers["webhook-id"] for _, body, headers in sent if body["ref"] == "refs/heads/rc"}) == 1
    assert client.get("/_sandbox/state").json()["effects"]["pushes"] == 2


def test_what_is_owed_survives_a_restart(client, tmp_path, sha, monkeypatch):
    never = threading.Event()
    monkeypatch.setattr(gitlab_store, "PAUSES", ())
    silent = client.app.state.world.events
    silent._start = lambda delivery: never.set()
    client.post(f"{PROJECT}/hooks", json={"url": "http://ci.test/x"})
    push(client, "0" * 40, sha, "refs/heads/rc")
    assert never.is_set()
    later = Receiver()
    again = TestClient(gitlab.create_app(ENVIRONMENT, tmp_path / "gitlab", send=later), headers=BOT)
    told = later.wait(2)
    assert {body["ref"] for _, body, _ in told} == {"refs/heads/dev", "refs/heads/rc"}
    assert {body["user_username"] for _, body, _ in told} == {"dana"}
    assert again.get(PROJECT).json()["path"] == "storefront"


def test_a_move_lost_in_a_crash_is_told_after_the_restart(client, tmp_path, work, sha):
    client.post(f"{PROJECT}/hooks", json={"url": "http://ci.test/x"})
    later = Receiver()
    gitlab.create_app(ENVIRONMENT, tmp_path / "gitlab", send=later)
    assert later.wait(1)[0][1]["after"] == sha


def test_pages_for_people(client, work, sha):
    work.commit("feature/x", {"f": "<b>text</b>"}, sha)
    page = client.get(f"/shop/storefront/-/commit/{sha}", headers={"PRIVATE-TOKEN": ""})
    assert "dana@example.com" in page.text
    assert "&lt;b&gt;text" in client.get("/shop/storefront/-/blob/feature/x/f").text
    assert client.get("/shop/storefront").status_code == 200
    assert client.get("/shop/storefront/-/blob/dev/nope").status_code == 404
    assert client.get("/shop/nope/-/commit/dev").status_code == 404


def day(days):
    return (datetime.now(UTC) + timedelta(days=days)).date().isoformat()


def make_token(client, *scopes, days=30, user=2, **headers):
    body = {"name": "new", "scopes": list(scopes), "expires_at": day(days)}
    return client.post(f"/api/v4/users/{user}/personal_access_tokens", json=body, headers=headers)


def test_an_administrator_makes_tokens_with_scopes_and_an_end(client, tmp_path):
    made = make_token(client, "read_api")
    assert (made.status_code, made.json()["scopes"], made.json()["expires_at"]) == (201, ["read_api"], day(30))
    as_dana = {"PRIVATE-TOKEN": made.json()["token"]}
    own = client.get("/api/v4/personal_access_tokens/self", headers=as_dana).json()
    assert (own["user_id"], own["scopes"], own["expires_at"]) == (2, ["read_api"], day(30))
    assert "is_admin" not in client.get("/api/v4/user", headers=as_dana).json()
    assert client.get("/api/v4/user").json()["is_admin"] is True
    refused = client.post("/api/v4/groups", json={"name": "x", "path": "x"}, headers=as_dana)
    assert (refused.status_code, refused.json()["error"]) == (403, "insufficient_scope")
    again = TestClient(gitlab.create_app(ENVIRONMENT, tmp_path / "gitlab"), headers=as_dana)
    assert again.get("/api/v4/user").json()["username"] == "dana"
    assert make_token(client, "api", **{"PRIVATE-TOKEN": "glpat-dana"}).status_code == 403
    assert make_token(client, "everything").json() == {"error": "scopes does not have a valid value"}
    assert make_token(client, "api", user=99).status_code == 404


def test_a_token_that_has_ended_is_refused_as_such(client):
    token = make_token(client, "api", days=0).json()["token"]
    answer = client.get("/api/v4/user", headers={"PRIVATE-TOKEN": token})
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_token")
    refs = "/shop/storefront.git/info/refs?service=git-upload-pack"
    assert client.get(refs, headers=basic(token)).status_code == 401


@pytest.mark.parametrize(
    ("scope", "fetch", "push"),
    [("api", 200, 200), ("write_repository", 200, 200), ("read_repository", 200, 403), ("read_api", 403, 403)],
)
def test_git_asks_for_the_scope(client, scope, fetch, push):
    token = make_token(client, scope).json()["token"]
    for service, status in (("git-upload-pack", fetch), ("git-receive-pack", push)):
        answer = client.get(f"/shop/storefront.git/info/refs?service={service}", headers=basic(token))
        assert answer.status_code == status


def test_members_of_a_group_are_members_of_its_projects(client):
    def level(user):
        answer = client.get(f"{PROJECT}/members/all/{user}")
        return answer.json()["access_level"] if answer.status_code == 200 else answer.json()

    assert level(1) == 50, "who makes a group owns it"
    assert level(2) == {"message": "404 Not found"}
    member = {"user_id": 2, "access_level": 30}
    assert client.post("/api/v4/groups/shop/members", json=member).status_code == 201
    assert client.post("/api/v4/groups/shop/members", json=member).status_code == 409
    assert level(2) == 30
