"""Serves an app on a free port of this machine, as the sandbox does, for tests of what happens on the wire."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

from sandbox.faults import Connection
from tests.waiting import wait_until


@contextmanager
def served(app: ASGIApp) -> Iterator[str]:
    """Yield the address."""
    # A request that a fault holds up is given up.
    options = {"log_level": "critical", "lifespan": "off", "timeout_graceful_shutdown": 1}
    config = uvicorn.Config(app, host="127.0.0.1", port=0, http=Connection, **options)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until(lambda: server.started, "the server")
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()
