"""Whose keys encrypt a source's points, and the one key that opens them."""

from __future__ import annotations

from airflow.sdk import BaseHook

from platform_ops.backups.sources import Source
from platform_ops.backups.streams import parse_identity, parse_recipients

IDENTITY_CONNECTION = "backup_identity"


def recipients(source: Source) -> tuple[str, ...] | None:
    """Return the public keys a source's points are encrypted to; None where the catalogue asks for no encryption.

    :raises BadRecipient: one is no public key of age.
    """
    if source.encryption_connection is None:
        return None
    named = BaseHook.get_connection(source.encryption_connection).extra_dejson.get("recipients") or []
    found = tuple(str(one) for one in named)
    parse_recipients(found)
    return found


def identity(encrypted: bool) -> str | None:  # noqa: FBT001
    """Return the private key; only restores have the connection that holds it.

    :param encrypted: whether the point has recipients.
    :raises BadIdentity: it is no private key of age.
    """
    if not encrypted:
        return None
    key = str(BaseHook.get_connection(IDENTITY_CONNECTION).password or "")
    parse_identity(key)
    return key
