"""A bucket of any S3 store: every version with metadata and tags, and the bucket's own settings beside them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from platform_ops.backups.contents import INDEX, write_line
from platform_ops.backups.depositing import Deposit
from platform_ops.backups.errors import Contradiction, SourceTrouble
from platform_ops.backups.in_order import in_order
from platform_ops.backups.keys import READER_CONNECTION
from platform_ops.backups.kinds.bucket_plan import Line, is_md5, line_of, plan, shown, without
from platform_ops.backups.kinds.bucket_scratch import Scratch
from platform_ops.backups.kinds.shape import OpenPoint, Part, Reading
from platform_ops.backups.points import Manifest
from platform_ops.backups.sources import Source
from platform_ops.backups.streams import Writer
from platform_ops.common.errors import TryAgain
from platform_ops.systems.object_store.buckets import SETTINGS, BucketHook, keeps_versions, read_parameters
from platform_ops.systems.object_store.errors import ObjectChanged, ObjectNotFound
from platform_ops.systems.object_store.models import Known, Listed, Setting

OBJECTS = "objects.jsonl"
BUCKET_SETTINGS = "settings.json"
TRIES = 3
"""How often an object is read that changes meanwhile, or whose store does not answer."""


class Bucket:
    """Objects of one bucket.

    :param hook: of the store that holds it.
    :param scratch: where drills restore it.
    """

    def __init__(
        self,
        source: Source,
        hook: BucketHook | None = None,
        scratch: BucketHook | None = None,
        pause: Callable[[float], object] = time.sleep,
    ) -> None:
        self._source = source
        self._bucket = str(source.what["bucket"])
        self._prefix = str(source.what.get("prefix", ""))
        self._exclude = tuple(source.what.get("exclude", ()))
        self._read_all = bool(source.what.get("read_all", False))
        self._may_be_empty = bool(source.what.get("may_be_empty", False))
        self._ask_all_tags = bool(source.what.get("ask_all_tags", False))
        self._hook = hook or BucketHook(str(source.connection))
        self._scratch = Scratch(source.name, scratch or BucketHook(READER_CONNECTION))
        self._pause = pause
        self._deposit: Deposit | None = None

    def share(self, deposit: Deposit) -> None:
        """Take where contents go."""
        self._deposit = deposit

    @contextmanager
    def read(self) -> Iterator[Reading]:
        """Ask for the settings, and list the bucket when its part is written."""
        if self._deposit is None:  # pragma: no cover
            raise AssertionError("a bucket is read into a deposit")
        points = self._deposit.points
        if (self._hook.address, self._bucket) == (points.hook.address, points.bucket):
            raise Contradiction(
                f"{self._source.name} would back up bucket {self._bucket} into itself. "
                "Give the catalogue entry another bucket as store."
            )
        at = datetime.now(UTC)
        settings = {name: self._hook.setting(self._bucket, name) for name in SETTINGS}
        with self._deposit.begun(OBJECTS) as deposit:
            state: dict[str, Any] = {
                "address": self._hook.address,
                "bucket": self._bucket,
                "versions": keeps_versions(settings["versioning"]),
                "settings": {name: setting.state.value for name, setting in settings.items()},
                "built_on": deposit.base.point if deposit.base else None,
            }
            notes = [*deposit.notes, *_told(settings)]
            parts = (
                Part(BUCKET_SETTINGS, partial(_write_settings, settings)),
                Part(OBJECTS, partial(self._write_objects, deposit, state, notes), deposit.list_readers),
                Part(INDEX, deposit.write_index, ()),
            )
            yield Reading(at, parts, state, {"s3": "minio-py"}, notes, deposit.contents)

    def _write_objects(self, deposit: Deposit, state: dict[str, Any], notes: list[str], out: Writer) -> None:
        """Write a line for each version, and store the contents that are new."""
        counts = {"objects": 0, "markers": 0, "bytes": 0, "read": 0}
        gone = list[str]()
        key = None
        for one, line in in_order(
            self._planned(deposit, versions=state["versions"]),
            lambda pair: self._copy(deposit, pair[0]),
            ready=lambda pair: pair if pair[1] is not None else None,
        ):
            if line is None:
                gone.append(one.key)
                continue
            write_line(out, line)
            counts["objects"] += line["key"] != key and not line.get("marker")
            counts["markers"] += bool(line.get("marker"))
            counts["bytes"] += line["size"]
            key = line["key"]
        notes += deposit.held_against_base("objects", counts["objects"], may_be_empty=self._may_be_empty)
        state |= counts | {"added": deposit.added, "vanished": len(gone)}
        if gone:
            some = ", ".join(map(shown, gone[:20]))
            notes.append(f"{len(gone)} of its objects vanished while the bucket was read: {some}.")

    def _planned(self, deposit: Deposit, *, versions: bool) -> Iterator[tuple[Listed, Line | None]]:
        """Yield what is there, each with the line that can stay as it is."""
        listed = without(self._hook.versions(self._bucket, self._prefix, all_versions=versions), self._exclude)
        for one, line in plan(listed, self._earlier(deposit)):
            if one.marker:
                yield one, line_of(one)
            elif line is None or self._read_all or not deposit.needs(line["content"]):
                yield one, None
            else:
                deposit.told(one.size)
                yield one, self._with_tags(one, line) if self._ask_all_tags else line

    def _earlier(self, deposit: Deposit) -> Iterator[Line]:
        """Yield the lines of the point that is built on, if it is of this very bucket."""
        state = deposit.base.state if deposit.base else {}
        if (state.get("address"), state.get("bucket")) == (self._hook.address, self._bucket):
            yield from deposit.earlier(OBJECTS)

    def _with_tags(self, one: Listed, line: Line) -> Line:
        """Ask for the tags again: S3 lets them change without a trace in the listing."""
        put = {name: value for name, value in line["put"].items() if name != "Tagging"}
        return line | {"put": put | read_parameters({}, self._hook.tags(self._bucket, one))}

    def _copy(self, deposit: Deposit, one: Listed) -> tuple[Listed, Line | None]:
        """Read a version and keep its content; None for its line when it is gone."""
        distrusted: str | None = None
        for number in range(1, TRIES + 1):
            try:
                line = self._read_once(deposit, one, distrusted)
            except ObjectNotFound:
                return one, None
            except ObjectChanged:
                found = self._again(one)
                if found is None:
                    return one, None
                one = found
            except _OtherBytes as other:
                distrusted = other.sha256
            except TryAgain:
                if number == TRIES:
                    raise
                self._pause(0.2 * 4**number)
            else:
                return one, line
        raise SourceTrouble(
            f"Object {self._bucket}/{shown(one.key)} was another each of {TRIES} times it was read. "
            "Copy when it is left alone for a while, or leave it out (what: exclude)."
        )

    def _read_once(self, deposit: Deposit, one: Listed, distrusted: str | None) -> Line:
        with self._hook.open_version(self._bucket, one) as opened:
            with deposit.packed(opened.body, one.size) as packed:
                plain = packed.plain
                if plain.size != one.size:
                    raise ObjectChanged(f"Object {self._bucket}/{shown(one.key)} has {plain.size} bytes by now.")
                if is_md5(one.etag) and packed.md5 != one.etag and distrusted != plain.sha256:
                    # Not all ETags are an MD5. One that is not is so again; wrong bytes on the way are not.
                    raise _OtherBytes(plain.sha256)
                tags = self._hook.tags(self._bucket, one, opened)
                name = deposit.keep(packed)
            put = read_parameters(opened.headers, tags)
        return line_of(one) | {"sha256": plain.sha256, "content": name, "put": put}

    def _again(self, one: Listed) -> Listed | None:
        """Return a version as it is listed now."""
        versions = bool(one.version)
        for found in self._hook.versions(self._bucket, one.key, all_versions=versions):
            if found.key != one.key:
                return None
            if not versions or found.version == one.version:
                return found
        return None

    def restore(self, point: OpenPoint, target: Path) -> None:
        """Restore into a scratch bucket, whose name is left in the folder."""
        self._scratch.restore(point, target)

    def compare(self, point: OpenPoint, target: Path) -> list[str]:
        """Hold the scratch bucket against the point."""
        return self._scratch.compare(point, target)

    def remove(self, target: Path) -> None:
        """Delete the scratch bucket."""
        self._scratch.remove(target)

    def sweep(self) -> None:
        """Delete the scratch buckets of killed drills."""
        self._scratch.sweep()

    def commands(self, manifest: Manifest) -> str:
        """Fetch the contents and write object after object, the oldest version first."""
        unpack = (
            "age --decrypt --identity key.txt packed | zstd --decompress" if manifest.recipients else "zstd -dc packed"
        )
        versions = bool(manifest.state.get("versions"))
        found = dict(manifest.state.get("settings", {}))
        # A bucket that never kept versions has this setting too, but none that a store takes.
        settings = [name for name in SETTINGS if found.get(name) == Known.SET and (versions or name != "versioning")]
        # Last: it may forbid the others.
        settings.sort(key="policy".__eq__)
        restored = _OBJECTS.format(
            contents=f"{manifest.source}/contents/",
            locked=" --object-lock-enabled-for-bucket" if "lock" in settings else "",
            versioning=_VERSIONING if versions else "",
            unpack=unpack,
        )
        if not settings:
            return restored
        old = str(manifest.state["bucket"]).replace(".", r"\.")
        return restored + _SETTINGS.format(
            old=old, settings="\n".join(f"put_setting {name} {SETTINGS[name]}" for name in settings)
        )


class _OtherBytes(TryAgain):
    """The bytes have another MD5 than the ETag says."""

    def __init__(self, sha256: str) -> None:
        super().__init__("The bytes have another MD5 than their ETag.")
        self.sha256 = sha256


def _write_settings(settings: dict[str, Setting], out: Writer) -> None:
    out.write(json.dumps({name: asdict(one) for name, one in settings.items()}, indent=1, sort_keys=True).encode())


def _told(settings: dict[str, Setting]) -> Iterator[str]:
    for state in (Known.NOT_SUPPORTED, Known.REFUSED):
        names = [name for name, setting in settings.items() if setting.state is state]
        if names:
            yield f"Of the bucket's settings, {', '.join(names)}: {state}."


_VERSIONING = (
    'aws s3api put-bucket-versioning --bucket "$BUCKET" --versioning-configuration Status=Enabled\n'
    "# The list has the newest version of a key first; they are written the oldest first.\n"
)

_OBJECTS = """\
# An S3 client: this text uses aws, which finds address and keys in AWS_ENDPOINT_URL and its other variables.
# STORE holds the backups, BUCKET is a new bucket to restore into; jq reads the list.
: "${{STORE:?}}" "${{BUCKET:?}}"
# What is larger is sent in parts of so many MiB: S3 takes 5 GiB at once.
PART="${{PART:-1024}}"
aws s3api create-bucket --bucket "$BUCKET"{locked}
{versioning}tac objects.jsonl > oldest-first.jsonl
while IFS= read -r line; do
  key=$(printf '%s' "$line" | jq --compact-output '{{Key: .key}}')
  printf '%s\\n' "$key"
  marker=$(printf '%s' "$line" | jq .marker)
  if [ "$marker" = true ]; then
    aws s3api delete-object --bucket "$BUCKET" --cli-input-json "$key" > /dev/null
    continue
  fi
  content=$(printf '%s' "$line" | jq -r .content)
  aws s3 cp --only-show-errors "s3://$STORE/{contents}$content" packed
  {unpack} > plain
  sum=$(printf '%s' "$line" | jq -r .sha256)
  echo "$sum  plain" | sha256sum --check --quiet
  put=$(printf '%s' "$line" | jq '{{Key: .key}} + .put')
  parts=$((($(wc -c < plain) + PART * 1048576 - 1) / (PART * 1048576)))
  if [ "$parts" -le 1 ]; then
    aws s3api put-object --bucket "$BUCKET" --cli-input-json "$put" --body plain > /dev/null
    continue
  fi
  upload=$(aws s3api create-multipart-upload --bucket "$BUCKET" --cli-input-json "$put" --query UploadId --output text)
  number=0
  while [ "$number" -lt "$parts" ]; do
    dd if=plain of=part bs=1048576 skip=$((number * PART)) count="$PART" status=none
    number=$((number + 1))
    aws s3api upload-part --bucket "$BUCKET" --cli-input-json "$key" --upload-id "$upload" --part-number "$number" \\
      --body part > /dev/null
  done
  aws s3api list-parts --bucket "$BUCKET" --cli-input-json "$key" --upload-id "$upload" \\
    --query '{{Parts: Parts[].{{PartNumber: PartNumber, ETag: ETag}}}}' --output json > parts.json
  aws s3api complete-multipart-upload --bucket "$BUCKET" --cli-input-json "$key" --upload-id "$upload" \\
    --multipart-upload file://parts.json > /dev/null
