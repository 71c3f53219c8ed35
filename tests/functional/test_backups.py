"""Backups on the whole sandbox: what is copied is verified and proven, and what was spoilt is found."""

import hashlib
import io
import json
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from platform_ops.backups.names import BACK_UP, DRILL, REPORT, RESTORE
from platform_ops.backups.witness import HELD
from sandbox.airflow_runs import WAITING
from tests import restore_text
from tests.functional.backups import SOURCE, Backups, restore, restored
from tests.functional.world import World
from tests.programs import stock_tool

SYSTEMS = ("object_store",)
"""Whose real servers this is run against too."""

STEPS = ("check_policy", "copy_source", "verify_point", "prune_points")


@pytest.fixture(scope="module")
def backups(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backups]:
    """The catalogue is every test's, so what was entered in it goes again."""
    catalogue = world.home / "include" / "backups"
    before = set(catalogue.iterdir())
    yield Backups(world, tmp_path_factory.mktemp("sources"))
    for entered in set(catalogue.iterdir()) - before:
        entered.unlink()


def test_a_source_is_copied_verified_and_proven_by_a_restore(backups: Backups) -> None:
    backups.source("tree")
    state, reports = backups.run(BACK_UP, "tree", "gitops")
    assert state == "success", reports
    # The run that the schedule owes a new installation may have copied it before, to a point that goes now.
    assert reports["prune_points"]["outcome"] in ("done", "not needed")
    assert {reports[step]["outcome"] for step in STEPS[:-1]} == {"done"}
    assert reports["record_evidence"]["facts"]["verdict"] == "done"
    stored = backups.keys("tree")
    lists = {"tree.tar.zst.age", "index.jsonl.zst.age", "packs.tar.zst.age", "contents.jsonl.zst"}
    packs = {key.rpartition("/")[2] for key in backups.names("tree") if key.startswith("tree/contents/")}
    rest = {name for name in stored if not name.startswith("claim-")}
    assert rest == lists | packs | {"RESTORE.md", "manifest.json", "verified.json"}
    assert packs
    assert not any(b"secret plans" in body for body in stored.values())

    state, reports = backups.run(DRILL, "tree")
    assert state == "success", reports
    (proof,) = backups.proofs("tree")
    facts = reports["drill_restore"]["facts"]
    assert (proof["proven"], proof["point"]) == (True, facts["point"])
    assert 0 <= proof["rto_seconds"] < facts["rto_target_seconds"]
    assert 0 <= proof["rpo_seconds"] < facts["rpo_target_seconds"]
    assert facts["witness"] == HELD


def test_the_repository_of_what_runs_is_proven_too(backups: Backups) -> None:
    assert backups.point("gitops")["state"]["head"] == "refs/heads/main"
    state, reports = backups.run(DRILL, "gitops")
    assert state == "success", reports


def follow(backups: Backups, name: str, folder: Path) -> Path:
    """Do what RESTORE.md says, with stock tools only, and return the folder it was done in."""
    # Where `age` had to be built, it is not on the PATH yet.
    tools = dict.fromkeys(str(stock_tool(name).parent) for name in ("age", "zstd", "tar", "git", "aws", "sha256sum"))
    folder.mkdir()
    for file, body in backups.keys(name).items():
        (folder / file).write_bytes(body)
    (folder / "key.txt").write_text(backups.world.environment["BACKUP_IDENTITY"])
    text = (folder / "RESTORE.md").read_text()
    restore_text.follow(restore_text.scripts(text), folder, backups.as_reader(), tuple(tools))
    return folder


def test_a_directory_comes_back_without_this_software(backups: Backups, tmp_path: Path) -> None:
    tree = backups.source("stock")
    backups.point("stock")
    restored = follow(backups, "stock", tmp_path / "disaster") / "restored"
    compared = subprocess.run(["diff", "--recursive", "--no-dereference", tree, restored], check=False)
    assert compared.returncode == 0


def test_a_repository_comes_back_without_this_software(backups: Backups, tmp_path: Path) -> None:
    refs = backups.point("gitops")
    newest = max(key for key in backups.names("gitops") if key.endswith("manifest.json"))
    for key in backups.names("gitops"):
        if not key.startswith(newest.removesuffix("manifest.json")):
            backups.store.remove_object("backups", key)
    restored = follow(backups, "gitops", tmp_path / "disaster") / "restored.git"
    head = subprocess.run(["git", "-C", restored, "symbolic-ref", "HEAD"], check=True, capture_output=True, text=True)
    assert head.stdout.strip() == refs["state"]["head"]


