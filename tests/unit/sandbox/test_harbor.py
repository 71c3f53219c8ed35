"""Harbor's API v2.0 and its registry as the stand-in speaks them."""

import base64
import json

import pytest

from sandbox.stand_ins.harbor import GENERIC_REPORT, NATIVE_REPORT
from sandbox.stand_ins.harbor_store import doublestar
from tests.unit.sandbox.harbor_world import COMMIT, GONE, MANIFEST, URL, USER, WEB, digest_of, with_project


@pytest.fixture
def harbor(tmp_path):
    return with_project(tmp_path / "harbor")


def test_health_is_public_and_the_rest_needs_credentials(harbor):
    assert harbor.stranger.get("/api/v2.0/health").json()["status"] == "healthy"
    assert "harbor_version" not in harbor.stranger.get("/api/v2.0/systeminfo").json()
    for path in (WEB, "/api/v2.0/projects/shop", f"{WEB}/x/tags", "/api/v2.0/projects/shop/immutabletagrules"):
        answer = harbor.stranger.get(path)
        assert (answer.status_code, answer.json()) == (
            401,
            {"errors": [{"code": "UNAUTHORIZED", "message": "unauthorized"}]},
        )


def test_a_wrong_password_sees_the_public_projects_only(harbor):
    harbor.client.post("/api/v2.0/projects", json={"project_name": "open", "metadata": {"public": "true"}})
    seen = harbor.stranger.get("/api/v2.0/projects", auth=(USER, "wrong"))
    assert [project["name"] for project in seen.json()] == ["open"]
    assert harbor.client.get("/api/v2.0/projects").headers["X-Total-Count"] == "2"


def test_a_project_is_made_once_and_found_by_name_and_id(harbor):
    assert harbor.error("POST", "/api/v2.0/projects", json={"project_name": "shop"}) == (
        409, "CONFLICT", "The project named shop already exists",
    )  # fmt: skip
    assert harbor.error("POST", "/api/v2.0/projects", json={"project_name": "Shop!"})[:2] == (400, "BAD_REQUEST")
    found = harbor.client.get("/api/v2.0/projects/shop").json()
    assert harbor.client.get(f"/api/v2.0/projects/{found['project_id']}").json() == found
    assert harbor.client.head("/api/v2.0/projects", params={"project_name": "shop"}).status_code == 200
    assert harbor.client.head("/api/v2.0/projects", params={"project_name": "nope"}).status_code == 404


def test_a_missing_project_looks_like_a_missing_repository(harbor):
    for project in ("shop", "nope"):
        path = f"/api/v2.0/projects/{project}/repositories/web/artifacts"
        assert harbor.error("GET", f"{path}/x") == (404, "NOT_FOUND", f"repository {project}/web not found")
        assert harbor.error("GET", f"{path}/{GONE}") == (404, "NOT_FOUND", f"artifact {project}/web@{GONE} not found")
    harbor.push("one")
    assert harbor.error("GET", f"{WEB}/x") == (404, "NOT_FOUND", "artifact shop/web:x not found")


def test_an_artifact_shows_labels_tags_and_their_immutability(harbor):
    digest = harbor.push(f"tree-{COMMIT}", labels={"org.opencontainers.image.revision": COMMIT})
    plain = harbor.client.get(f"{WEB}/{digest}").json()
    assert "scan_overview" not in plain
    assert [tag["immutable"] for tag in plain["tags"]] == [False]
    full = harbor.client.get(f"{WEB}/tree-{COMMIT}", params={"with_immutable_status": "true"}).json()
    assert [(tag["name"], tag["immutable"]) for tag in full["tags"]] == [(f"tree-{COMMIT}", True)]
    assert full["extra_attrs"]["config"]["Labels"] == {"org.opencontainers.image.revision": COMMIT}
    assert (full["type"], full["manifest_media_type"], full["digest"]) == ("IMAGE", MANIFEST, digest)


