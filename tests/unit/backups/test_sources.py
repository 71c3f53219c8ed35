"""The catalogue of sources: what is read, and what is refused with file, line and field."""

import json
from datetime import timedelta
from pathlib import Path

import pytest

from docs.catalogue import samples
from platform_ops.approvals.policy import ApprovalPolicy
from platform_ops.backups.kinds.table import KINDS
from platform_ops.backups.policies import check
from platform_ops.backups.sources import Tier, load_source, source_names
from platform_ops.common.documents import BadDocument, duration
from platform_ops.systems.object_store.models import BucketRules
from sandbox.processes import ROOT

TREE = """\
source: tree
owner: platform-team@example.com
kind: directory
what: {path: /srv/tree}
tier: nightly
retention: {daily: 7}
store: {}
target: {rpo: 2d, rto: 1h}
"""


@pytest.fixture
def catalogue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "include" / "backups").mkdir(parents=True)
    (tmp_path / "include" / "schemas").symlink_to(ROOT / "include" / "schemas")
    monkeypatch.setenv("PLATFORM_OPS_HOME", str(tmp_path))
    return tmp_path / "include" / "backups"


def enter(catalogue: Path, old: str = "", new: str = "") -> None:
    assert old in TREE
    (catalogue / "tree.yaml").write_text(TREE.replace(old, new, 1))


def test_an_entry_is_read(catalogue: Path) -> None:
    enter(catalogue)
    found = load_source("tree")
    assert source_names() == ["tree"]
    assert (found.kind, found.what, found.tier) == ("directory", {"path": "/srv/tree"}, Tier.NIGHTLY)
    assert (found.store_connection, found.bucket, found.encryption_connection) == ("backup_store", "backups", None)
    assert (found.rpo, found.rto, found.drill_every) == (timedelta(days=2), timedelta(hours=1), timedelta(days=30))
    assert found.lock == timedelta(0)
    assert (found.production, found.approval) == ((), None)


def test_where_points_are_stored_may_be_left_out(catalogue: Path) -> None:
    enter(catalogue, "store: {}\n", "")
    found = load_source("tree")
    assert (found.store_connection, found.bucket) == ("backup_store", "backups")


def test_what_is_left_out_is_what_the_schema_says(catalogue: Path) -> None:
    enter(catalogue)
    schema = json.loads((ROOT / "include" / "schemas" / "backup.schema.json").read_text())
    store, kept = (schema["$defs"][name]["properties"] for name in ("store", "retention"))
    found = load_source("tree")
    assert found.store_connection == store["connection"]["default"]
    assert found.bucket == store["bucket"]["default"]
    assert found.drill_every == duration(schema["properties"]["drill_every"]["default"])
    assert all(getattr(found.retention, name) == kept[name]["default"] for name in ("weekly", "monthly", "yearly"))


def test_an_entry_says_what_is_production_and_who_may_approve(catalogue: Path) -> None:
    enter(catalogue, "store: {}", "store: {}\nrestore: {production: [/srv/live], approval: {approvers: [paula]}}")
    found = load_source("tree")
    assert found.production == ("/srv/live",)
    assert found.approval == ApprovalPolicy(("paula",), 1, timedelta(hours=24))


def test_an_entry_names_the_account_that_writes_into_the_bucket_of_a_restore(catalogue: Path) -> None:
    enter(catalogue, "store: {}", "store: {}\nrestore: {connection: shop_restorer}")
    found = load_source("tree")
    assert (found.restore_connection, found.production, found.approval) == ("shop_restorer", (), None)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("daily: 7", "daily: 0", "line 6: retention.daily"),
        ("daily: 7", "weekly: 7", "daily"),
        ("store: {}", "store: {}\nlock: -3d", "lock"),
        ("kind: directory", "kind: tape", "kind"),
        ("path: /srv/tree", "path: srv/tree", "absolute"),
        ("{path: /srv/tree}", "{}", "path"),
        ("source: tree", "source: other", "must be the file's name"),
        ("tier: nightly", "tier: weekly", "tier"),
        ("owner: platform-team@example.com", "owner: nobody", "owner"),
        ("store: {}", "store: {}\nrestore: {production: [/srv]}", "approval"),
        ("store: {}", "store: {}\nrestore: {approval: {approvers: [paula]}}", "production"),
        ("store: {}", "store: {}\nrestore: {}", "restore"),
        ("store: {}", "store: {}\nrestore: {production: ['s3://'], approval: {approvers: [paula]}}", "or a bucket"),
        ("store: {}", "store: {}\nrestore: {production: [srv], approval: {approvers: [paula]}}", "an absolute path"),
        ("store: {}", "store: {}\nrestore: {production: [/srv], approval: {approvers: []}}", "approvers"),
        (
            "store: {}",
            "store: {}\nrestore: {production: [/srv], approval: {approvers: [paula, rosa], quorum: 2}}",
            "asks for one yes",
        ),
    ],
)
def test_a_bad_entry_is_refused(catalogue: Path, old: str, new: str, words: str) -> None:
    enter(catalogue, old, new)
    with pytest.raises(BadDocument, match=words):
        load_source("tree")


@pytest.mark.parametrize("name", ["", "../tree", "Tree", "tree\n", "x" * 50])
def test_what_is_no_name_is_no_source(catalogue: Path, name: str) -> None:
    with pytest.raises(BadDocument, match="no name of a source"):
        load_source(name)


def test_an_unknown_source_is_refused_with_those_known(catalogue: Path) -> None:
    enter(catalogue)
    with pytest.raises(BadDocument, match="known are tree"):
        load_source("forest")


@pytest.mark.parametrize("name", [path.stem for path in (ROOT / "include" / "backups").glob("*.yaml")])
def test_the_sample_entries_are_in_order(name: str) -> None:
    assert load_source(name).name == name


@pytest.mark.parametrize("name", samples())
def test_the_samples_of_the_documentation_are_in_order(catalogue: Path, name: str) -> None:
    (catalogue / f"{name}.yaml").write_text(samples()[name])
    found = check(
        load_source(name), BucketRules(versioning=True, lock=timedelta(days=30), expires=None), ["one", "two"]
    )
    assert (found.contradictions, found.warnings) == ((), ())


def test_there_is_a_sample_of_each_kind_and_method(catalogue: Path) -> None:
    for name, text in samples().items():
        (catalogue / f"{name}.yaml").write_text(text)
    found = {(source.kind, source.what.get("method")) for source in map(load_source, source_names())}
    assert {kind for kind, _ in found} == set(KINDS)
    assert {method for kind, method in found if kind == "postgres"} == {"logical", "physical"}
