"""Builds images without a daemon and without a registry, in a folder that is thrown away."""

import configparser
import json
import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

NEEDED = ("buildah", "mmdebstrap")
RECIPE = Path(__file__).with_name("base.Dockerfile")
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
PIP_CONFIGURATIONS = ("/etc/pip.conf", "~/.pip/pip.conf", "~/.config/pip/pip.conf")
PIP_SETTINGS = ("index-url", "extra-index-url", "trusted-host", "proxy", "default-timeout")


def absent() -> str | None:
    """Return what this machine lacks to build images."""
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if missing:
        return f"no {' and no '.join(missing)} on this machine: install the Debian packages {', '.join(NEEDED)}"
    return None if os.geteuid() == 0 else "images are built as root here; without root it is not known to work"


def pip_configuration() -> str:
    """Return where pip gets packages on this machine, as the text of a pip.conf for the build."""
    files = configparser.ConfigParser(interpolation=None)
    files.read(Path(name).expanduser() for name in PIP_CONFIGURATIONS)
    known = dict(files["global"]) if files.has_section("global") else {}
    for name in PIP_SETTINGS:
        variable = f"PIP_{name.upper().replace('-', '_')}"
        known |= {name: os.environ[variable]} if variable in os.environ else {}
    # A proxy of this machine may have a certificate of its own; its bundle is mounted while a build lasts.
    chosen = {name: known[name] for name in PIP_SETTINGS if name in known} | {"cert": CERTIFICATES}
    return "[global]\n" + "".join(f"{name} = {value}\n" for name, value in chosen.items())


class Buildah:
    """buildah with all its data below one folder, in chroots: no cgroups, no overlay file system, no network of its own.

    :param folder: takes several times the size of an image.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("store", "run", "tmp", "cni", "base"):
            (folder / name).mkdir()

    def __call__(self, *arguments: str | Path, capture: bool = False) -> str:
        """Run one command; its lines go to the terminal unless they are asked for.

        :raises subprocess.CalledProcessError: if it fails.
        """
        places = ["--root", self.folder / "store", "--runroot", self.folder / "run", "--storage-driver", "vfs"]
        environment = os.environ | {"BUILDAH_ISOLATION": "chroot", "TMPDIR": str(self.folder / "tmp")}
        done = subprocess.run(
            ["buildah", *places, *arguments],
            env=environment, check=True, text=True, stdout=subprocess.PIPE if capture else None,
        )  # fmt: skip
        return done.stdout or ""

    def build_base(self) -> str:
        """Build the base from Debian's packages and return its name."""
        folder = self.folder / "base"
        packages = "--include=ca-certificates,dumb-init,python3,python3-venv"
        # The official image is made of the same release.
        subprocess.run(["mmdebstrap", "--variant=minbase", packages, "bookworm", folder / "debian.tar"], check=True)
        self.build("base", folder, f"--file={RECIPE}")
        (folder / "debian.tar").unlink()
        return "localhost/base"

    def build(self, name: str, context: Path, *options: str) -> str:
        """Build a folder with the network of this machine and return the image's name."""
        self(
            "build", "--pull-never", "--network=host", "--cni-config-dir", self.folder / "cni",
            "--volume", f"{CERTIFICATES}:{CERTIFICATES}:ro", "--tag", name, *options, context,
        )  # fmt: skip
        return f"localhost/{name}"

    def configuration(self, image: str) -> dict[str, Any]:
        """Return the image's configuration, its history included."""
        return dict(json.loads(self("inspect", "--type=image", image, capture=True))["OCIv1"])

    def blobs(self, image: str) -> Iterable[Path]:
        """Return what a registry would be sent: layers as tar archives, configuration, manifest."""
        target = self.folder / "blobs"
        shutil.rmtree(target, ignore_errors=True)
        self("push", "--disable-compression", image, f"dir:{target}")
        return sorted(target.iterdir())
