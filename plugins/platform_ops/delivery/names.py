"""What Airflow calls the release, for those who look for it there."""

from __future__ import annotations

import re

RELEASE = "release_service"
GATES = ("approve_release", "confirm_release")
"""The gates in the order they ask, one for each person of the largest quorum."""
DERIVED = re.compile(r"release__.+__.+__[0-9a-f]{12}(__.*)?")
"""Run ids that name a release; what follows the commit tells its tries apart."""


def derived_run_id(service: str, environment: str, commit: str) -> str:
    """Return the run id that webhook and CI give, so that what is asked for twice starts one run."""
    return f"release__{service}__{environment}__{commit[:12]}"
