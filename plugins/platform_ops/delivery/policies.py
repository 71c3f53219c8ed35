"""What an image must be like to be released."""

from __future__ import annotations

from collections.abc import Mapping

from platform_ops.common.errors import Refused
from platform_ops.systems.harbor.models import Severity


class ScanAbovePolicy(Refused):
    """The image has worse vulnerabilities than its catalogue entry allows."""


class ForeignImage(Refused):
    """The image was not built from this source tree."""


class Unproven(Refused):
    """Production takes only a digest that was proven in rc."""


def check_scan(service: str, severity: Severity, counts: Mapping[str, int], allowed: Severity) -> None:
    """Compare a scan's worst finding with the catalogue's limit.

    :raises ScanAbovePolicy: it is worse. ``Unknown`` may be anything, so only a limit of ``Critical`` lets it pass.
    """
    worst = Severity.CRITICAL if severity is Severity.UNKNOWN else severity
    if worst > allowed:
        found = ", ".join(f"{count} {name}" for name, count in counts.items() if count) or severity.word
        raise ScanAbovePolicy(
            f"The scan of {service} found {found}; at most {allowed.word} is allowed. "
            "Update the dependencies named in Harbor's report, or have the catalogue entry reviewed.",
            facts={"severity": severity.word, "allowed": allowed.word, "counts": dict(counts)},
        )


def check_origin(image_commit: str | None, image_tree: str | None, commit: str, tree: str) -> None:
    """Compare the tree an image says it was built from with ours.

    :raises ForeignImage: it has no label or another tree.
    """
    if image_commit is None:
        raise ForeignImage(
            f"The image tagged {commit[:12]} carries no label org.opencontainers.image.revision, so nothing says what "
            "it was built from. Remove the tag and build again."
        )
    if image_tree != tree:
        raise ForeignImage(
            f"The image tagged {commit[:12]} was built from {image_commit[:12]} with source tree {image_tree}; "
            f"ours is {tree}. Find out who set the tag before anything is released."
        )


def tree_tag(tree: str) -> str:
    """Return the tag that claims a source tree for one image."""
    return f"tree-{tree}"


def proof_key(service: str, digest: str, environment: str = "rc") -> str:
    """Return where the proof of a digest lies in the evidence bucket."""
    return f"healthy/{environment}/{service}/{digest.replace(':', '-')}.json"


def make_proof(service: str, digest: str, environment: str, *, commit: str, run: str) -> dict[str, str]:
    """Return the proof that a run saw a digest healthy in an environment."""
    return {"service": service, "environment": environment, "digest": digest, "commit": commit, "run": run}


def check_proof(service: str, digest: str, proof: Mapping[str, object] | None) -> None:
    """Require the proof that a digest ran healthy in rc.

    :raises Unproven: there is none, or it speaks of something else.
    """
    if proof is None or proof.get("digest") != digest or proof.get("service") != service:
        raise Unproven(
            f"{service} at {digest} has no proof of healthy pods in rc ({proof_key(service, digest)}). "
            "Release it to rc first."
        )
