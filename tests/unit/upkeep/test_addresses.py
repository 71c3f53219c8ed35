"""No room takes an address that has room for credentials: it would tell them with every message."""

import json

import pytest

from platform_ops.common.connections import base_url
from platform_ops.common.errors import Invalid
from platform_ops.upkeep.check_steps import ROOMS
from platform_ops.upkeep.checks import System

SECRET = "glpat-0123456789abcdef"
WITH_ADDRESS = sorted(set(ROOMS) - {System.RECIPIENTS, System.IDENTITY})


class Connection:
    conn_id = "one"

    def __init__(self, host: str | None, port: int | None = None) -> None:
        self.host, self.port = host, port

    @property
    def extra_dejson(self) -> dict[str, object]:
        return {}


@pytest.mark.parametrize(
    ("host", "port", "address"),
    [
        ("https://gitlab.example.com/", None, "https://gitlab.example.com"),
        ("http://127.0.0.1:18001/jenkins", None, "http://127.0.0.1:18001/jenkins"),
        ("harbor.example.com", None, "https://harbor.example.com"),
        ("harbor.example.com", 8443, "https://harbor.example.com:8443"),
        ("http://[::1]:8080", None, "http://[::1]:8080"),
    ],
)
def test_an_address_is_taken_as_it_is(host: str, port: int | None, address: str) -> None:
    assert base_url(Connection(host, port)) == address


@pytest.mark.parametrize("host", [None, "", "/"])
def test_without_a_host_there_is_no_address(host: str | None) -> None:
    with pytest.raises(Invalid, match="Connection one has no host"):
        base_url(Connection(host))


@pytest.mark.parametrize("system", WITH_ADDRESS)
@pytest.mark.parametrize(
    "host",
    [
        f"https://oauth2:{SECRET}@system.example.com",
        f"https://{SECRET}@system.example.com/path",
        f"oauth2:{SECRET}@system.example.com",
        f"https:/oauth2:{SECRET}@system.example.com",
        f"https://system.example.com/?private_token={SECRET}",
        f"https://system.example.com#{SECRET}",
    ],
)
def test_no_room_takes_or_tells_credentials_in_a_host(
    monkeypatch: pytest.MonkeyPatch, system: System, host: str
) -> None:
    fields = {"conn_type": "generic", "host": host, "login": "reader", "password": "a-good-password"}
    monkeypatch.setenv("AIRFLOW_CONN_ONE", json.dumps(fields))
    with pytest.raises(Invalid, match="The host of connection one is more than an address") as refused:
        ROOMS[system]("one").check_permissions(("shop",))
    assert SECRET not in str(refused.value)
    assert ROOMS[system]("one").test_connection() == (False, str(refused.value))
