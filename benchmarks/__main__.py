"""Measure: `python -m benchmarks`, or only some of it: `python -m benchmarks parsing`."""

from __future__ import annotations

import argparse
import platform
import sys
from pathlib import Path

from benchmarks import backups, buckets, crowd, parsing, releases, streams, webhook
from benchmarks.bare import steps
from benchmarks.figures import Result
from benchmarks.world import world

SERVICES = 50
WITH_SANDBOX = {"webhook": webhook.measure, "releases": releases.measure, "crowd": crowd.measure}
ALONE = {"parsing": parsing.measure, "backups": backups.measure, "buckets": buckets.measure, "streams": streams.measure}
ALL = (*ALONE, *WITH_SANDBOX)


def _results(names: list[str]) -> list[Result]:
    found = [_told(ALONE[name]()) for name in names if name in ALONE]
    wanted = [name for name in names if name in WITH_SANDBOX]
    if wanted:
        with world(SERVICES if "crowd" in wanted else 5, len(steps())) as sandbox:
            found += [_told(WITH_SANDBOX[name](sandbox)) for name in wanted]
    return found


def _told(result: Result) -> Result:
    print(f"\n{result.text()}", flush=True)
    return result


def main() -> int:
    """Measure; return 1 when a bar does not hold."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure against floors and peers.")
    parser.add_argument("names", nargs="*", choices=[*ALL, []], help="what to measure (default: all)")
    parser.add_argument("--write", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    results = _results(options.names or list(ALL))
    if options.write:
        machine = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}"
        options.write.write_text(f"{machine}\n\n" + "\n".join(result.text() for result in results))
    return 0 if all(figure.holds for result in results for figure in result.figures) else 1


if __name__ == "__main__":
    sys.exit(main())
