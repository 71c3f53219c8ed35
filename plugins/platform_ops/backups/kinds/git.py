"""A git repository: one bundle of every ref."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from platform_ops.backups.kinds.shape import OpenPoint, Part, Reading
from platform_ops.backups.points import Manifest
from platform_ops.backups.sources import Source
from platform_ops.backups.streams import CHUNK
from platform_ops.common.errors import Refused
from platform_ops.systems.git.hook import GitHook
from platform_ops.systems.git.mirror import Mirror

BUNDLE = "repository.bundle"


class EmptyRepository(Refused):
    """The repository has no ref, so there is nothing to back up."""


class GitRepository:
    """Every ref of a repository, with all they reach."""

    def __init__(self, source: Source) -> None:
        self._hook = GitHook(str(source.connection))

    @contextmanager
    def read(self) -> Iterator[Reading]:
        """Mirror the repository into a folder of its own."""
        at = datetime.now(UTC)
        with self._hook.mirror() as mirror:
            refs = mirror.refs()
            if not refs:
                raise EmptyRepository(
                    f"{self._hook.address} has no ref. Push something, or take it out of the catalogue."
                )
            state: dict[str, Any] = {"refs": refs, "head": mirror.head()}
            parts, tools = (Part(BUNDLE, mirror.write_bundle),), {"git": mirror.version()}
            yield Reading(at, parts, state, tools, until=datetime.now(UTC))

    def restore(self, point: OpenPoint, target: Path) -> None:
        """Fetch every ref from the bundle into a bare repository."""
        bundle = target / BUNDLE
        with point.open(BUNDLE) as plain, bundle.open("wb") as file:
            while data := plain.read(CHUNK):
                file.write(data)
        Mirror(target / "repository.git").restore(bundle, str(point.manifest.state.get("head") or ""))
        bundle.unlink()

    def compare(self, point: OpenPoint, target: Path) -> list[str]:
        """Check every object, and hold the refs against the manifest."""
        mirror = Mirror(target / "repository.git")
        wrong = [f"git fsck: {line}" for line in mirror.check()]
        expected, found = dict(point.manifest.state["refs"]), mirror.refs()
        return wrong + [
            f"{name} is {found.get(name, 'missing')} instead of {expected.get(name, 'nothing')}."
            for name in sorted(expected.keys() | found.keys())
            if expected.get(name) != found.get(name)
        ]

    def commands(self, manifest: Manifest) -> str:  # noqa: ARG002
        """Clone the bundle."""
        return f"git clone --mirror {BUNDLE} restored.git\ngit -C restored.git fsck --full\n"