def test_artifacts_are_paged_and_filtered(harbor):
    digests = [harbor.push(f"v{number}", requirements=f"package=={number}") for number in range(3)]
    first = harbor.client.get(WEB, params={"page_size": 2})
    assert [row["digest"] for row in first.json()] == digests[:0:-1]
    assert first.headers["X-Total-Count"] == "3"
    assert 'rel="next"' in first.headers["Link"]
    for query, expected in (("tags=v1", [digests[1]]), ("tags=nil", []), ("tags=~v", digests[::-1])):
        assert [row["digest"] for row in harbor.client.get(WEB, params={"q": query}).json()] == expected
    assert harbor.client.get("/api/v2.0/projects/shop/repositories").json()[0]["artifact_count"] == 3


def test_a_nested_repository_must_be_encoded_twice(harbor):
    harbor.push("one", repository="shop/team/web")
    path = "/api/v2.0/projects/shop/repositories/{}/artifacts/one"
    assert harbor.client.get(path.format("team%252Fweb")).json()["repository_name"] == "shop/team/web"
    status, code, message = harbor.error("GET", path.format("team%2Fweb"))
    assert (status, code) == (404, "NOT_FOUND")
    assert message.startswith("path ")


def test_a_tag_name_is_taken_once_and_an_immutable_one_stays(harbor):
    one, two = harbor.push("one"), harbor.push("two", requirements="other==1")
    assert harbor.client.post(f"{WEB}/{one}/tags", json={"name": "tree-1"}).status_code == 201
    for digest in (one, two):
        status, code, message = harbor.error("POST", f"{WEB}/{digest}/tags", json={"name": "tree-1"})
        assert (status, code) == (409, "CONFLICT")
        assert message.startswith("tag tree-1 already exists under the repository")
    assert harbor.error("DELETE", f"{WEB}/{one}/tags/tree-1") == (
        412, "PRECONDITION", "the tag tree-1 configured as immutable, cannot be deleted",
    )  # fmt: skip
    manifest = harbor.client.get(f"/v2/shop/web/manifests/{two}").content
    refused = harbor.put_manifest("tree-1", manifest)
    assert (refused.status_code, refused.json()["errors"][0]) == (
        412,
        {
            "code": "PRECONDITION",
            "message": "Failed to process request due to 'web:tree-1' configured as immutable.",
        },
    )
    assert harbor.client.delete(f"{WEB}/{two}/tags/two").status_code == 200
    assert harbor.error("DELETE", f"{WEB}/{two}/tags/two")[:2] == (404, "NOT_FOUND")
    assert harbor.error("POST", f"{WEB}/{one}/tags", json={"name": "no spaces"})[:2] == (400, "BAD_REQUEST")
    assert [tag["name"] for tag in harbor.client.get(f"{WEB}/{one}/tags").json()] == ["one", "tree-1"]


def test_a_push_moves_a_tag_that_may_move(harbor):
    one = harbor.push("main")
    two = harbor.push("main", requirements="other==1")
    assert harbor.client.get(f"{WEB}/main").json()["digest"] == two != one
    assert not harbor.client.get(f"{WEB}/{one}").json().get("tags")


def test_a_scan_begins_with_the_push_and_shows_its_findings_at_the_end(harbor):
    digest = harbor.push("one", "leftpad==0.0.1\nslowregex==2.1 # why not\nfine>=1\n")

    def overview():
        answer = harbor.client.get(f"{WEB}/{digest}", params={"with_scan_overview": "true"})
        return answer.json()["scan_overview"][NATIVE_REPORT]

    seen = []
    for _ in range(3):
        seen.append(overview()["scan_status"])
        harbor.now += 0.35
    assert seen == ["Pending", "Running", "Success"]
    assert overview()["severity"] == "Critical"
    assert overview()["summary"] == {"total": 2, "fixable": 1, "summary": {"Critical": 1, "Medium": 1}}
    report = f"{WEB}/{digest}/additions/vulnerabilities"
    found = harbor.client.get(report, headers={"X-Accept-Vulnerabilities": f"{GENERIC_REPORT}, {NATIVE_REPORT}"})
    assert {item["package"] for item in found.json()[GENERIC_REPORT]["vulnerabilities"]} == {"leftpad", "slowregex"}