done < oldest-first.jsonl
"""

_SETTINGS = """\
# The bucket's own settings, as the store had them; curl sends them. Leave out what the new bucket must not have.
: "${{AWS_ENDPOINT_URL:?}}" "${{AWS_ACCESS_KEY_ID:?}}" "${{AWS_SECRET_ACCESS_KEY:?}}"
put_setting() {{
  jq --join-output --arg name "$1" '.[$name].text' settings.json > setting
  # A policy names its bucket, which may be called otherwise now.
  sed --in-place 's#:::{old}\\([/"]\\)#:::'"$BUCKET"'\\1#g' setting
  md5=$(openssl dgst -md5 -binary setting | base64)
  sum=$(sha256sum setting | cut --characters=-64)
  echo "setting: $1"
  printf 'user = "%s:%s"\\n' "$AWS_ACCESS_KEY_ID" "$AWS_SECRET_ACCESS_KEY" |
    curl --config - --fail-with-body --silent --show-error --header "Content-MD5: $md5" \\
      --header "x-amz-content-sha256: $sum" --aws-sigv4 "aws:amz:${{AWS_DEFAULT_REGION:-us-east-1}}:s3" \\
      --upload-file setting "${{AWS_ENDPOINT_URL%/}}/$BUCKET?$2="
}}
{settings}
"""
