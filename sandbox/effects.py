"""What `GET /_sandbox/state` answers: how often each thing really happened at a server."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def state(effects: Mapping[str, int]) -> dict[str, Any]:
    """Return the answer.

    :param effects: in the system's own terms (builds, tags, commits), never requests.
    """
    shown = dict(sorted(effects.items()))
    return {"hash": hashlib.sha256(json.dumps(shown).encode()).hexdigest(), "effects": shown}
