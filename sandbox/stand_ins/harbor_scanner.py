"""The scanner of the Harbor stand-in: what it finds in the layers of an image."""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SCANNER = {"name": "Sandbox", "vendor": "platform-ops", "version": "1"}
SEVERITIES = ("None", "Unknown", "Negligible", "Low", "Medium", "High", "Critical")
KNOWN_BAD = {
    ("leftpad", "0.0.1"): ("CVE-2016-0001", "Critical", "0.0.3"),
    ("oldyaml", "5.3"): ("CVE-2020-1747", "High", "5.4"),
    ("slowregex", "2.1"): ("CVE-2021-3777", "Medium", ""),
    ("chardetish", "1.0"): ("CVE-2019-0042", "Low", "1.1"),
}
"""The scanner's database: package and version to id, severity and fixed version ("" = no fix)."""
UNSCANNABLE = ("unscannable", "1.0")


def scan(layers: Iterator[Path], digest: str) -> tuple[str, list[dict[str, Any]]]:
    """Return how the scan of an image ends, and what it finds."""
    try:
        packages = set(_packages(layers))
    except (tarfile.TarError, OSError, EOFError, zlib.error, UnicodeDecodeError):
        packages = {UNSCANNABLE}
    found = [
        {
            "id": KNOWN_BAD[package][0], "package": package[0], "version": package[1],
            "fix_version": KNOWN_BAD[package][2], "severity": KNOWN_BAD[package][1],
            "description": f"{package[0]} {package[1]} is known to be bad.",
            "links": [f"https://vulnerabilities.example/{KNOWN_BAD[package][0]}"],
            "artifact_digests": [digest],
        }
        for package in sorted(packages & KNOWN_BAD.keys())
    ]  # fmt: skip
    return "Error" if UNSCANNABLE in packages else "Success", found


def worst(found: list[dict[str, Any]]) -> str:
    return max((item["severity"] for item in found), key=SEVERITIES.index, default="None")


def _packages(layers: Iterator[Path]) -> Iterator[tuple[str, str]]:
    """Yield name and version of every `name==version` line of every requirements.txt in the layers."""
    for layer in layers:
        content = layer.read_bytes()
        plain = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
        with tarfile.open(fileobj=io.BytesIO(plain)) as archive:
            for member in archive:
                if not member.isfile() or Path(member.name).name != "requirements.txt":
                    continue
                stream = archive.extractfile(member)
                for line in (stream.read().decode() if stream else "").splitlines():
                    name, equal, version = line.partition("#")[0].partition(";")[0].partition("==")
                    if equal:
                        yield name.strip().lower(), version.strip().split()[0]