def test_one_flipped_byte_is_found_and_named(backups: Backups) -> None:
    backups.source("spoilt")
    point = backups.point("spoilt")["point"]
    (key,) = [key for key in backups.names("spoilt") if key.endswith("/tree.tar.zst.age")]
    assert point in key
    body = bytearray(backups.keys("spoilt")["tree.tar.zst.age"])
    body[len(body) // 2] ^= 1
    backups.store.put_object("backups", key, io.BytesIO(body), len(body))
    state, reports = backups.run(DRILL, "spoilt")
    assert state == "failed"
    assert key in reports["drill_restore"]["summary"]
    (proof,) = backups.proofs("spoilt")
    assert proof["proven"] is False
    assert key in proof["why"]


def test_a_point_that_was_changed_with_the_note_beside_it_is_found(backups: Backups) -> None:
    backups.source("forged")
    point = backups.point("forged")["point"]
    kept = backups.keys("forged")
    manifest = kept["manifest.json"].replace(b'"kind":"directory"', b'"kind":"git"')
    note = json.loads(kept["verified.json"]) | {"manifest_sha256": hashlib.sha256(manifest).hexdigest()}
    for name, body in (("manifest.json", manifest), ("verified.json", json.dumps(note).encode())):
        backups.store.put_object("backups", f"forged/{point}/{name}", io.BytesIO(body), len(body))
    state, reports = backups.run(DRILL, "forged")
    assert state == "failed"
    assert "evidence evidence/runs/back_up_sources/" in reports["drill_restore"]["summary"]
    assert [proof["proven"] for proof in backups.proofs("forged")] == [False]


def test_a_source_that_fails_stops_its_own_steps_only(backups: Backups) -> None:
    backups.source("sound")
    backups.source("missing").rename(backups.files / "elsewhere")
    state, reports = backups.run(BACK_UP, "missing", "sound")
    assert state == "failed"
    assert reports["copy_source"]["error"] == "DirectoryMissing"
    assert reports["verify_point"] == {}
    assert "verified.json" in backups.keys("sound")
    assert backups.keys("missing") == {}


def test_an_unknown_source_changes_nothing(backups: Backups) -> None:
    answer = backups.world.runs("OPERATOR", BACK_UP).start({"sources": ["nosuch"]})
    assert answer.status_code == 400
    assert "'nosuch' is not one of" in answer.text


@pytest.fixture(scope="module")
def kept(backups: Backups) -> Path:
    """A source with a point, which calls a folder production; the form offers it once the file has been seen."""
    path = backups.source("kept")
    entry = backups.world.home / "include" / "backups" / "kept.yaml"
    block = {"production": [str(backups.files / "live")], "approval": {"approvers": ["paula", "oscar"]}}
    entry.write_text(entry.read_text() + f"restore: {json.dumps(block)}\n")
    backups.point("kept")
    backups.offered(RESTORE, "kept")
    return path


def test_a_dry_run_shows_the_plan_then_the_restore_puts_it_there(backups: Backups, kept: Path) -> None:
    target = backups.files / "back"
    form = {"source": "kept", "target": str(target)}
    state, reports = restored(backups, restore(backups, **form))
    assert state == "success", reports
    assert reports["plan_restore"]["facts"]["dry_run"] is True
    assert reports["record_evidence"]["facts"]["verdict"] == "not needed"
    assert not target.exists()

    state, reports = restored(backups, restore(backups, **form, dry_run=False))
    assert state == "success", reports
    assert reports["approve_restore"]["outcome"] == "not needed"
    assert reports["record_evidence"]["facts"]["verdict"] == "done"
    assert (target / "folder" / "secret plans.txt").read_text() == (kept / "folder" / "secret plans.txt").read_text()
    assert {path.name for path in target.rglob("*")} == {path.name for path in kept.rglob("*")}

    state, reports = restored(backups, restore(backups, **form, dry_run=False))
    assert state == "failed"
    assert "is not empty" in reports["plan_restore"]["summary"]


def test_a_bucket_comes_back_with_its_versions(backups: Backups) -> None:
    from minio.commonconfig import ENABLED
    from minio.versioningconfig import VersioningConfig

    for bucket in ("shop", "shop-back"):
        backups.store.make_bucket(bucket)
        backups.store.set_bucket_versioning(bucket, VersioningConfig(ENABLED))
    for body in (b"first", b"second"):
        backups.store.put_object("shop", "orders/one", io.BytesIO(body), len(body), "text/plain")
    text = SOURCE.format(name="shop-data", path="").replace("path: ", "bucket: shop")
    text = text.replace("kind: directory", "kind: bucket\nconnection: object_store_default")
    entry = backups.world.home / "include" / "backups" / "shop-data.yaml"
    entry.write_text(f"{text}restore: {{connection: object_store_default}}\n")
    backups.point("shop-data")
    backups.offered(RESTORE, "shop-data")
    form = {"source": "shop-data", "target": "s3://shop-back", "dry_run": False}
    state, reports = restored(backups, restore(backups, **form))
    assert state == "success", reports
    assert reports["compare_restore"]["outcome"] == "done", reports
    found = backups.store.list_objects("shop-back", recursive=True, include_version=True)
    assert [(one.object_name, one.size) for one in found] == [("orders/one", 6), ("orders/one", 5)]

    state, reports = restored(backups, restore(backups, **form | {"target": "s3://shop"}))
    assert state == "failed"
    assert "s3://shop is the source" in reports["plan_restore"]["summary"]


def test_no_secret_of_airflow_leaves_a_point_in_plain_text(backups: Backups) -> None:
    """Not in the store, not in what the run reported, not in its logs, and not in the evidence."""
    world, secret = backups.world, "planted-nobody-will-guess"
    api = world.runs("ADMIN").api
    planted = {
        "connection_id": "planted",
        "conn_type": "http",
        "password": secret,
        "extra": json.dumps({"token": secret}),
    }
    assert api.post("/api/v2/connections", json=planted).status_code == 201
    assert api.post("/api/v2/variables", json={"key": "planted_secret", "value": secret}).status_code == 201
    try:
        state, reports = backups.run(BACK_UP, "airflow-database")
        assert state == "success", reports
        state, proofs = backups.run(DRILL, "airflow-database")
        assert state == "success", proofs
    finally:
        assert api.delete("/api/v2/connections/planted").status_code == 204
        assert api.delete("/api/v2/variables/planted_secret").status_code == 204
    stored = backups.keys("airflow-database")
    assert {"connections.json.zst.age", "variables.json.zst.age"} <= set(stored)
    with world.object_store() as store:
        written = [one.object_name for one in store.list_objects("evidence", recursive=True)]
        evidence = b"".join(store.get_object("evidence", key).data for key in written)
    logs = b"".join(path.read_bytes() for path in (world.state / "airflow").rglob("*.log"))
    logs += b"".join(path.read_bytes() for path in (world.state / "logs").rglob("*") if path.is_file())
    assert b"airflow-database" in logs
    for told in (*stored.values(), evidence, logs, json.dumps([reports, proofs]).encode()):
        assert secret.encode() not in told


@pytest.mark.parametrize("name", ["gitops", "airflow-database"])
def test_every_kind_is_restored_by_the_form(backups: Backups, name: str) -> None:
    backups.point(name)
    with tempfile.TemporaryDirectory(prefix="restores-", dir="/tmp") as folder:
        # PostgreSQL does not run as root, and whoever it runs as has to get to its files.
        Path(folder).chmod(0o711)
        form = {"source": name, "target": f"{folder}/back", "dry_run": False}
        state, reports = restored(backups, restore(backups, **form))
    assert state == "success", [report.get("summary") for report in reports.values()]
    assert reports["compare_restore"]["outcome"] == "done"


def test_production_waits_for_a_yes_that_is_not_the_starters(backups: Backups, kept: Path) -> None:
    target = backups.files / "live" / "site"
    target.parent.mkdir()
    form = {"source": "kept", "target": str(target), "subset": "folder", "dry_run": False}
    run_id = restore(backups, **form)
    world = backups.world
    assert world.runs("ADMIN", RESTORE).wait(run_id, until=(WAITING,)) == WAITING
    assert not target.exists()
    refused = {world.runs(role, RESTORE).answer(run_id, "Approve").status_code for role in ("OPERATOR", "ADMIN")}
    assert refused == {403}
    assert world.runs("APPROVER", RESTORE).answer(run_id, "Approve").status_code == 200
    state, reports = restored(backups, run_id)
    assert state == "success", reports
    assert reports["restore_point"]["facts"]["approved_by"] == ["paula"]
    assert [path.name for path in target.iterdir()] == ["folder"]

    run_id = restore(backups, **form, overwrite=True)
    assert world.runs("ADMIN", RESTORE).wait(run_id, until=(WAITING,)) == WAITING
    assert world.runs("APPROVER", RESTORE).answer(run_id, "Reject").status_code == 200
    state, reports = restored(backups, run_id)
    assert state == "failed"
    assert reports["restore_point"]["error"] == "ApprovalRejected"
    assert reports["record_evidence"]["facts"]["verdict"] == "rejected"
    assert [path.name for path in target.parent.iterdir()] == ["site"]


def test_the_page_tells_what_is_proven_and_what_is_not(backups: Backups, kept: Path) -> None:
    state, reports = backups.run(DRILL, "kept")
    assert state == "success", reports
    runs = backups.world.runs("OPERATOR", REPORT)
    run_id = str(runs.start({}).json()["dag_run_id"])
    runs.wait(run_id, seconds=300)
    report = runs.report(run_id, "write_report")
    standing = {row["source"]: row["standing"] for row in report["facts"]["report"]["sources"]}
    assert standing["kept"] == "proven"
    with backups.world.object_store() as store:
        key = next(key for key in report["facts"]["keys"] if key.endswith(".html"))
        page = store.get_object("evidence", key).data.decode()
    assert "kept" in page
    viewer = backups.world.runs("VIEWER", REPORT).api.get("/platform-ops/backups", headers={"Accept": "text/html"})
    assert viewer.status_code == 200
    assert f"/platform-ops/runs/{REPORT}/" in viewer.text
    assert "sources are proven and in time" in viewer.text
