"""Remembers what signed deliveries have started lately."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock

from platform_ops.common.errors import Invalid
from platform_ops.web.signatures import Signed

MOST = 1024


class IdReused(Invalid):
    """The id of a delivery stood for another event before."""


class Replays:
    """A shortcut: a replay is answered without asking Airflow. Run ids alone keep a release from starting twice.

    Other API servers have memories of their own, and old entries are forgotten. An event is told from another by the
    runs it starts, not by its bytes: GitLab keeps no e-mail addresses, so an event that a person sends again comes
    with its old id, a new stamp and ``[REDACTED]`` in their place (app/models/hooks/web_hook_log.rb).
    """

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._lock = Lock()
        self._started: OrderedDict[bytes, tuple[bytes, frozenset[str]]] = OrderedDict()

    def knows(self, signed: Signed, run_ids: frozenset[str]) -> bool:
        """Say whether exactly this delivery has started exactly these runs.

        :raises IdReused: its id started others.
        """
        with self._lock:
            stamp, before = self._started.get(signed.id, (b"", frozenset()))
        if not before <= run_ids:
            raise IdReused("webhook-id was used for another event before")
        return stamp == signed.stamp and before == run_ids

    def remember(self, signed: Signed, run_ids: frozenset[str]) -> None:
        """Keep that Airflow has these runs."""
        with self._lock:
            self._started[signed.id] = (signed.stamp, run_ids)
            while len(self._started) > self._most:
                self._started.popitem(last=False)
