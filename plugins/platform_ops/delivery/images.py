"""The image of a commit: found, claimed and checked at Harbor."""

from __future__ import annotations

import json
from typing import Any

from platform_ops.common.errors import Busy, Refused, with_facts
from platform_ops.delivery.pins import is_commit
from platform_ops.delivery.policies import check_origin, check_proof, check_scan, make_proof, proof_key, tree_tag
from platform_ops.delivery.release import BadRequest, Release
from platform_ops.delivery.services import Environment
from platform_ops.delivery.source import Source
from platform_ops.evidence.document import BUCKET
from platform_ops.systems.harbor.models import Artifact, ScanStatus
from platform_ops.systems.object_store.hook import ObjectStoreHook

REVISION_LABEL = "org.opencontainers.image.revision"


class ImageMissing(Refused):
    """Harbor has no image of the commit."""


class TagTaken(Refused):
    """The commit's tag sits on another image than the one that was built from its tree."""


class DigestChanged(Refused):
    """Harbor holds another digest under the commit's tag than the run spoke of."""


class ScanGoesOn(Busy):
    """Harbor scans the image anew, so what it finds is not known yet."""


class NotScanned(Refused):
    """No scan of the image has ended well, so nothing is known about it."""


def find_image(release: Release, tag: str) -> Artifact | None:
    """Return the image that carries a tag.

    :raises BadRequest: no commit is known.
    """
    if not tag:
        raise BadRequest("resolve_commit reported no commit. Clear it, and what follows, to run it.")
    return release.harbor.artifact(release.service.image_project, release.service.image_repository, tag)


def require_image(release: Release) -> Artifact:
    """Return the image that carries the commit's own tag.

    :raises ImageMissing: there is none.
    """
    found = find_image(release, release.commit)
    if found is None:
        raise ImageMissing(
            f"Harbor has no image {release.service.image_name}:{release.commit} (any more): somebody deleted it. "
            "Restore it, or release a newer commit."
        )
    return found


def claim(release: Release, digest: str, tree: str) -> str:
    """Put the tree's and the commit's tag on an image and return the digest that has both.

    The first image of a tree wins: a later one of the same tree is left aside.

    :raises TagTaken: the commit's tag sits on another image.
    """
    service = release.service
    winner = release.harbor.add_tag(service.image_project, service.image_repository, digest, tree_tag(tree))
    holder = release.harbor.add_tag(service.image_project, service.image_repository, winner, release.commit)
    if holder != winner:
        raise TagTaken(
            f"Tag {release.commit} of {service.image_name} is on {holder}, but the image of its source tree is "
            f"{winner}. Find out who set the tag; nothing is released before that."
        )
    return winner


def check_built_from(release: Release, source: Source, image: Artifact) -> str:
    """Compare the tree of the commit an image names with ours, and return that commit.

    :raises ForeignImage: it is another.
    """
    named = image.labels.get(REVISION_LABEL)
    tree = source.tree(release.commit)
    check_origin(named, source.tree(str(named)) if is_commit(named) else None, release.commit, tree or "")
    return named or ""


def check_findings(release: Release, image: Artifact) -> dict[str, Any]:
    """Compare the scan of an image with the policy, and return what it found.

    :raises NotScanned: no scan ended well.
    :raises ScanAbovePolicy: it found worse than is allowed.
    """
    service = release.service
    if image.scan.status.is_going_on:
        raise ScanGoesOn(f"Harbor is scanning {service.image_name}@{image.digest} anew; it is looked at again.")
    if image.scan.status is not ScanStatus.SUCCESS:
        raise NotScanned(
            f"The scan of {service.image_name}@{image.digest} is {image.scan.status.value}, not finished. "
            "Clear verify_image to scan it."
        )
    check_scan(service.name, image.scan.severity, image.scan.counts, service.highest_severity)
    return {
        "severity": image.scan.severity.word,
        "allowed": service.highest_severity.word,
        "counts": dict(image.scan.counts),
    }


def check_proven(release: Release, digest: str) -> dict[str, Any]:
    """Require, for production, the proof that the digest ran healthy in rc; return where it lies.

    :raises Unproven: there is none.
    """
    if release.environment != Environment.PROD:
        return {}
    store = ObjectStoreHook()
    key = proof_key(release.service.name, digest)
    stored = store.read(BUCKET, key)
    try:
        proof = json.loads(stored) if stored else None
    except ValueError:
        proof = None
    check_proof(release.service.name, digest, proof if isinstance(proof, dict) else None)
    return {"key": key, "url": store.url(BUCKET, key)}


def check_image(release: Release, source: Source, image: Artifact) -> dict[str, Any]:
    """Check all that an image must be like to be released, and return what is known about it.

    :raises PlatformError: as the three checks above; what was found before it is among its facts.
    """
    facts: dict[str, Any] = {"digest": image.digest, "tag": release.commit}
    with with_facts(facts):
        facts["image_commit"] = check_built_from(release, source, image)
        facts |= check_findings(release, image)
        facts["proof"] = check_proven(release, image.digest)
    return facts


def check_hint(release: Release, image: Artifact, hint: object) -> None:
    """Compare Harbor's digest with the one an earlier step handed on.

    :raises DigestChanged: they differ.
    """
    if hint != image.digest:
        raise DigestChanged(
            f"Harbor holds {image.digest} as {release.service.image_name}:{release.commit[:12]}, but the run spoke of "
            f"{hint!s:.80}. Somebody changed one of them; start a new run.",
            facts={"digest": image.digest, "handed_on": str(hint)[:80]},
        )


def leave_proof(release: Release, digest: str) -> str:
    """Note in the evidence bucket that a digest ran healthy in this environment; return where."""
    key = proof_key(release.service.name, digest, release.environment)
    proof = make_proof(release.service.name, digest, release.environment, commit=release.commit, run=release.run_id)
    ObjectStoreHook().put_new(BUCKET, key, json.dumps(proof, sort_keys=True).encode())
    return key
