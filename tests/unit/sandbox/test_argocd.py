"""The Argo CD stand-in: measured answers, the stale states, failures, restarts."""

import subprocess
import warnings

import httpx
import pytest

with warnings.catch_warnings():  # Starlette would like httpx2; the project has httpx
    warnings.simplefilter("ignore")
    from fastapi.testclient import TestClient

from sandbox.stand_ins import argocd, kubernetes

SERVER = "http://cluster.test"
TOKEN = {"KUBERNETES_TOKEN": "cluster-token", "ARGOCD_TOKEN": "argo-token", "ARGOCD_RELEASE_TOKEN": "releases-token"}
HARBOR = {"HARBOR_URL": "http://harbor.test", "HARBOR_USER": "u", "HARBOR_PASSWORD": "p"}
APPLICATIONS = "/api/v1/applications"
DEPLOYMENT = """apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 1
  progressDeadlineSeconds: 5
  selector: {matchLabels: {app: %s}}
  template:
    metadata: {labels: {app: %s}}
    spec: {containers: [{name: web, image: shop/web}]}
"""
KUSTOMIZATION = """kind: Kustomization
namespace: shop
resources: [%s]
images: [{name: shop/web, newName: harbor.test/shop/web, newTag: "%s"}]
"""


class World:
    def __init__(self, folder):
        self.now = 1_800_000_000.0
        self.folder = folder
        self.remote, self.work = folder / "gitops.git", folder / "work"
        self.git(folder, "init", "-q", "--bare", "-b", "main", str(self.remote))
        self.git(folder, "clone", "-q", str(self.remote), str(self.work))
        self.url = f"file://{self.remote}"
        images = httpx.MockTransport(lambda request: httpx.Response(200, content=request.url.path.encode()))
        cluster = kubernetes.create_app(
            TOKEN | HARBOR, folder / "k", "dev", registry=images, clock=lambda: self.now, background=False
        )
        self.cluster = cluster.state.cluster
        self.cluster_client = TestClient(cluster)
        self.start()

    def start(self):
        app = argocd.create_app(
            TOKEN,
            self.folder / "a",
            cluster_transport=lambda _: self.cluster_client._transport,
            clock=lambda: self.now,
            pause=lambda _: None,
            background=False,
        )
        self.controller = app.state.controller
        headers = {"Authorization": "Bearer argo-token", "Content-Type": "application/json"}
        self.api = TestClient(app, headers=headers)

    @staticmethod
    def git(folder, *arguments):
        done = subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def push(self, tag="1", *, deployment=None, label="web", extra=None):
        folder = self.work / "apps/web/dev"
        folder.mkdir(parents=True, exist_ok=True)
        files = {"deployment.yaml": deployment or DEPLOYMENT % (label, label), **(extra or {})}
        files["kustomization.yaml"] = KUSTOMIZATION % (", ".join(files), tag)
        for name, text in files.items():
            (folder / name).write_text(text)
        self.git(self.work, "add", "-A")
        self.git(self.work, "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", f"tag {tag}")
        self.git(self.work, "push", "-q", "origin", "HEAD:main")
        return self.git(self.work, "rev-parse", "HEAD")

    def spec(self, *, automated, path="apps/web/dev"):
        return {
            "project": "default",
            "source": {"repoURL": self.url, "path": path, "targetRevision": "main"},
            "destination": {"server": SERVER, "namespace": "shop"},
            "syncPolicy": {"syncOptions": ["CreateNamespace=true"]} | ({"automated": {}} if automated else {}),
        }

    def create(self, *, automated=False, name="web", **spec):
        body = {"metadata": {"name": name}, "spec": self.spec(automated=automated, **spec)}
        return self.api.post(APPLICATIONS, json=body)

    def seed(self):
        assert self.api.post("/api/v1/repositories", json={"repo": self.url, "password": "x"}).status_code == 200
        cluster = {"server": SERVER, "name": "dev", "config": {"bearerToken": "cluster-token"}}
        assert self.api.post("/api/v1/clusters", json=cluster).status_code == 200

    def get(self, **params):
        return self.api.get(f"{APPLICATIONS}/web", params=params).json()

    def sync(self, revision, **more):
        return self.api.post(f"{APPLICATIONS}/web/sync", json={"revision": revision, **more})

    def run(self, seconds=0.0):
        """Let time pass for controller and cluster."""
        end = self.now + seconds
        self.controller.round("web")
        while self.now < end:
            self.now = min(self.now + 0.05, end)
            self.cluster.step()
            self.controller.round("web")


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    world.seed()
    return world


