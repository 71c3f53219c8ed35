"""What the connections with keys of age must hold, and what must not be where backups are made."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException

from platform_ops.backups.streams import BadIdentity, BadRecipient, parse_identity, parse_recipients
from platform_ops.common.permissions import CheckedConnection, Finding, Permission, State

RECIPIENTS = Permission("recipients", "points are encrypted to their public keys")
LISTING_KEY = Permission("a key of those who copy", "lists of what earlier points hold are opened with it")
ONE_HOLDER = Permission("one holder only", "with one lost key every point would be lost", wanted=False)
OPENS = Permission("a holder's private key", "whoever copies could open every point", wanted=False)
ENCRYPTING = (RECIPIENTS, LISTING_KEY, ONE_HOLDER, OPENS)

KEY = Permission("a recipient's private key", "drills and restores open points with it")
HERE = Permission(
    "a key where others work", "whoever takes over the worker that ran this check could open every point", wanted=False
)
DECRYPTING = (KEY, HERE)


class Recipients(CheckedConnection):
    """Whom points are encrypted to: the connections that ``encryption`` names in the catalogue."""

    def __init__(self, conn_id: str) -> None:
        self._conn_id = conn_id

    def check_permissions(self, places: Collection[str] = ()) -> tuple[Finding, ...]:
        """Read the keys; they appear nowhere.

        :param places: sources whose points share contents, which need a key of those who copy.
        """
        connection = BaseHook.get_connection(self._conn_id)
        return (*self._judge_recipients(_named(connection)), *self._judge_key(connection, places))

    def _judge_recipients(self, named: tuple[str, ...]) -> Iterator[Finding]:
        try:
            parse_recipients(named)
        except BadRecipient as error:
            yield Finding(RECIPIENTS, State.MISSING, f"Connection {self._conn_id}: {error} Enter its public key.")
            return
        if not named:
            sentence = f"Connection {self._conn_id} names no recipient, so nothing can be encrypted. Enter public keys."
            yield Finding(RECIPIENTS, State.MISSING, sentence)
            return
        yield Finding(RECIPIENTS, State.OK, f"Connection {self._conn_id} names {len(named)} recipients.")
        if len(set(named)) > 1:
            yield Finding(ONE_HOLDER, State.OK, f"Connection {self._conn_id} has more than one holder.")
        else:
            sentence = f"Connection {self._conn_id} has {ONE_HOLDER.name}: {ONE_HOLDER.why}. Add a second holder's key."
            yield Finding(ONE_HOLDER, State.TOO_MUCH, sentence)

    def _judge_key(self, connection: Any, places: Collection[str]) -> Iterator[Finding]:
        text, where = str(connection.password or "").strip(), f"Connection {self._conn_id}"
        if not text:
            if places:
                sentence = f"{where} has no password, which {', '.join(places)} needs. Make one by age-keygen."
                yield Finding(LISTING_KEY, State.MISSING, sentence)
            return
        try:
            public = str(parse_identity(text).to_public())
        except BadIdentity as error:
            yield Finding(LISTING_KEY, State.MISSING, f"{where}: {error} Make one by age-keygen.")
            return
        yield Finding(LISTING_KEY, State.OK, f"{where} has {LISTING_KEY.name}.")
        if public in _named(connection):
            sentence = f"{where} has {OPENS.name} as its password: {OPENS.why}. Make another by age-keygen."
            yield Finding(OPENS, State.TOO_MUCH, sentence)
        else:
            yield Finding(OPENS, State.OK, f"The password of {self._conn_id} opens no point.")


class Identity(CheckedConnection):
    """The private key that opens points: connection ``backup_identity``."""

    def __init__(self, conn_id: str) -> None:
        self._conn_id = conn_id

    def check_permissions(self, places: Collection[str] = ()) -> tuple[Finding, ...]:
        """Look whether the key can be had here, and whose it is; it appears nowhere.

        :param places: connections that name the recipients.
        """
        try:
            text = str(BaseHook.get_connection(self._conn_id).password or "")
        except AirflowNotFoundException:
            sentence = (
                f"Connection {self._conn_id} is not to be had where this check ran, as it should be. Whether those "
                "that restore have it, their drills show."
            )
            return (Finding(HERE, State.OK, sentence),)
        found = [self._judge(text, connection) for connection in places]
        sentence = (
            f"Connection {self._conn_id} can be read where this check ran: {HERE.why}. Give it to the workers of "
            "drills and restores only, where those are others than the workers that copy."
        )
        return (*found, Finding(HERE, State.TOO_MUCH, sentence))

    def _judge(self, text: str, connection: str) -> Finding:
        try:
            public = str(parse_identity(text).to_public())
        except BadIdentity as error:
            return Finding(KEY, State.MISSING, f"Connection {self._conn_id}: {error} Enter a holder's key.")
        if public in _named(BaseHook.get_connection(connection)):
            return Finding(KEY, State.OK, f"Connection {self._conn_id} holds the key of a recipient of {connection}.")
        sentence = (
            f"Connection {self._conn_id} holds the key of no recipient of {connection}, so {KEY.why} in vain. Enter "
            "the key of one."
        )
        return Finding(KEY, State.MISSING, sentence)


def _named(connection: Any) -> tuple[str, ...]:
    return tuple(str(one) for one in connection.extra_dejson.get("recipients") or ())
