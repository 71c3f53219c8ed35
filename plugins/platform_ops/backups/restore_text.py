"""The text beside a point that says how to restore it without this software."""

from __future__ import annotations

from collections.abc import Iterable

from platform_ops.backups.points import MANIFEST, Manifest, plain_name, prefix


def restore_text(manifest: Manifest, bucket: str, commands: str) -> str:
    """Return ``RESTORE.md``.

    :param manifest: of the point, complete but for this text.
    :param commands: of its kind.
    """
    where = f"{prefix(manifest.source, manifest.point)}{manifest.place}/"
    stored = _sums((member.stored_sha256, member.name) for member in manifest.members)
    plain = _sums((member.plain_sha256, plain_name(member.name)) for member in manifest.members)
    unpack = "\n".join([*(_unpack(member.name) for member in manifest.members), plain])
    tools = ", ".join(f"{name} {version}" for name, version in sorted(manifest.tools.items()))
    key = "the private key of one of the recipients below in `key.txt`, " if manifest.recipients else ""
    recipients = "".join(f"\n- `{one}`" for one in manifest.recipients) or "\n- none: the point is not encrypted"
    return f"""# Restore {manifest.source} as it was at {manifest.state_words}

You need an S3 client, {key}and the tools `age`, `zstd` and those named below. Nothing else: this text was written for
the day on which the software that made the point is gone.

1. Fetch everything below `{where}` of bucket `{bucket}` into an empty folder, with any S3 client, for example
   `rclone copy remote:{bucket}/{where} .` or `aws s3 cp --recursive s3://{bucket}/{where} .`

Each block below is a script: save it to a file and run it with `sh` in that folder. It ends at the first step that
fails, and says so; then go no further.

2. Check the bytes (`{MANIFEST}`, one folder above, says the same):

{_script(stored)}

3. Decrypt and decompress, and check what came of it:

{_script(unpack)}

4. Restore:

{_script(commands)}

Made by run `{manifest.run}`, kind {manifest.kind}, with {tools}. Recipients:{recipients}
"""


def _script(commands: str) -> str:
    """Return commands as a block that goes no further than its first failure, whatever reads it."""
    return f"```sh\n{_STRICT}{commands.rstrip()}\n```"


_STRICT = """\
set -eu
trap 'test $? = 0 || echo "STOPPED: the step above failed, and nothing after it was done." >&2' EXIT
"""


def _sums(files: Iterable[tuple[str, str]]) -> str:
    """Return the command that checks files against their sha256."""
    lines = "\n".join(f"{sha256}  {name}" for sha256, name in files)
    return f"sha256sum --check <<'SUMS'\n{lines}\nSUMS"


def _unpack(name: str) -> str:
    if name.endswith(".age"):
        return f"age --decrypt --identity key.txt {name} | zstd --decompress > {plain_name(name)}"
    return f"zstd --decompress {name}"