def test_a_layer_nobody_can_read_ends_the_scan_with_an_error(harbor):
    config = json.dumps({"config": {}}).encode()
    parts = []
    for blob in (config, b"no archive"):
        harbor.client.post(f"/v2/shop/web/blobs/uploads/?digest={digest_of(blob)}", content=blob)
        parts.append({"digest": digest_of(blob), "size": len(blob)})
    manifest = json.dumps({"schemaVersion": 2, "config": parts[0], "layers": parts[1:]}).encode()
    assert harbor.put_manifest("one", manifest).status_code == 201
    harbor.now += 1
    shown = harbor.client.get(f"{WEB}/one", params={"with_scan_overview": "true"}).json()
    assert shown["scan_overview"][NATIVE_REPORT]["scan_status"] == "Error"


def test_a_running_scan_refuses_another(harbor):
    digest = harbor.push("one")
    assert harbor.error("POST", f"{WEB}/{digest}/scan") == (409, "CONFLICT", "a previous scan process is Pending")
    assert harbor.client.get(f"{WEB}/{digest}/additions/vulnerabilities").json() == {}
    harbor.now += 1
    assert harbor.client.post(f"{WEB}/{digest}/scan").status_code == 202


def test_a_project_without_auto_scan_leaves_images_alone(harbor):
    harbor.client.post("/api/v2.0/projects", json={"project_name": "raw"})
    harbor.push("one", repository="raw/web")
    path = "/api/v2.0/projects/raw/repositories/web/artifacts/one"
    assert "scan_overview" not in harbor.client.get(path, params={"with_scan_overview": "true"}).json()


def test_a_stranger_is_sent_to_the_token_service_and_a_token_does_what_it_was_asked_for(harbor):
    digest = harbor.push("one")
    path = f"/v2/shop/web/manifests/{digest}"
    refused = harbor.stranger.get(path)
    assert refused.status_code == 401
    assert refused.headers["WWW-Authenticate"] == (
        f'Bearer realm="{URL}/service/token",service="harbor-registry",scope="repository:shop/web:pull"'
    )
    asked = {"service": "harbor-registry", "scope": "repository:shop/web:pull"}
    token = harbor.client.get("/service/token", params=asked).json()["token"]
    bearer = {"Authorization": f"Bearer {token}"}
    assert harbor.stranger.get(path, headers=bearer).status_code == 200
    assert harbor.stranger.get("/v2/", headers=bearer).status_code == 200
    assert harbor.stranger.post("/v2/shop/web/blobs/uploads/", headers=bearer).status_code == 401
    forged = base64.urlsafe_b64encode(b'{"until":9e9,"access":{"shop/web":["push","pull"]}}').decode() + ".00"
    assert harbor.stranger.get(path, headers={"Authorization": f"Bearer {forged}"}).status_code == 401
    nobody = harbor.stranger.get("/service/token", params=asked).json()["token"]
    assert harbor.stranger.get(path, headers={"Authorization": f"Bearer {nobody}"}).status_code == 401
    assert harbor.stranger.get("/service/token", params={"service": "harbor-registry"}).status_code == 401
    harbor.now += 1801
    assert harbor.stranger.get(path, headers=bearer).status_code == 401


def test_the_registry_names_a_missing_project_twice(harbor):
    answer = harbor.client.post("/v2/nope/web/blobs/uploads/")
    assert answer.status_code == 401
    assert answer.json()["errors"][0]["message"] == "project nope not found: project nope not found"


def test_blobs_come_in_pieces_are_checked_and_belong_to_their_repository(harbor):
    client, blob = harbor.client, b"0123456789"
    address = client.post("/v2/shop/web/blobs/uploads/").headers["Location"]
    first = client.patch(address, content=blob[:4], headers={"Content-Range": "0-3"})
    assert (first.status_code, first.headers["Range"]) == (202, "0-3")
    assert client.patch(first.headers["Location"], content=b"x", headers={"Content-Range": "9-9"}).status_code == 416
    harbor.start()  # an upload outlives a restart
    client = harbor.client
    client.patch(address, content=blob[4:])
    assert harbor.error("PUT", f"{address}&digest={GONE}")[:2] == (400, "DIGEST_INVALID")
    assert client.put(f"{address}&digest={digest_of(blob)}").status_code == 201
    assert client.get(f"/v2/shop/web/blobs/{digest_of(blob)}").content == blob
    assert client.head(f"/v2/shop/other/blobs/{digest_of(blob)}").status_code == 404
    mounted = client.post(f"/v2/shop/other/blobs/uploads/?mount={digest_of(blob)}&from=shop/web")
    assert mounted.status_code == 201
    assert client.head(f"/v2/shop/other/blobs/{digest_of(blob)}").status_code == 200
    assert client.post(f"/v2/shop/web/blobs/uploads/?digest={digest_of(b'y')}", content=b"y").status_code == 201
    assert client.put("/v2/shop/web/blobs/uploads/..%2f..%2fharbor.json", content=b"").status_code == 404


