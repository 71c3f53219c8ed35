"""The connections with keys of age: whose they are, how many there are, and where they must not be."""

import json
from typing import Any

import pyrage
import pytest

from platform_ops.common.permissions import CheckedConnection
from platform_ops.upkeep.age_permissions import Identity, Recipients

HOLDER, SECOND, COPIER = (pyrage.x25519.Identity.generate() for _ in range(3))
BOTH = [str(HOLDER.to_public()), str(SECOND.to_public())]


def enter(
    monkeypatch: pytest.MonkeyPatch, name: str, password: object = "", recipients: list[str] | None = None
) -> None:
    fields: dict[str, Any] = {"conn_type": "age", "password": str(password), "extra": {"recipients": recipients or []}}
    monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", json.dumps(fields))


def wrong(checked: CheckedConnection, *places: str) -> dict[str, tuple[str, str]]:
    """Return what is not as it should be; no key is in any sentence."""
    findings = checked.check_permissions(places)
    assert not [key for key in (HOLDER, SECOND, COPIER) if str(key) in str(findings)]
    return {found.permission.name: (found.state, found.sentence) for found in findings if found.state != "ok"}


def test_two_holders_and_a_key_of_those_who_copy_are_sound(monkeypatch: pytest.MonkeyPatch) -> None:
    enter(monkeypatch, "backup_keys", COPIER, BOTH)
    assert wrong(Recipients("backup_keys"), "shop") == {}
    enter(monkeypatch, "backup_keys", "", BOTH)
    assert wrong(Recipients("backup_keys")) == {}


@pytest.mark.parametrize(
    ("password", "recipients", "name", "state", "said"),
    [
        ("", BOTH[:1], "one holder only", "too much", "Add a second holder's key"),
        ("", BOTH[:1] * 2, "one holder only", "too much", "Add a second holder's key"),
        ("", [], "recipients", "missing", "names no recipient"),
        ("", [*BOTH, "age1nonsense"], "recipients", "missing", "'age1nonsense' is no public key"),
        ("nonsense", BOTH, "a key of those who copy", "missing", "no private key of age"),
        (HOLDER, BOTH, "a holder's private key", "too much", "could open every point"),
    ],
)
def test_what_is_wrong_with_the_recipients_is_named(
    monkeypatch: pytest.MonkeyPatch, password: object, recipients: list[str], name: str, state: str, said: str
) -> None:
    enter(monkeypatch, "backup_keys", password, recipients)
    found = wrong(Recipients("backup_keys"))
    assert found[name][0] == state
    assert said in found[name][1]


def test_sources_that_share_contents_need_a_key_to_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    enter(monkeypatch, "backup_keys", "", BOTH)
    state, said = wrong(Recipients("backup_keys"), "shop", "web")["a key of those who copy"]
    assert (state, "which shop, web needs" in said) == ("missing", True)


def test_the_key_that_opens_points_is_best_not_to_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_BACKUP_IDENTITY", raising=False)
    enter(monkeypatch, "backup_keys", "", BOTH)
    assert wrong(Identity("nowhere_to_be_found"), "backup_keys") == {}
    enter(monkeypatch, "backup_identity", SECOND)
    found = wrong(Identity("backup_identity"), "backup_keys")
    assert {name: state for name, (state, _) in found.items()} == {"a key where others work": "too much"}


@pytest.mark.parametrize(
    ("password", "said"), [(COPIER, "the key of no recipient"), ("a-word", "no private key of age")]
)
def test_a_key_that_opens_no_point_is_missing(monkeypatch: pytest.MonkeyPatch, password: object, said: str) -> None:
    enter(monkeypatch, "backup_keys", "", BOTH)
    enter(monkeypatch, "backup_identity", password)
    state, sentence = wrong(Identity("backup_identity"), "backup_keys")["a recipient's private key"]
    assert (state, said in sentence) == ("missing", True)
