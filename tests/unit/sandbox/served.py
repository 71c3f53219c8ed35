"""Serves an app on a free port of this machine, as the sandbox does, for tests of what happens on the wire."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

from sandbox.faults import Connection


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
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.005)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()
