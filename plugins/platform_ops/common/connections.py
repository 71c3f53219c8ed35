"""How an Airflow connection becomes an address and a TLS setting, the same for every system."""

from __future__ import annotations

from typing import Protocol, cast


class ConnectionFields(Protocol):
    """What we read of a connection."""

    conn_id: str
    host: str | None
    port: int | None

    @property
    def extra_dejson(self) -> dict[str, object]:
        """Return the extra as a dictionary."""
        ...


def base_url(connection: ConnectionFields) -> str:
    """Return the base URL; ``host`` may hold a whole URL or a bare name, which then means https."""
    host = (connection.host or "").rstrip("/")
    if not host:
        message = f"Connection {connection.conn_id} has no host; enter the base URL of the system there."
        raise ValueError(message)
    if "://" in host:
        return host
    return f"https://{host}:{connection.port}" if connection.port else f"https://{host}"


def tls_verify(connection: ConnectionFields) -> bool | str:
    """Return what to verify TLS with: True (the default), False, or the path of a CA bundle."""
    return cast("bool | str", connection.extra_dejson.get("verify", True))
