"""Which real servers there are for a system, and which one a contract names."""

from __future__ import annotations

from collections.abc import Mapping

from sandbox.contract import STAND_IN
from sandbox.processes import SandboxError
from sandbox.real import minio, versitygw
from sandbox.real.age import AGE
from sandbox.real.server import Server

SERVERS: Mapping[str, Mapping[str, Server]] = {
    "object_store": {"minio": minio.SERVER, "versitygw": versitygw.SERVER},
}
"""The servers of each system by their names; the first is the one that a system's name alone means."""

PROGRAMS = (*(server.program for servers in SERVERS.values() for server in servers.values()), AGE)
"""All there is to build."""


def variable(system: str) -> str:
    """Return the name in the contract that says what plays a system."""
    return f"{system.upper()}_SERVER"


def asked(text: str) -> tuple[str, str]:
    """Read `system` or `system=server`.

    :raises SandboxError: there is no such server.
    """
    system, _, name = text.partition("=")
    servers = SERVERS.get(system, {})
    name = name or next(iter(servers), "")
    if name not in servers:
        known = ", ".join(f"{system}={name}" for system, servers in SERVERS.items() for name in servers)
        raise SandboxError(f"--real {text}: there is no such real server; known are {known}.")
    return system, name


def chosen(environment: Mapping[str, str], system: str) -> Server | None:
    """Return the real server that plays a system in a contract; None for its stand-in."""
    name = environment[variable(system)] if system in SERVERS else STAND_IN
    return None if name == STAND_IN else SERVERS[system][name]
