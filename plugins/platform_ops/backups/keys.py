"""Whose keys encrypt a source's points, and the one key that opens them."""

from __future__ import annotations

from airflow.sdk import BaseHook

from platform_ops.backups.sources import Source
from platform_ops.backups.streams import parse_identity, parse_recipients

IDENTITY_CONNECTION = "backup_identity"
READER_CONNECTION = "backup_reader"
"""The store, as the account of those who restore and drill."""


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


def listing_key(source: Source) -> str:
    """Return the key of those who copy: it opens lists of what earlier points hold and names contents, no more.

    It is a private key of age, so that age itself encrypts a list to it. Empty where nothing is encrypted, or none is
    entered; only kinds that share contents need it.
    """
    if source.encryption_connection is None:
        return ""
    return str(BaseHook.get_connection(source.encryption_connection).password or "").strip()


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