def shown(app):
    last = app["status"].get("operationState") or {}
    sync = app["status"]["sync"]
    revision = last.get("syncResult", {}).get("revision")
    return last.get("phase"), revision, sync["status"], sync.get("revision"), app["status"]["health"].get("status")


def test_a_manual_sync_passes_through_the_measured_states(world):
    first = world.push("1")
    answer = world.create().json()
    assert answer["status"] == {"sync": {"status": ""}, "health": {}}
    assert shown(world.get(refresh="normal")) == (None, None, "OutOfSync", first, "Missing")
    world.sync(first)
    world.run(2)
    assert shown(world.get()) == ("Succeeded", first, "Synced", first, "Healthy")

    second = world.push("2")
    assert shown(world.get()) == ("Succeeded", first, "Synced", first, "Healthy")
    posted = world.sync(second, infos=[{"name": "platform-ops/run", "value": "r"}]).json()
    assert posted["operation"]["sync"]["revision"] == second
    assert posted["operation"]["info"] == [{"name": "platform-ops/run", "value": "r"}]
    assert shown(world.get()) == (None, None, "Synced", first, "Healthy")
    busy = world.sync(second)
    assert (busy.status_code, busy.json()["code"]) == (400, 9)
    assert busy.json()["message"] == "another operation is already in progress"
    world.run()
    world.run(0.1)
    app = world.get()
    assert shown(app) == ("Succeeded", second, "Synced", first, "Healthy")
    assert "operation" not in app
    world.run(0.2)
    assert shown(world.get()) == ("Succeeded", second, "Synced", second, "Progressing")
    world.run(2)
    app = world.get()
    assert shown(app) == ("Succeeded", second, "Synced", second, "Healthy")
    assert [entry["revision"] for entry in app["status"]["history"]] == [first, second]
    tree = world.api.get(f"{APPLICATIONS}/web/resource-tree").json()["nodes"]
    assert [(node["kind"], node["health"]["status"]) for node in tree] == [
        ("Deployment", "Healthy"),
        ("Pod", "Healthy"),
    ]
    assert world.api.get("/_sandbox/state").json()["effects"] == {"syncs": 2}


def test_an_automated_application_follows_the_webhook(world):
    first = world.push("1")
    world.create(automated=True)
    world.run(2)
    assert shown(world.get())[:4] == ("Succeeded", first, "Synced", first)
    second = world.push("2")
    world.run(3)
    assert shown(world.get())[3] == first
    payload = {"ref": "refs/heads/main", "project": {"web_url": world.url.removesuffix(".git")}}
    changed = {"modified": ["apps/web/dev/kustomization.yaml"]}

    def push_event(**changes):
        body = payload | {"commits": [changed]} | changes
        answer = world.api.post("/api/webhook", json=body, headers={"X-Gitlab-Event": "Push Hook"})
        assert (answer.status_code, answer.content) == (200, b"")

    push_event(ref="refs/heads/other")
    push_event(commits=[{"modified": ["apps/other/dev/x"]}])
    push_event(project={"web_url": "http://any/other"})
    world.run(1)
    assert shown(world.get())[3] == first
    push_event()
    world.run(2)
    app = world.get()
    assert shown(app) == ("Succeeded", second, "Synced", second, "Healthy")
    assert app["status"]["operationState"]["operation"]["initiatedBy"] == {"automated": True}
    refused = world.sync(first)
    assert (refused.status_code, refused.json()["message"]) == (
        400,
        f"Cannot sync to {first}: auto-sync currently set to main",
    )


