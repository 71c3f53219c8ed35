"""What the GitOps commit of a release says, what must be asked before it, and when it must not be written."""

from __future__ import annotations

from platform_ops.common.errors import Refused
from platform_ops.delivery.images import require_image
from platform_ops.delivery.permission import Question, question
from platform_ops.delivery.pins import Pin, difference, write_pin
from platform_ops.delivery.release import Release
from platform_ops.delivery.source import Source
from platform_ops.delivery.standing import Standing, may_go_on
from platform_ops.systems.git.hook import Repository


class ImageDrifted(Refused):
    """GitOps pins our commit with another digest than the one Harbor holds for it."""


class PinTakenBack(Refused):
    """This run pinned its commit already, and somebody took that back."""


def planned_file(release: Release, source: Source, text: str, pin: Pin | None, digest: str) -> str:
    """Return the GitOps file as this release wants it; unchanged when nothing is left to change.

    :raises Superseded: a newer commit is pinned with another digest.
    :raises Diverged: another line of history is pinned.
    :raises ImageDrifted: our commit is pinned with another digest.
    """
    stand = source.standing(pin, release.commit)
    may_go_on(stand, pin, release.commit, release.environment, digest)
    if pin and stand is Standing.PINNED and pin.digest != digest:
        raise ImageDrifted(
            f"GitOps pins {release.commit[:12]} at {pin.digest}, but Harbor holds {digest} for it. "
            "Find out who changed one of them; a new commit can be released."
        )
    if stand in (Standing.PINNED, Standing.BEHIND):
        return text
    registry_name = release.harbor.reference(
        release.service.image_project, release.service.image_repository, digest
    ).partition("@")[0]
    return write_pin(text, release.service.image_name, release.pin_file, Pin(digest, release.commit), registry_name)


def open_question(release: Release) -> Question | None:
    """Return what must be asked now; None when no person needs to agree."""
    if release.target.approval is None:
        return None
    digest = require_image(release).digest
    pin, text = release.pinned()
    with release.source() as source:
        diff = difference(text, planned_file(release, source, text, pin, digest), release.pin_file)
        return question(release, source, pin, digest, diff)


def refuse_second_pin(release: Release, gitops: Repository) -> None:
    """Refuse to write again what this run wrote and somebody took back: a yes counts once.

    :raises PinTakenBack: the branch has a commit of this run.
    """
    earlier = gitops.commit_with_trailer(release.service.gitops_branch, "Run", release.run_id)
    if earlier:
        raise PinTakenBack(
            f"This run wrote GitOps commit {earlier[:12]}, and somebody has changed the file since. "
            "Ask who and why; then start a new run."
        )


def commit_message(release: Release, digest: str, approvers: tuple[str, ...]) -> str:
    """Return the message of the GitOps commit."""
    trailers = {
        "Source-Commit": release.commit,
        "Image-Digest": digest,
        "Run": release.run_id,
    } | ({"Approved-By": ", ".join(approvers)} if approvers else {})
    told = "\n".join(f"{name}: {value}" for name, value in trailers.items())
    return f"Release {release.service.name} {release.commit[:12]} to {release.environment}\n\n{told}\n"
