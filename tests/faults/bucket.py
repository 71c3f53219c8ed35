"""What lies in the bucket of backups, by its own listing and without the project's code."""

import hashlib
import io
import json
import re
from dataclasses import dataclass
from typing import Any

import zstandard

from sandbox.accounts import BACKUPS

POINT = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{8}")
NOTES = re.compile(r"verified\.json|damaged\.json|spoilt\.json|claim-[0-9a-f]+\.json")


@dataclass
class Stored:
    """What is stored of a source.

    :param owner: a client of the account that may do everything.
    """

    owner: Any
    source: str

    def sizes(self) -> dict[str, int]:
        """Return the size of everything that lies there but proofs, by its key."""
        listed = self.owner.list_objects(BACKUPS, prefix=f"{self.source}/", recursive=True)
        return {one.object_name: one.size for one in listed if not one.object_name.startswith(f"{self.source}/proofs/")}

    def uploads(self) -> list[str]:
        """Return the keys of uploads that were begun and neither completed nor aborted."""
        found = []
        # MinIO lists those of a whole key only.
        for prefix in (f"{self.source}/", *self.sizes()):
            found += [one.object_name for one in self.owner._list_multipart_uploads(BACKUPS, prefix=prefix).uploads]
        return sorted(set(found))

    def read(self, key: str) -> bytes:
        answer = self.owner.get_object(BACKUPS, key)
        try:
            return bytes(answer.read())
        finally:
            answer.close()
            answer.release_conn()

    def write(self, key: str, body: bytes) -> None:
        self.owner.put_object(BACKUPS, key, io.BytesIO(body), len(body))

    def remove(self, key: str) -> None:
        self.owner.remove_object(BACKUPS, key)

    def kept(self) -> dict[str, bytes]:
        """Return everything that lies there."""
        return {key: self.read(key) for key in self.sizes()}

    def put_back(self, kept: dict[str, bytes]) -> None:
        """Make everything as it was."""
        there = self.kept()
        for key in there.keys() - kept.keys():
            self.remove(key)
        for key, body in kept.items():
            if there.get(key) != body:
                self.write(key, body)

    def points(self) -> list[str]:
        """Return what has a manifest, the oldest first."""
        found = (key.split("/") for key, size in self.sizes().items() if size)
        return sorted(parts[1] for parts in found if len(parts) == 3 and parts[2] == "manifest.json")

    def verified(self) -> list[str]:
        """Return the points that are called verified, the oldest first."""
        keys = self.sizes()
        return [point for point in self.points() if f"{self.source}/{point}/verified.json" in keys]

    def manifest(self, point: str) -> dict[str, Any]:
        return dict(json.loads(self.read(f"{self.source}/{point}/manifest.json")))

    def sums(self, point: str) -> dict[str, str]:
        """Return every object a point needs, with the sha256 it must have."""
        manifest = self.manifest(point)
        place = f"{self.source}/{point}/{manifest['place']}"
        sums = {f"{place}/RESTORE.md": str(manifest["restore_text_sha256"])}
        sums |= {f"{place}/{one['name']}": one["stored_sha256"] for one in manifest["members"]}
        index = f"{place}/contents.jsonl.zst"
        if index in sums:
            lines = zstandard.ZstdDecompressor().stream_reader(self.read(index)).read().splitlines()
            sums |= {f"{self.source}/contents/{one['name']}": one["stored_sha256"] for one in map(json.loads, lines)}
        return sums

    def broken(self, point: str) -> list[str]:
        """Return the objects of a point that are missing or have other bytes."""
        there = self.sizes()
        return [
            key
            for key, expected in self.sums(point).items()
            if key not in there or hashlib.sha256(self.read(key)).hexdigest() != expected
        ]

    def unreferenced(self) -> list[str]:
        """Return the data that no point needs; what was given up keeps an empty manifest and nothing else."""
        needed = {key for point in self.points() for key in self.sums(point)}
        return [key for key, size in self.sizes().items() if key not in needed and not self._is_note(key, size)]

    def _is_note(self, key: str, size: int) -> bool:
        _, folder, *rest = key.split("/")
        if not POINT.fullmatch(folder) or len(rest) != 1:
            return False
        if rest == ["manifest.json"]:
            return True
        return bool(NOTES.fullmatch(rest[0])) and folder in self.points()

    def without_manifest(self) -> list[str]:
        """Return what looks like a point, has something in it, and no manifest."""
        folders = {key.split("/")[1] for key in self.sizes() if POINT.fullmatch(key.split("/")[1])}
        given_up = {
            key.split("/")[1] for key, size in self.sizes().items() if key.endswith("/manifest.json") and not size
        }
        return sorted(folders - set(self.points()) - given_up)