def test_git_is_polled_every_three_minutes(world):
    world.push("1")
    world.create(automated=True)
    world.run(2)
    second = world.push("2")
    world.now += 170
    world.run()
    assert shown(world.get())[3] != second
    world.now += 20
    world.run()
    assert shown(world.get())[3] == second


def test_malformed_yaml(world):
    first = world.push("1")
    world.create()
    world.sync(first)
    world.run(2)
    bad = world.push("2", deployment="a: [b\n")
    world.sync(bad)
    world.run()
    state = world.get()["status"]["operationState"]
    assert state["phase"] == "Error"
    assert state["message"].startswith("ComparisonError: Failed to load target state: failed to generate manifest")
    assert "MalformedYAMLError" in state["message"]
    assert "resources" not in state["syncResult"]
    app = world.get(refresh="normal")
    assert app["status"]["sync"]["revision"] == "main"
    assert (app["status"]["sync"]["status"], app["status"]["health"]["status"]) == ("Unknown", "Healthy")
    assert [c["type"] for c in app["status"]["conditions"]] == ["ComparisonError"]
    world.push("3")
    assert "conditions" not in world.get(refresh="normal")["status"]


def test_a_refused_object(world):
    first = world.push("1")
    world.create()
    world.sync(first)
    world.run(1)
    world.sync(world.push("2", label="other"))
    world.run(1)
    app = world.get(refresh="normal")
    state = app["status"]["operationState"]
    assert (state["phase"], app["status"]["sync"]["status"]) == ("Failed", "OutOfSync")
    assert state["message"].startswith("one or more objects failed to apply, reason:")
    row = state["syncResult"]["resources"][0]
    assert (row["status"], row["hookPhase"]) == ("SyncFailed", "Failed")
    assert 'Deployment.apps "web" is invalid: spec.selector' in row["message"]


def test_an_unknown_kind(world):
    thing = "apiVersion: nosuch.io/v1\nkind: Thing\nmetadata: {name: cfg}\n"
    sha = world.push("1", extra={"thing.yaml": thing})
    world.create()
    world.sync(sha)
    world.run()
    state = world.get()["status"]["operationState"]
    assert (state["phase"], state["message"]) == ("Failed", "one or more synchronization tasks are not valid")
    assert "could not find nosuch.io/Thing" in state["syncResult"]["resources"][0]["message"]


def test_retries_hold_on_to_the_old_commit_until_terminated(world):
    world.push("1")
    world.create(automated=True)
    world.run(2)
    bad = world.push("2", label="other")
    world.get(refresh="normal")
    world.run(0.1)
    fix = world.push("3")
    world.get(refresh="normal")
    world.run(6)
    app = world.get()
    assert shown(app)[:4] == ("Running", bad, "OutOfSync", fix)
    assert app["status"]["operationState"]["retryCount"] == 2
    assert "Retrying attempt #2 at" in app["status"]["operationState"]["message"]
    world.start()
    assert shown(world.get())[:2] == ("Running", bad)
    assert world.api.request("DELETE", f"{APPLICATIONS}/web/operation").json() == {}
    assert shown(world.get())[0] == "Terminating"
    world.run(2)
    assert shown(world.get()) == ("Succeeded", fix, "Synced", fix, "Healthy")
    idle = world.api.request("DELETE", f"{APPLICATIONS}/web/operation")
    assert (idle.status_code, idle.json()["code"]) == (400, 3)


def test_unknown_revisions(world):
    world.push("1")
    world.create()
    assert world.sync("0" * 40).status_code == 200
    world.run()
    state = world.get()["status"]["operationState"]
    assert state["phase"] == "Error"
    assert "not our ref" in state["message"]
    answer = world.sync("nosuch")
    assert (answer.status_code, answer.json()["code"]) == (400, 9)
    assert "unable to resolve 'nosuch' to a commit SHA" in answer.json()["message"]


