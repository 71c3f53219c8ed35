"""What Airflow calls the release, for those who look for it there."""

from __future__ import annotations

RELEASE = "release_service"
GATES = ("approve_release", "confirm_release")
"""The gates in the order they ask, one for each person of the largest quorum."""
