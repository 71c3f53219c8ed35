"""The text beside a point that says how to restore it without this software."""

from __future__ import annotations

from platform_ops.backups.points import MANIFEST, Manifest, plain_name, prefix


def restore_text(manifest: Manifest, bucket: str, commands: str) -> str:
    """Return ``RESTORE.md``.

    :param manifest: of the point, complete but for this text.
    :param commands: of its kind.
    """
    where = f"{prefix(manifest.source, manifest.point)}{manifest.place}/"
    names = [member.name for member in manifest.members]
    unpack = "\n".join(_unpack(name) for name in names)
    sums = "\n".join(f"{member.stored_sha256}  {member.name}" for member in manifest.members)
    tools = ", ".join(f"{name} {version}" for name, version in sorted(manifest.tools.items()))
    key = "the private key of one of the recipients below in `key.txt`, " if manifest.recipients else ""
    recipients = "".join(f"\n- `{one}`" for one in manifest.recipients) or "\n- none: the point is not encrypted"
    return f"""# Restore {manifest.source} as it was at {manifest.state_words}

You need an S3 client, {key}and the tools `age`, `zstd` and those named below. Nothing else: this text was written for
the day on which the software that made the point is gone.

1. Fetch everything below `{where}` of bucket `{bucket}` into an empty folder, with any S3 client, for example
   `rclone copy remote:{bucket}/{where} .` or `aws s3 cp --recursive s3://{bucket}/{where} .`

2. Check the bytes (`{MANIFEST}`, one folder above, says the same):

```sh
sha256sum --check <<'SUMS'
{sums}
SUMS
```

3. Decrypt and decompress:

```sh
{unpack}
```

4. Restore:

```sh
{commands.rstrip()}
```

Made by run `{manifest.run}`, kind {manifest.kind}, with {tools}. Recipients:{recipients}
"""


def _unpack(name: str) -> str:
    if name.endswith(".age"):
        return f"age --decrypt --identity key.txt {name} | zstd --decompress > {plain_name(name)}"
    return f"zstd --decompress {name}"