def test_a_manifest_must_be_whole(harbor):
    good = {"schemaVersion": 2, "config": {"digest": GONE, "size": 1}, "layers": []}
    for content, code in ((b"{}", "MANIFEST_INVALID"), (json.dumps(good).encode(), "MANIFEST_BLOB_UNKNOWN")):
        answer = harbor.put_manifest("one", content)
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, code)
    assert harbor.put_manifest(GONE, json.dumps(good).encode()).json()["errors"][0]["code"] == "DIGEST_INVALID"


def test_manifests_keep_bytes_and_type_and_tags_are_listed(harbor):
    digest = harbor.push("one")
    head = harbor.client.head("/v2/shop/web/manifests/one")
    assert (head.headers["Docker-Content-Digest"], head.headers["Content-Type"]) == (digest, MANIFEST)
    assert digest_of(harbor.client.get("/v2/shop/web/manifests/one").content) == digest
    assert harbor.client.get("/v2/shop/web/tags/list").json() == {"name": "shop/web", "tags": ["one"]}
    assert harbor.error("GET", "/v2/shop/web/manifests/two")[:2] == (404, "NOT_FOUND")


def test_odd_paths_get_harbors_404(harbor):
    for path in ("/api/v2.0/nothing", "/nothing", "/v2/shop/web/nothing"):
        status, code, message = harbor.error("GET", path)
        assert (status, code) == (404, "NOT_FOUND")
        assert message.endswith("was not found")
    assert harbor.error("DELETE", "/api/v2.0/health")[:2] == (405, "METHOD_NOT_ALLOWED")


def test_everything_survives_a_restart(harbor):
    digest = harbor.push("tree-1", "oldyaml==5.3")
    harbor.now += 1
    asked = {"with_tag": "true", "with_scan_overview": "true", "with_immutable_status": "true"}
    before = harbor.client.get(f"{WEB}/{digest}", params=asked).json()
    harbor.start()
    assert harbor.client.get(f"{WEB}/{digest}", params=asked).json() == before
    assert before["tags"][0]["immutable"]


@pytest.mark.parametrize(
    ("pattern", "value", "matches"),
    [
        ("tree-*", "tree-1", True), ("tree-*", "a-tree-1", False), ("**", "team/web", True), ("*", "team/web", False),
        ("[0-9a-f]" * 3, "a0f", True), ("[0-9a-f]" * 3, "a0g", False), ("{v*,rc?}", "rc1", True),
        ("{v*,rc?}", "rc12", False), ("[^a]", "b", True), ("[!a]", "a", False), ("v1.0", "v1x0", False),
        ("team/**", "team/a/b", True), ("**/web", "web", True), (r"\*", "*", True), (r"\*", "x", False),
    ],
)  # fmt: skip
def test_patterns_match_as_doublestar_does(pattern, value, matches):
    assert doublestar(pattern, value) is matches


def test_the_state_counts_what_happened_and_outlives_a_restart(harbor):
    digest = harbor.push("build-1")
    tags = f"{WEB}/{digest}/tags"
    for name in ("tree-1", "tree-1", "other"):
        harbor.client.post(tags, json={"name": name})
    harbor.client.delete(f"{tags}/other")
    harbor.push("build-1")
    before = harbor.client.get("/_sandbox/state").json()
    assert before["effects"] == {"images": 1, "scans": 1, "tags": 2, "tags deleted": 1}
    harbor.start()
    assert harbor.stranger.get("/_sandbox/state").json() == before
