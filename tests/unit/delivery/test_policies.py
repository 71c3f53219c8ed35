import pytest

from platform_ops.delivery.policies import (
    ForeignImage,
    ScanAbovePolicy,
    Unproven,
    check_origin,
    check_proof,
    check_scan,
    proof_key,
)
from platform_ops.systems.harbor.models import Severity

DIGEST = "sha256:" + "a" * 64


KNOWN = [severity for severity in Severity if severity is not Severity.UNKNOWN]


@pytest.mark.parametrize("allowed", KNOWN)
@pytest.mark.parametrize("found", KNOWN)
def test_only_what_is_worse_than_allowed_is_refused(found: Severity, allowed: Severity) -> None:
    if found <= allowed:
        check_scan("web", found, {found.word: 1}, allowed)
    else:
        with pytest.raises(ScanAbovePolicy, match=f"found 1 {found.word}; at most {allowed.word}"):
            check_scan("web", found, {found.word: 1}, allowed)


@pytest.mark.parametrize("allowed", [severity for severity in KNOWN if severity is not Severity.CRITICAL])
def test_a_severity_nobody_knows_is_not_fine(allowed: Severity) -> None:
    with pytest.raises(ScanAbovePolicy, match="found Unknown"):
        check_scan("web", Severity.UNKNOWN, {}, allowed)


def test_an_image_of_the_same_tree_is_ours_whatever_commit_it_names() -> None:
    check_origin("b" * 40, "t" * 40, "c" * 40, "t" * 40)


@pytest.mark.parametrize(("commit", "tree"), [(None, None), ("b" * 40, "x" * 40), ("b" * 40, None)])
def test_an_image_of_another_tree_or_without_label_is_refused(commit: str | None, tree: str | None) -> None:
    with pytest.raises(ForeignImage):
        check_origin(commit, tree, "c" * 40, "t" * 40)


def test_the_proof_must_speak_of_this_service_and_this_digest() -> None:
    check_proof("web", DIGEST, {"service": "web", "digest": DIGEST})
    for proof in (None, {}, {"service": "web", "digest": "sha256:" + "b" * 64}, {"service": "api", "digest": DIGEST}):
        with pytest.raises(Unproven, match="Release it to rc first"):
            check_proof("web", DIGEST, proof)


def test_the_proof_lies_where_people_look_for_it() -> None:
    assert proof_key("web", DIGEST) == f"healthy/rc/web/sha256-{'a' * 64}.json"
