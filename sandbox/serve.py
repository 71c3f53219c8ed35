"""Run one stand-in in the foreground: `python -m sandbox.serve gitlab --state .demo`."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path
from urllib.parse import urlsplit

import uvicorn

from sandbox import contract


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("system", choices=[name for name in contract.PORTS if name not in ("airflow", "postgres")])
    parser.add_argument("--state", type=Path, required=True)
    options = parser.parse_args()
    environment = contract.read(options.state)
    module, variant = options.system, ""
    if module.startswith("kubernetes"):
        module, _, variant = module.partition("_")
    stand_in = importlib.import_module(f"sandbox.stand_ins.{module}")
    folder = options.state / options.system
    folder.mkdir(exist_ok=True)
    app = stand_in.create_app(environment, folder, variant) if variant else stand_in.create_app(environment, folder)
    # The fault layer will wrap `app` here.
    port = urlsplit(environment[f"{options.system.upper()}_URL"]).port or 0
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", timeout_graceful_shutdown=1)


if __name__ == "__main__":
    main()
