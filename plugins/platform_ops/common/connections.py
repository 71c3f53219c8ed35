"""How an Airflow connection becomes an address and a TLS setting, the same for every system."""

from __future__ import annotations

from typing import Protocol, cast

from platform_ops.common.errors import Invalid

# What begins a query or a fragment, and what ends a user and a password.
_NO_ADDRESS = frozenset("@?#")
_NO_ADDRESS_TOLD = "@, ? and #"


class ConnectionFields(Protocol):
    """What we read of a connection."""

    conn_id: str
    host: str | None
    port: int | None

    @property
    def extra_dejson(self) -> dict[str, object]:
        """Return the extra as a dictionary."""
        ...


def plain_host(connection: ConnectionFields) -> str:
    """Return the host as it is shown in messages, links and the GitOps file.

    :raises Invalid: it is empty, or has room for credentials; Airflow masks those of other fields only.
    """
    found = (connection.host or "").rstrip("/")
    if not found:
        raise Invalid(f"Connection {connection.conn_id} has no host; enter the address of the system there.")
    if set(found) & _NO_ADDRESS:
        raise Invalid(
            f"The host of connection {connection.conn_id} is more than an address: it has one of {_NO_ADDRESS_TOLD}. "
            "Enter the address alone there, and credentials as login and password; renew them, since a host is shown."
        )
    return found


def base_url(connection: ConnectionFields) -> str:
    """Return the base URL; ``host`` may hold a whole URL or a bare name, which then means https.

    :raises Invalid: it is no such thing.
    """
    found = plain_host(connection)
    if "://" in found:
        return found
    return f"https://{found}:{connection.port}" if connection.port else f"https://{found}"


def tls_verify(connection: ConnectionFields) -> bool | str:
    """Return what to verify TLS with: True (the default), False, or the path of a CA bundle."""
    return cast("bool | str", connection.extra_dejson.get("verify", True))