def test_what_left_git_stays_until_it_is_pruned(world):
    config = {"config.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: old}\n"}
    first = world.push("1", extra=config)
    world.create()
    world.sync(first)
    world.run(2)
    second = world.push("2")
    world.sync(second)
    world.run(2)
    app = world.get()
    assert shown(app)[:4] == ("Succeeded", second, "OutOfSync", second)
    assert app["status"]["operationState"]["syncResult"]["resources"][-1]["status"] == "PruneSkipped"
    world.sync(second, prune=True)
    world.run(1)
    app = world.get()
    assert (shown(app)[2], app["status"]["operationState"]["syncResult"]["resources"][-1]["status"]) == (
        "Synced",
        "Pruned",
    )


def test_a_rollout_that_hangs_is_degraded_after_its_deadline(world):
    sha = world.push(
        "1",
        deployment=DEPLOYMENT.replace("{app: %s}}\n    spec", "{app: %s, simulate: never-ready}}\n    spec")
        % ("web", "web"),
    )
    world.create()
    world.sync(sha)
    world.run(2)
    assert shown(world.get())[4] == "Progressing"
    world.run(7)
    health = world.get()["status"]["health"]
    assert (health["status"], health["message"]) == ("Degraded", 'Deployment "web" exceeded its progress deadline')


def test_a_cluster_that_is_away_comes_back(world):
    sha = world.push("1")
    world.create()
    world.sync(sha)
    world.run(2)

    def away(request):
        raise httpx.ConnectError("refused", request=request)

    client = world.controller.client(SERVER)
    client._client._transport = httpx.MockTransport(away)
    app = world.get(refresh="normal")
    assert (app["status"]["sync"]["status"], app["status"]["health"]["status"]) == ("Unknown", "Healthy")
    client._client._transport = world.cluster_client._transport
    world.run()
    assert shown(world.get())[2:4] == ("Synced", sha)


def test_creation_is_validated(world):
    world.push("1")
    missing = world.create(path="nope")
    assert missing.status_code == 400
    assert missing.json()["message"].endswith("nope: app path does not exist")
    assert world.create().status_code == 200
    assert world.create().status_code == 200
    other = world.create(automated=True)
    assert other.json()["message"] == "existing application spec is different, use upsert flag to force update"


def test_answers_without_rights_or_objects(world):
    assert world.api.get(f"{APPLICATIONS}/nosuch").status_code == 403
    assert world.api.get(f"{APPLICATIONS}/nosuch", params={"project": "default"}).status_code == 404
    anonymous = world.api.get(APPLICATIONS, headers={"Authorization": ""})
    assert (anonymous.status_code, anonymous.json()["message"]) == (401, "no session information")
    plain = world.api.post(f"{APPLICATIONS}/web/sync", content="{}", headers={"Content-Type": "text/plain"})
    assert (plain.status_code, plain.text) == (415, "Invalid content type")
    session = {"username": "admin", "password": "argo-token"}
    assert world.api.post("/api/v1/session", json=session).json() == {"token": "argo-token"}
    wrong = world.api.post("/api/v1/session", json=session | {"password": "no"})
    assert (wrong.status_code, wrong.json()["message"]) == (401, "Invalid username or password")
    assert world.api.post("/api/webhook", json={}).status_code == 400
    assert world.api.get("/api/v1/session/userinfo").json()["loggedIn"]
    assert world.api.get("/api/v1/account/can-i/applications/sync/default/web").json() == {"value": "yes"}
    assert world.api.get("/nosuch").json()["code"] == 5


def test_commits_and_pages(world):
    sha = world.push("1")
    world.create()
    metadata = world.api.get(f"{APPLICATIONS}/web/revisions/{sha}/metadata").json()
    assert (metadata["author"], metadata["message"]) == ("t <t@t>", "tag 1")
    assert "web" in world.api.get("/applications/argocd/web").text
    assert world.api.delete(f"{APPLICATIONS}/web").json() == {}
    assert world.api.get(f"{APPLICATIONS}/web").status_code == 403
