"""Which image is ours, and what it must be like."""

import json
from typing import Any

import pytest

from platform_ops.common.errors import Busy
from platform_ops.delivery.images import (
    DigestChanged,
    ImageMissing,
    NotScanned,
    TagTaken,
    check_built_from,
    check_findings,
    check_hint,
    check_proven,
    claim,
    leave_proof,
    require_image,
    tree_tag,
)
from platform_ops.delivery.policies import ForeignImage, ScanAbovePolicy, Unproven
from platform_ops.systems.harbor.models import ScanStatus, Severity

TREE = "7" * 40


def test_the_image_of_a_commit_carries_its_full_hash(world) -> None:
    image = world.push_image(world.second)
    assert require_image(world.release()) is image
    world.harbor.artifact.assert_called_once_with("shop", "web", world.second)


def test_a_missing_image_is_named_with_what_to_do(world) -> None:
    world.push_image("latest")
    with pytest.raises(ImageMissing, match=rf"no image shop/web:{world.second} .*Restore it"):
        require_image(world.release())


def test_a_claim_sets_the_trees_tag_and_then_the_commits(world) -> None:
    world.push_image("build-web-1")
    assert claim(world.release(), world.ours, TREE) == world.ours
    assert [call.args for call in world.harbor.add_tag.mock_calls] == [
        ("shop", "web", world.ours, f"tree-{TREE}"),
        ("shop", "web", world.ours, world.second),
    ]


def test_the_first_image_of_a_tree_is_adopted(world) -> None:
    world.push_image("build-web-1", world.ours)
    world.push_image(tree_tag(TREE), world.other)
    assert claim(world.release(), world.ours, TREE) == world.other
    assert world.images[world.second].digest == world.other


def test_a_commits_tag_on_another_image_is_refused_showing_both(world) -> None:
    world.push_image("build-web-1", world.ours)
    world.push_image(world.second, world.other)
    with pytest.raises(TagTaken) as refused:
        claim(world.release(), world.ours, TREE)
    assert world.ours in str(refused.value)
    assert world.other in str(refused.value)
    assert world.images[world.second].digest == world.other


def test_the_digest_handed_on_must_be_harbors(world) -> None:
    image = world.push_image(world.second)
    check_hint(world.release(), image, world.ours)


@pytest.mark.parametrize("hint", [None, "", "sha256:" + "b" * 64])
def test_another_digest_or_none_is_refused_with_both(world, hint: str | None) -> None:
    image = world.push_image(world.second)
    with pytest.raises(DigestChanged) as refused:
        check_hint(world.release(), image, hint)
    assert refused.value.facts == {"digest": world.ours, "handed_on": str(hint)}


def test_an_image_of_another_commit_with_the_same_tree_is_ours(world) -> None:
    twin = world.source.commit("Say it again", world.second, files={"app": "2"})
    world.source.move(twin, "dev")
    release = world.release(commit=twin)
    image = world.push_image(twin, commit=world.second)
    with release.source() as source:
        assert check_built_from(release, source, image) == world.second


@pytest.mark.parametrize("named", ["first", "1" * 40])
def test_an_image_of_another_tree_is_foreign(world, named: str) -> None:
    release = world.release()
    image = world.push_image(world.second, commit=getattr(world, named, named))
    with release.source() as source, pytest.raises(ForeignImage, match="Find out who set the tag"):
        check_built_from(release, source, image)


def test_a_scan_within_the_limit_is_told(world) -> None:
    image = world.push_image(world.second, severity=Severity.MEDIUM, counts={"Medium": 2})
    assert check_findings(world.release(), image) == {
        "severity": "Medium",
        "allowed": "Medium",
        "counts": {"Medium": 2},
    }


def test_a_scan_above_the_limit_is_refused(world) -> None:
    image = world.push_image(world.second, severity=Severity.HIGH, counts={"High": 1})
    with pytest.raises(ScanAbovePolicy, match="found 1 High; at most Medium"):
        check_findings(world.release(), image)


@pytest.mark.parametrize("status", [ScanStatus.NOT_SCANNED, ScanStatus.STOPPED, ScanStatus.ERROR])
def test_a_scan_that_did_not_end_well_says_nothing(world, status: ScanStatus) -> None:
    image = world.push_image(world.second, status=status)
    with pytest.raises(NotScanned, match=f"is {status.value}, not finished"):
        check_findings(world.release(), image)


@pytest.mark.parametrize("status", [ScanStatus.PENDING, ScanStatus.SCHEDULED, ScanStatus.RUNNING])
def test_a_scan_that_goes_on_is_looked_at_again(world, status: ScanStatus) -> None:
    image = world.push_image(world.second, status=status)
    with pytest.raises(Busy, match="looked at again"):
        check_findings(world.release(), image)


def proof_of(service: str, digest: str) -> dict[str, Any]:
    return {"service": service, "digest": digest}


def test_production_wants_the_proof_that_rc_leaves(world) -> None:
    key = leave_proof(world.release("rc"), world.ours)
    assert key == f"healthy/rc/web/{world.ours.replace(':', '-')}.json"
    assert json.loads(world.objects[key]) == proof_of("web", world.ours) | {
        "environment": "rc",
        "commit": world.second,
        "run": "r1",
    }
    found = check_proven(world.release("prod"), world.ours)
    assert found == {"key": key, "url": f"http://store.test/evidence/{key}"}


def test_a_proof_of_another_environment_proves_nothing(world) -> None:
    leave_proof(world.release("dev"), world.ours)
    with pytest.raises(Unproven):
        check_proven(world.release("prod"), world.ours)


@pytest.mark.parametrize("found", [None, b"", b"{", b"[]", b'"x"', b"{}"])
def test_production_refuses_what_is_no_proof(world, found: bytes | None) -> None:
    if found is not None:
        world.objects[f"healthy/rc/web/{world.ours.replace(':', '-')}.json"] = found
    with pytest.raises(Unproven, match="Release it to rc first"):
        check_proven(world.release("prod"), world.ours)


@pytest.mark.parametrize("about", [("web", "other"), ("shop", "ours")])
def test_a_proof_that_speaks_of_something_else_does_not_count(world, about: tuple[str, str]) -> None:
    proof = proof_of(about[0], getattr(world, about[1]))
    world.objects[f"healthy/rc/web/{world.ours.replace(':', '-')}.json"] = json.dumps(proof).encode()
    with pytest.raises(Unproven):
        check_proven(world.release("prod"), world.ours)


@pytest.mark.parametrize("environment", ["dev", "rc"])
def test_other_environments_need_no_proof(world, environment: str) -> None:
    assert check_proven(world.release(environment), world.ours) == {}
    world.store.read.assert_not_called()
