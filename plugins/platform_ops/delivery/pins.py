"""The GitOps file of a service: read what it pins, pin something else, show the difference."""

from __future__ import annotations

import difflib
import hashlib
import io
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from platform_ops.common.errors import Refused

if TYPE_CHECKING:
    from ruamel.yaml import YAML

COMMIT_ANNOTATION = "platform-ops/source-commit"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{40}")


class BadPinFile(Refused):
    """The GitOps file is not one we understand, so we don't write to it."""


@dataclass(frozen=True, slots=True)
class Pin:
    """What runs in an environment, as GitOps says."""

    digest: str
    commit: str


def is_digest(text: object) -> bool:
    """Say whether the text is a sha256 digest."""
    return isinstance(text, str) and bool(_DIGEST.fullmatch(text))


def is_commit(text: object) -> bool:
    """Say whether the text is a full commit hash."""
    return isinstance(text, str) and bool(_COMMIT.fullmatch(text))


def read_pin(text: str, image_name: str, path: str) -> Pin | None:
    """Return what the file pins; None before the first release.

    :param path: for messages.
    :raises BadPinFile: the file pins by tag, pins half, or is not a kustomization with this image.
    """
    document, entry = _parse(text, image_name, path)
    digest = entry.get("digest")
    commit = ((document.get("metadata") or {}).get("annotations") or {}).get(COMMIT_ANNOTATION)
    if digest is None and commit is None:
        return None
    if not is_digest(digest) or not is_commit(commit):
        raise BadPinFile(
            f"{path} pins {image_name} at digest {digest!r} of commit {commit!r}; both must be there, in full. "
            "Repair the file in the GitOps repository."
        )
    return Pin(str(digest), str(commit))


def write_pin(text: str, image_name: str, path: str, pin: Pin, registry_name: str) -> str:
    """Return the file with another pin and everything else as it was.

    :param registry_name: the image's name with its registry, ``harbor.example.com/shop/web``.
    """
    document, entry = _parse(text, image_name, path)
    entry["newName"] = registry_name
    entry["digest"] = pin.digest
    entry.pop("newTag", None)
    metadata = document.setdefault("metadata", {})
    metadata.setdefault("annotations", {})[COMMIT_ANNOTATION] = _quoted(pin.commit)
    stream = io.StringIO()
    _yaml().dump(document, stream)
    return stream.getvalue()


def difference(before: str, after: str, path: str) -> str:
    """Return the unified difference of two versions of the file."""
    lines = difflib.unified_diff(
        before.splitlines(keepends=True), after.splitlines(keepends=True), f"a/{path}", f"b/{path}"
    )
    return "".join(lines)


def difference_hash(diff: str) -> str:
    """Return the sha256 of a difference, in hex."""
    return hashlib.sha256(diff.encode()).hexdigest()


def _parse(text: str, image_name: str, path: str) -> tuple[Any, Any]:
    from ruamel.yaml.error import YAMLError

    try:
        document = _yaml().load(text)
    except YAMLError as error:
        raise BadPinFile(f"{path} is not valid YAML: {getattr(error, 'problem', error)}. Repair it first.") from error
    images = document.get("images") if isinstance(document, dict) else None
    entries = [entry for entry in images or [] if isinstance(entry, dict) and entry.get("name") == image_name]
    if len(entries) != 1:
        raise BadPinFile(
            f"{path} has {len(entries)} entries under `images:` with the name {image_name}; it needs exactly one."
        )
    return document, entries[0]


def _yaml() -> YAML:
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    return yaml


def _quoted(commit: str) -> Any:
    # A hash of digits only, or like 12e4567…, is a number to some YAML readers.
    from ruamel.yaml.scalarstring import DoubleQuotedScalarString

    return DoubleQuotedScalarString(commit)
