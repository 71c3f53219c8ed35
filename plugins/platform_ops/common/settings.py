"""Where the project's data lies and under which address people reach Airflow."""

from __future__ import annotations

import os
import site
import sys
from pathlib import Path
from urllib.parse import quote


def home() -> Path:
    """Return the project root: ``PLATFORM_OPS_HOME``, else the folder that holds ``plugins/``."""
    configured = os.environ.get("PLATFORM_OPS_HOME")
    return Path(configured) if configured else Path(__file__).resolve().parents[3]


def include() -> Path:
    """Return the folder of catalogues, schemas and templates."""
    return home() / "include"


def own_folders() -> tuple[Path, ...]:
    """Return where the code, the settings and the keys of Airflow and of the project lie."""
    import airflow
    from airflow.sdk import conf

    airflow_home = os.environ.get("AIRFLOW_HOME") or "~/airflow"
    named = (conf.get("core", name, fallback="") for name in ("dags_folder", "plugins_folder"))
    code = (Path(folder).parent for folder in airflow.__path__)
    texts = filter(None, (airflow_home, *named, sys.prefix, site.getusersitepackages(), "~/.ssh"))
    ours = (home() / name for name in ("config", "dags", "include", "plugins"))
    return tuple(folder.expanduser() for folder in (*map(Path, texts), *code, *ours))


def airflow_url() -> str:
    """Return the address people open Airflow at (``[api] base_url``)."""
    from airflow.sdk import conf

    return str(conf.get("api", "base_url", fallback="http://localhost:8080")).rstrip("/")


def run_page_url(dag_id: str, run_id: str) -> str:
    """Return the stable address of a run's page."""
    return f"{airflow_url()}/platform-ops/runs/{quote(dag_id, safe='')}/{quote(run_id, safe='')}"
