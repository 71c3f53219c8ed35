"""Runs to tell, made the way Airflow's REST and the steps' reports make them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from platform_ops.common.records import RunRecord, TaskRecord

with warnings.catch_warnings():
    # Airflow's own API imports Starlette's test client, which asks for httpx2; it need not, it works with httpx.
    warnings.filterwarnings("ignore", message="Using `httpx` with `starlette.testclient`")
    import starlette.testclient  # noqa: F401

BEGIN = datetime(2026, 11, 25, 9, 14, 2, tzinfo=UTC)
COMMIT = "4f1d2c9a7be3508fd6a1c0e2b94837f5a6d0c1e8"
TREE = "9a3be0c47d2215f8e6b1a07c3d94f2586ab0e1d7"
BUILT = "sha256:" + "7c1e94a0b35d82f6" * 4
OTHER = "sha256:" + "0ab4d7713e5c9f28" * 4
REVISION = "b02c7a51e9d48f360c1fa7e5d2839b64e0a15c7d"
GITLAB = "http://gitlab.example.com/shop/storefront"
ORDER = (
    "resolve_commit",
    "build_image",
    "verify_image",
    "approve_release",
    "confirm_release",
    "judge_approval",
    "pin_image",
    "sync_application",
    "verify_running",
    "record_evidence",
    "report_release",
)
SECONDS = {
    "resolve_commit": 1.4,
    "build_image": 41.0,
    "verify_image": 6.2,
    "approve_release": 129.3,
    "confirm_release": 0.4,
    "judge_approval": 0.8,
    "pin_image": 1.9,
    "sync_application": 12.0,
    "verify_running": 18.0,
    "record_evidence": 1.1,
    "report_release": 0.6,
}
DIFF = f"""--- a/apps/storefront/prod/kustomization.yaml
+++ b/apps/storefront/prod/kustomization.yaml
@@ -5,8 +5,8 @@
 images:
 - name: shop/storefront
   newName: registry.example.com/shop/storefront
-  digest: {OTHER}
+  digest: {BUILT}
 metadata:
   annotations:
