"""Run one server in the foreground, behind the fault layer: `python -m sandbox.serve gitlab --state .demo`.

With `--upstream URL` the layer stands before a server that is not ours instead of a stand-in.
"""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path
from urllib.parse import urlsplit

import uvicorn
from starlette.types import ASGIApp

from sandbox import contract
from sandbox.faults import Connection, FaultLayer
from sandbox.forward import Forward


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


def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser()
    parser.add_argument("system", choices=[name for name in contract.PORTS if name not in ("airflow", "postgres")])
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--upstream", help="base URL of the server to stand before")
    options = parser.parse_args()
    app = Forward(options.upstream) if options.upstream else stand_in(options.system, options.state)
    port = urlsplit(contract.read(options.state)[f"{options.system.upper()}_URL"]).port or 0
    uvicorn.run(
        FaultLayer(app), host="127.0.0.1", port=port, log_level="warning", timeout_graceful_shutdown=1, http=Connection
    )


if __name__ == "__main__":
    main()
