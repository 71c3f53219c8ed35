"""Run one server in the foreground, behind the fault layer: `python -m sandbox.serve gitlab --state .demo`.

With `--program PATH` the real server that the contract names runs behind it instead of a stand-in, with
`--upstream URL` any other that runs already.
"""

from __future__ import annotations

import argparse
import importlib
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import uvicorn
from starlette.types import ASGIApp

from sandbox import contract
from sandbox.faults import Connection, FaultLayer
from sandbox.forward import Forward
from sandbox.real import table
from sandbox.real.server import running


def stand_in(system: str, state: Path) -> ASGIApp:
    """Make a stand-in.

    :param system: its name in the contract.
    """
    environment = contract.read(state)
    module, variant = system, ""
    if module.startswith("kubernetes"):
        module, _, variant = module.partition("_")
    made = importlib.import_module(f"sandbox.stand_ins.{module}")
    folder = state / system
    folder.mkdir(exist_ok=True)
    app: ASGIApp = made.create_app(environment, folder, *([variant] if variant else []))
    return app


def real(system: str, state: Path, program: Path) -> AbstractContextManager[ASGIApp]:
    """Run the real server that the contract names for a system, and stand before it.

    :param program: its binary.
    """
    environment = contract.read(state)
    server = table.SERVERS[system][environment[table.variable(system)]]
    folder = state / system
    folder.mkdir(exist_ok=True)
    port = contract.base_port(environment) + contract.PORTS[f"{system}_server"]
    return running(server, program, folder, port, environment)


def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser()
    parser.add_argument("system", choices=[name for name in contract.PORTS if name not in ("airflow", "postgres")])
    parser.add_argument("--state", type=Path, required=True)
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--program", type=Path, help="binary of the real server to run and stand before")
    instead.add_argument("--upstream", help="base URL of the server to stand before")
    options = parser.parse_args()
    with ExitStack() as stack:
        if options.program:
            app = stack.enter_context(real(options.system, options.state, options.program))
        elif options.upstream:
            app = Forward(options.upstream)
        else:
            app = stand_in(options.system, options.state)
        _serve(FaultLayer(app), urlsplit(contract.read(options.state)[f"{options.system.upper()}_URL"]).port or 0)


def _serve(app: ASGIApp, port: int) -> None:
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", timeout_graceful_shutdown=1, http=Connection)


if __name__ == "__main__":
    main()
