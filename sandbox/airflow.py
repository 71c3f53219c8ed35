"""Airflow in the sandbox: four processes on the embedded PostgreSQL, set so that kills show within seconds."""

from __future__ import annotations

import base64
import json
import secrets
import subprocess
import sys
import threading
from collections.abc import Mapping
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx

from platform_ops.common.fail_points import FOLDER
from sandbox import contract, fail_points, postgres, processes
from sandbox.processes import ROOT, Record, SandboxError

PYTHON = sys.executable
COMPONENTS = {
    "airflow-api-server": ("api-server",),
    # Their log servers would listen on every address of the machine; the API server reads the files itself.
    "airflow-scheduler": ("scheduler", "--skip-serve-logs"),
    "airflow-dag-processor": ("dag-processor",),
    "airflow-triggerer": ("triggerer", "--skip-serve-logs"),
}
HEALTH_OF = {
    "airflow-scheduler": "scheduler",
    "airflow-dag-processor": "dag_processor",
    "airflow-triggerer": "triggerer",
}
START_SECONDS = 180.0
MIGRATE_SECONDS = 300.0


def secret_values(state: Path) -> dict[str, str]:
    """Return what only Airflow's own processes and its database know, made at the first call."""
    path = state / "airflow" / "secrets.env"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        contract.write_file(
            path,
            {
                "AIRFLOW__API__SECRET_KEY": secrets.token_hex(32),
                "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(48),
                "AIRFLOW__CORE__FERNET_KEY": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
                "POSTGRES_PASSWORD": secrets.token_hex(16),
            },
        )
    return contract.read_file(path)


def dags_folder(home: Path) -> Path:
    """Return the DAGs of a home of its own, else the project's."""
    return home / "dags" if (home / "dags").is_dir() else ROOT / "dags"


def airflow_environment(environment: Mapping[str, str], state: Path, home: Path) -> dict[str, str]:
    """Return the environment of Airflow's processes; nothing of the caller's Airflow settings is in it.

    :param environment: the contract.
    :param home: PLATFORM_OPS_HOME.
    """
    own = secret_values(state)
    database = f"{postgres.USER}:{own.pop('POSTGRES_PASSWORD')}@127.0.0.1:{environment['POSTGRES_PORT']}"
    url = environment["AIRFLOW_URL"]
    settings = {
        "CORE__EXECUTOR": "LocalExecutor",
        "CORE__PARALLELISM": "8",
        "CORE__DAGS_FOLDER": str(dags_folder(home)),
        "CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "CORE__LOAD_EXAMPLES": "False",
        "CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        # The default looks this machine up in the DNS, which takes seconds where none answers.
        "CORE__HOSTNAME_CALLABLE": "socket.gethostname",
        "CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{user}:{role}" for user, role in contract.AIRFLOW_USERS.values()),
        "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(_passwords_file(state)),
        "API__HOST": "127.0.0.1",
        "API__PORT": str(httpx.URL(url).port),
        "API__WORKERS": "1",
        "API__BASE_URL": url,
        "DATABASE__SQL_ALCHEMY_CONN": f"postgresql+psycopg2://{database}/{postgres.DATABASE}",
        "DAG_PROCESSOR__REFRESH_INTERVAL": "10",
        "DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "10",
        "LOGGING__COLORED_CONSOLE_LOG": "False",
        # An eight-step DAG takes 2 to 3 s with these, 10 s without.
        "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.1",
        "WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
        # A killed task, scheduler or worker shows within seconds instead of minutes.
        "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "15",
        "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "2",
        "SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "5",
        "SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "10",
        "SCHEDULER__TRIGGER_TIMEOUT_CHECK_INTERVAL": "1",
    }
    return processes.clean_environment(
        {f"AIRFLOW__{name}": value for name, value in settings.items()}
        | own
        | {
            "AIRFLOW_HOME": str(state / "airflow"),
            "PLATFORM_OPS_HOME": str(home),
            "PLATFORM_OPS_POSTGRES_BIN": str(postgres.program_folder(state)),
            FOLDER: str(fail_points.folder(state)),
            "PYTHONPATH": processes.python_path(),
        }
    )


def _passwords_file(state: Path) -> Path:
    return state / "airflow" / "passwords.json"


def _write_passwords(environment: Mapping[str, str], state: Path) -> None:
    path = _passwords_file(state)
    path.touch(mode=0o600)
    path.write_text(
        json.dumps(
            {
                environment[f"AIRFLOW_{role}_USER"]: environment[f"AIRFLOW_{role}_PASSWORD"]
                for role in contract.AIRFLOW_USERS
            }
        )
    )


def _migrated(state: Path) -> Path:
    return state / "airflow" / f"migrated-{version('apache-airflow')}"


def forget_migration(state: Path) -> None:
    """Note that the database is new."""
    for mark in (state / "airflow").glob("migrated-*"):
        mark.unlink()


