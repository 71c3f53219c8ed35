"""Free ports for a sandbox of the tests."""

import socket

import pytest

from sandbox import contract


def free_base_port() -> int:
    """Return a base port whose ports are all free."""
    span = max(contract.PORTS.values()) + 1
    for base in range(30000, 60000, 50):
        if all(_is_free(base + offset) for offset in range(span)):
            return base
    pytest.fail("No eleven free ports in a row.")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