-    platform-ops/source-commit: 1a77f0c3b9d2e4586f01a2b3c4d5e6f708192a3b
+    platform-ops/source-commit: {COMMIT}"""


def report(
    summary: str, outcome: str = "done", error: str | None = None, *, links: Any = (), **facts: Any
) -> dict[str, Any]:
    return {"summary": summary, "outcome": outcome, "facts": facts, "links": list(links), "error": error}


def link(title: str, url: str) -> dict[str, str]:
    return {"title": title, "url": url}


def pods(digest: str, count: int = 3, ready: int = 3) -> list[dict[str, Any]]:
    return [
        {"name": f"storefront-6d9f-{n}", "digest": digest, "ready": n < ready, "image": "x", "restarts": 0}
        for n in range(count)
    ]


def said(by: str | None, word: str, at: str = "2026-11-25T09:17:01+00:00") -> dict[str, Any]:
    return {"by": by, "said": word, "at": at}


def second_request() -> dict[str, Any]:
    return report(
        "paula said yes. quentin may say yes or no until 2026-11-26T09:17:01+00:00.",
        binding="5d41402abc4b2a76b9719d911017c592",
        diff=DIFF,
        expires_at="2026-11-26T09:17:01+00:00",
        may_answer=["quentin"],
        answers=[said("paula", "yes")],
    )


def good_reports() -> dict[str, dict[str, Any]]:
    return {
        "resolve_commit": report(
            "Commit 4f1d2c9a7be3 is the head of master; production runs its ancestor 1a77f0c3b9d2.",
            links=[link("Commit", f"{GITLAB}/-/commit/{COMMIT}")],
            service="storefront",
            environment="prod",
            commit=COMMIT,
            tree=TREE,
            branch="master",
            project="shop/storefront",
            title="Show delivery dates in the basket",
            committed_at="2026-11-25T08:51:40+00:00",
            authors=[
                {"name": "Dana Fields", "email": "dana@example.com"},
                {"name": "Ravi Menon", "email": "ravi@example.com"},
            ],
            reason="November train, agreed in CHG-2041",
            previous={"commit": "1a77f0c3b9d2e4586f01a2b3c4d5e6f708192a3b", "digest": OTHER},
            commits_since={
                "count": 3,
                "commits": [
                    {"sha": COMMIT, "title": "Show delivery dates in the basket", "author": "Dana Fields"},
                    {"sha": "c" * 40, "title": "Round prices once, at the end", "author": "Ravi Menon"},
                    {"sha": "d" * 40, "title": "Merge branch 'rc' into 'master'", "author": "Ravi Menon"},
                ],
            },
            already_pinned=False,
            announced=True,
        ),
        "build_image": report(
            "Jenkins built shop/storefront from this source tree in 38 s.",
            links=[link("Build #214", "http://jenkins.example.com/job/shop/job/storefront/214/")],
            digest=BUILT,
            job="shop/storefront",
            number=214,
            seconds=38.2,
            tests={"passed": 128, "failed": 0, "skipped": 2},
            image_tag=COMMIT,
        ),
        "verify_image": report(
            "Harbor holds the image; its worst finding is Medium, which is allowed.",
            links=[link("Artifact", "http://harbor.example.com/harbor/projects/2/repositories/storefront")],
            digest=BUILT,
            tag=COMMIT,
            image_commit=COMMIT,
            severity="Medium",
            allowed="Medium",
            counts={"Critical": 0, "High": 0, "Medium": 3, "Low": 11},
            proof={
                "key": f"healthy/rc/storefront/{BUILT.replace(':', '-')}.json",
                "run": "r",
                "verified_at": "2026-11-24T17:02:11Z",
            },
        ),
        "approve_release": report(
            "Asked paula and quentin to agree to exactly this digest and diff.",
            binding="5d41402abc4b2a76b9719d911017c592",
            diff=DIFF,
            expires_at="2026-11-26T09:15:00+00:00",
            may_answer=["paula", "quentin"],
            answers=[],
        ),
        "confirm_release": report("One yes is enough for storefront in prod.", "not needed", required=False),
        "judge_approval": report(
            "paula said yes.", required=True, quorum=1, approved_by=["paula"], answers=[said("paula", "yes")]
        ),
        "pin_image": report(
            "GitOps pins the digest for prod.",
            links=[link("GitOps commit", f"http://gitlab.example.com/platform/gitops/-/commit/{REVISION}")],
            digest=BUILT,
            revision=REVISION,
            diff=DIFF,
            approved_by=["paula"],
        ),
        "sync_application": report(
            "Argo CD synced storefront-prod to our commit and calls it Healthy.",
            links=[link("Application", "http://argocd.example.com/applications/storefront-prod")],
            application="storefront-prod",
            revision=REVISION,
            sync_status="Synced",
            health="Healthy",
            phase="Succeeded",
            automated=False,
        ),
        "verify_running": report(
            "3 of 3 pods are ready and run the digest.", digest=BUILT, desired=3, ready=3, pods=pods(BUILT), troubles=[]
        ),
        "record_evidence": report(
            "The evidence is stored.",
            links=[link("Document", "http://s3.example.com/evidence/runs/x.json")],
            verdict="released",
            number=1,
            key=f"runs/release_service/release__storefront__prod__{COMMIT[:12]}/1.json",
            sha256="e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            observed={"harbor": BUILT, "gitops": BUILT, "argocd_revision": REVISION, "pods": [BUILT] * 3},
            differences=[],
        ),
        "report_release": report(
            "GitLab shows release/prod as success.", state="success", description="released, evidence e3b0c442"
        ),
    }


@dataclass
class RunMaker:
    """Makes runs: the steps before ``at`` are done, ``at`` has ``state``, the later ones are not begun."""

    commit: str = COMMIT
    built: str = BUILT
    other: str = OTHER
    begin: datetime = BEGIN
    report: Callable[..., dict[str, Any]] = field(default=report)
    pods: Callable[..., list[dict[str, Any]]] = field(default=pods)

    def __call__(
        self,
        *,
        state: str = "success",
        at: str | None = None,
        at_state: str = "running",
        at_report: dict[str, Any] | None = None,
        later: str | None = None,
        changes: dict[str, dict[str, Any] | None] | None = None,
        **run: Any,
    ) -> RunRecord:
        reports: dict[str, dict[str, Any] | None] = {**good_reports(), **(changes or {})}
        reached, moment, tasks = True, BEGIN + timedelta(seconds=0.4), []
        for name in ORDER:
            teardown = name in ("record_evidence", "report_release")
            if name == at:
                ended = at_state in ("success", "failed", "skipped")
                end = moment + timedelta(seconds=SECONDS[name]) if ended else None
                tasks.append(TaskRecord(name, at_state, moment, end, 1, at_report))
                moment += timedelta(seconds=SECONDS[name] + 0.3)
                reached = False
            elif reached or (teardown and state in ("success", "failed")):
                end = moment + timedelta(seconds=SECONDS[name])
                tasks.append(TaskRecord(name, "success", moment, end, 1, reports[name]))
                moment = end + timedelta(seconds=0.3)
            else:
                stamped = moment if later in ("skipped", "upstream_failed") else None
                tasks.append(TaskRecord(name, later, stamped, stamped, 0, None))
        values: dict[str, Any] = {
            "dag_id": "release_service",
            "run_id": f"release__storefront__prod__{COMMIT[:12]}",
            "state": state,
            "started_by": "oscar",
            "queued_at": BEGIN,
            "started_at": BEGIN,
            "ended_at": moment if state in ("success", "failed") else None,
            "conf": {"service": "storefront", "environment": "prod", "commit": COMMIT, "reason": "November train"},
            "tasks": tuple(tasks),
        }
        return RunRecord(**{**values, **run})


@pytest.fixture
def make_run() -> RunMaker:
    return RunMaker()


def samples() -> dict[str, RunRecord]:
    """Return the runs every page must look right for."""
    make = RunMaker()
    ended = {"verdict": "failed", "number": 1, "key": "runs/release_service/x/1.json", "sha256": "a" * 64}

    def evidence(verdict: str, **observed: Any) -> dict[str, Any]:
        return report(
            "The evidence is stored.", **{**ended, "verdict": verdict, "observed": observed, "differences": []}
        )

    quick = {"later": "upstream_failed", "state": "failed"}
    return {
        "running": make(state="running", at="sync_application"),
        "waiting": make(
            state="running",
            at="approve_release",
            at_state="awaiting_input",
            at_report=good_reports()["approve_release"],
        ),
        "waiting_second": make(
            state="running", at="confirm_release", at_state="awaiting_input", at_report=second_request()
        ),
        "released": make(),
        "superseded": make(
            at="pin_image",
            at_state="skipped",
            at_report=report(
                "GitOps pins 8d02aa417c1e already, a descendant of this commit.", "superseded", "Superseded"
            ),
            later="skipped",
            changes={"record_evidence": evidence("superseded", harbor=BUILT, gitops=OTHER, pods=[OTHER] * 3)},
        ),
        "red_tests": make(
            at="build_image",
            at_state="failed",
            at_report=report(
                "Jenkins build shop/storefront #214 is red: 2 of 130 tests fail. Mend them and push again.",
                "failed",
                "TestsFailed",
                links=[link("Build #214", "http://jenkins.example.com/job/shop/job/storefront/214/")],
                tests={"passed": 126, "failed": 2, "skipped": 2},
                failing=["tests/test_basket.py::test_dates", "tests/test_basket.py::test_rounding"],
            ),
            changes={"record_evidence": evidence("failed", gitops=OTHER, pods=[OTHER] * 3)},
            **quick,
        ),
        "mismatch": make(
            state="failed",
            changes={
                "record_evidence": report(
                    "The evidence is stored; what the pods run is not what was built.",
                    **{
                        **ended,
                        "observed": {"harbor": BUILT, "gitops": BUILT, "pods": [BUILT, OTHER]},
                        "differences": [
                            "verify_running reported 3 pods with the built digest; 1 pod runs another one now."
                        ],
                    },
                )
            },
        ),
        "pods_failing": make(
            at="verify_running",
            at_state="failed",
            at_report=report(
                "Deployment storefront in prod did not become ready within 5 min: 1 of 3 pods is ready. Look at the pods' logs.",
                "failed",
                "PodsNotReady",
                digest=BUILT,
                desired=3,
                ready=1,
                pods=pods(BUILT, ready=1),
                troubles=[
                    {"kind": "CrashLoopBackOff", "message": "storefront-6d9f-1 exits with code 1, 4 restarts"},
                    {"kind": "CrashLoopBackOff", "message": "storefront-6d9f-2 exits with code 1, 4 restarts"},
                ],
            ),
            changes={"record_evidence": evidence("failed", harbor=BUILT, gitops=BUILT, pods=[BUILT] * 3)},
            **quick,
        ),
        "rejected": make(
            at="judge_approval",
            at_state="failed",
            at_report=report(
                "quentin said no.",
                "refused",
                "ApprovalRejected",
                required=True,
                quorum=1,
                answers=[said("quentin", "no")],
                rejected_by="quentin",
            ),
            changes={"record_evidence": evidence("rejected", harbor=BUILT, gitops=OTHER, pods=[OTHER] * 3)},
            **quick,
        ),
        "foreign": RunRecord(
            "nightly_backup",
            "scheduled__2026-11-25T01:00:00+00:00",
            "failed",
            None,
            BEGIN,
            BEGIN,
            BEGIN + timedelta(seconds=95),
            {},
            (
                TaskRecord(
                    "report_backup", "success", BEGIN + timedelta(seconds=91), BEGIN + timedelta(seconds=95), 1, None
                ),
                TaskRecord(
                    "restore_copy",
                    "upstream_failed",
                    BEGIN + timedelta(seconds=90),
                    BEGIN + timedelta(seconds=90),
                    0,
                    None,
                ),
                TaskRecord(
                    "list_sources", "success", BEGIN, BEGIN + timedelta(seconds=2), 1, report("4 sources.", sources=4)
                ),
                TaskRecord(
                    "copy_databases", "failed", BEGIN + timedelta(seconds=3), BEGIN + timedelta(seconds=90), 3, None
                ),
            ),
        ),
    }


@pytest.fixture(params=list(samples()))
def sample(request: pytest.FixtureRequest) -> RunRecord:
    return samples()[request.param]


@pytest.fixture
def sample_runs() -> dict[str, RunRecord]:
    return samples()