def migrate(variables: Mapping[str, str], state: Path) -> None:
    """Bring the database to the installed Airflow's schema, unless that has been done.

    :param variables: what `airflow_environment` returned.
    """
    mark = _migrated(state)
    if mark.exists():
        return
    log = state / "logs" / "airflow-migrate.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as output:
        try:
            done = subprocess.run(
                [PYTHON, "-m", "airflow", "db", "migrate"],
                env=dict(variables),
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=MIGRATE_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise SandboxError(f"`airflow db migrate` took more than {MIGRATE_SECONDS:.0f} s; see {log}.") from error
    if done.returncode:
        end = "\n".join(log.read_text(errors="replace").splitlines()[-processes.TAIL_LINES :])
        raise SandboxError(f"`airflow db migrate` failed. The end of {log}:\n{end}")
    forget_migration(state)
    mark.touch()


def start_component(name: str, environment: Mapping[str, str], variables: Mapping[str, str], state: Path) -> Record:
    """Start one of the four, unless it runs; it is not ready yet."""
    running = processes.running(state, name)
    if running:
        return running
    _write_passwords(environment, state)
    return processes.launch(state, name, [PYTHON, "-m", "airflow", *COMPONENTS[name]], variables)


def is_ready(record: Record, url: str) -> bool:
    """Tell whether a component works, by what Airflow itself says about it.

    A heartbeat counts only when it is younger than the process: the one before it left its own behind.
    """
    health = _answer(f"{url}/api/v2/monitor/health")
    if health is None or health["metadatabase"]["status"] != "healthy":
        return False
    part = HEALTH_OF.get(record.name)
    if part is None:
        return True
    beat = health[part].get(f"latest_{part}_heartbeat")
    return bool(beat and health[part]["status"] == "healthy" and datetime.fromisoformat(beat).timestamp() >= record.at)


def _answer(url: str) -> Any:
    """Return the JSON that a GET brings; None when there is none yet."""
    try:
        response = httpx.get(url, timeout=30, trust_env=False)
        return response.json() if response.status_code == httpx.codes.OK else None
    except (httpx.HTTPError, ValueError):
        return None


def wake_execution_api(url: str) -> None:
    """Ask the part of the API server that tasks talk to; it is imported at the first request, which takes seconds."""
    if _answer(f"{url}/execution/health") is None:
        raise SandboxError(f"{url}/execution/health does not answer, so no task could run; see airflow-api-server.log.")


def wait_until_ready(record: Record, url: str, abandoned: threading.Event | None = None) -> None:
    """Wait until a component works."""
    processes.wait_until(record, lambda: is_ready(record, url), START_SECONDS, abandoned)


def client(environment: Mapping[str, str], role: str = "ADMIN") -> httpx.Client:
    """Return a client of Airflow's REST API, logged in with one of the contract's accounts."""
    url = environment["AIRFLOW_URL"]
    account = {"username": environment[f"AIRFLOW_{role}_USER"], "password": environment[f"AIRFLOW_{role}_PASSWORD"]}
    response = httpx.post(f"{url}/auth/token", json=account, timeout=30, trust_env=False)
    if response.status_code != httpx.codes.CREATED:
        raise SandboxError(
            f"Airflow at {url} refused the account {account['username']} ({response.status_code} {response.text}); "
            "its API server may have been started by another state folder."
        )
    headers = {"Authorization": f"Bearer {response.json()['access_token']}"}
    return httpx.Client(base_url=url, headers=headers, timeout=30, trust_env=False)


def dag_files(folder: Path) -> dict[str, float]:
    """Return the DAG files, by their path below the folder, with the time of their last change."""
    files = (path for path in folder.rglob("*.py") if path.name != "__init__.py")
    return {str(path.relative_to(folder)): path.stat().st_mtime for path in files}


def wait_for_dags(api: httpx.Client, folder: Path, processor: Record, abandoned: threading.Event | None = None) -> int:
    """Wait until Airflow knows every DAG file as it is now; return how many DAGs there are.

    :param processor: the DAG processor.
    :raises SandboxError: a file can't be imported.
    """
    known: list[dict[str, Any]] = []

    def complete() -> bool:
        files = dag_files(folder)
        broken = _listed(api, "/api/v2/importErrors", "import_errors")
        # Errors of a file that has been repaired or removed meanwhile stay until the processor comes by again.
        fresh = [
            error
            for error in broken
            if error["filename"] in files and _epoch(error["timestamp"]) >= max(processor.at, files[error["filename"]])
        ]
        if fresh:
            stories = "\n".join(f"{error['filename']}:\n{error['stack_trace']}" for error in fresh)
            raise SandboxError(f"Airflow can't import these files of {folder}:\n{stories}")
        known[:] = _listed(api, "/api/v2/dags", "dags")
        parsed = {dag["relative_fileloc"]: _epoch(dag["last_parsed_time"]) for dag in known}
        return not broken and all(parsed.get(name, 0.0) >= changed for name, changed in files.items())

    processes.wait_until(processor, complete, START_SECONDS, abandoned)
    return len(known)


def _epoch(moment: str | None) -> float:
    return datetime.fromisoformat(moment).timestamp() if moment else 0.0


def _listed(api: httpx.Client, path: str, key: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while True:
        response = api.get(path, params={"limit": 100, "offset": len(found)})
        if response.status_code != httpx.codes.OK:
            raise SandboxError(f"Airflow answered GET {path} with {response.status_code}: {response.text[:500]}")
        page = response.json()
        found += page[key]
        if not page[key] or len(found) >= page["total_entries"]:
            return found
