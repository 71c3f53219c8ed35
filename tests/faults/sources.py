"""Sources that change from run to run: each kind with something large, something that stays and something that goes."""

import io
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random

from tests.faults.bucket import Stored
from tests.faults.installation import Installation, Sampled

Change = Callable[[int], None]
"""Changes a source for a run."""
LARGE = 6 * 1024 * 1024
"""More than one part of an upload."""


def directory(installation: Installation, name: str) -> tuple[Sampled, Change]:
    folder = installation.room / "files" / name
    (folder / "below").mkdir(parents=True)
    (folder / "stays").write_text("as ever")
    (folder / "link").symlink_to("below")

    def change(number: int) -> None:
        for count in range(20):
            (folder / "below" / f"{number % 3}-{count}").write_bytes(Random(number * 100 + count).randbytes(5000))
        (folder / "changes").write_bytes(Random(number).randbytes(LARGE))

    return installation.enter(name, "directory", {"path": str(folder)}), change


def bucket(installation: Installation, name: str) -> tuple[Sampled, Change]:
    owner = installation.store.owner
    owner.make_bucket(f"of-{name}")

    def put(key: str, body: bytes) -> None:
        owner.put_object(f"of-{name}", key, io.BytesIO(body), len(body))

    put("stays", b"as ever")

    def change(number: int) -> None:
        for count in range(8):
            put(f"{number % 3}/{count}", Random(number * 100 + count).randbytes(5000))
        put("changes", Random(number).randbytes(LARGE))

    return installation.enter(name, "bucket", {"bucket": f"of-{name}"}, "shop"), change


def git(installation: Installation, name: str) -> tuple[Sampled, Change]:
    folder = installation.room / "repositories" / name
    folder.mkdir(parents=True)
    run_git(folder, "init", "--quiet", "--initial-branch=main")
    installation.connect("code", host=f"file://{folder}")

    def change(number: int) -> None:
        (folder / "file").write_bytes(Random(number).randbytes(500_000))
        run_git(folder, "add", "file")
        run_git(folder, "commit", "--quiet", "--message", f"Change {number}")

    return installation.enter(name, "git", {}, "code"), change


def run_git(folder: Path, *arguments: str) -> str:
    """Run git as somebody else than the project does."""
    who = {f"GIT_{role}_{part}": "a@example.com" for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")}
    environment = {"PATH": "/usr/bin:/bin:/usr/local/bin", "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1"} | who
    done = subprocess.run(["git", *arguments], cwd=folder, env=environment, check=True, capture_output=True, text=True)
    return done.stdout.strip()


MADE: Mapping[str, Callable[[Installation, str], tuple[Sampled, Change]]] = {
    "bucket": bucket,
    "directory": directory,
    "git": git,
}


def begun(installation: Installation, kind: str) -> tuple[Sampled, Stored, Change]:
    """Make two points, and change the source for the third."""
    source, change = MADE[kind](installation, f"a-{kind}")
    for number in (0, 1):
        change(number)
        source.does(number, "copy", "verify")
    change(2)
    return source, Stored(installation.store.owner, source.name), change
