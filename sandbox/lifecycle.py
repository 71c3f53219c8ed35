"""What `up`, `down`, `status`, `start` and `stop` do."""

from __future__ import annotations

import importlib
import shutil
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from sandbox import airflow, connections, contract, fail_points, postgres, processes
from sandbox.processes import ROOT, AbandonedError, Record, SandboxError
from sandbox.real import programs, table

PORT_OF = {"airflow": "airflow-api-server", "object_store_server": "object_store"}
"""Who listens on a port that bears another name."""

STAND_INS = tuple(name for name in contract.PORTS if name not in PORT_OF and name != postgres.NAME)
"""What stands before the outside world's addresses; real servers run behind it."""

SYSTEMS = (postgres.NAME, *STAND_INS, *airflow.COMPONENTS)
"""Every server's name, in the order of starting."""

DEFAULT_BASE_PORT = 18000
STAND_IN_SECONDS = 90.0
STOP_SECONDS = 10.0
MARK = "this-is-a-platform-ops-sandbox"
"""A file of this name makes a folder a state folder; without it nothing is ever removed."""

ONE_HOST = "the key that makes backups and the one that opens them are both on this host; in production keep them apart"


@dataclass(frozen=True, slots=True)
class _Run:
    """One start: what it starts, and since when."""

    state: Path
    environment: Mapping[str, str]
    home: Path
    abandoned: threading.Event = field(default_factory=threading.Event)
    began: float = field(default_factory=time.monotonic)

    def tell(self, what: str) -> None:
        print(f"{time.monotonic() - self.began:6.1f} s  {what}", flush=True)

    def port(self, name: str) -> int:
        return contract.base_port(self.environment) + contract.PORTS[name]

    @property
    def airflow_url(self) -> str:
        return self.environment["AIRFLOW_URL"]

    def airflow_variables(self) -> dict[str, str]:
        return airflow.airflow_environment(self.environment, self.state, self.home)


def expand(system: str) -> tuple[str, ...]:
    """Return the servers a name on the command line means."""
    return tuple(airflow.COMPONENTS) if system == "airflow" else (system,)


def up(
    state: Path,
    base_port: int | None = None,
    home: Path | None = None,
    real: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Start what does not run yet, and wait until everything works.

    :param base_port: by default what the state folder has, else 18000.
    :param home: PLATFORM_OPS_HOME of Airflow and the seed; by default what the state folder has, else the project.
    :param real: the real server for each system that shall have one; by default what the state folder has.

    :raises SandboxError: a port is taken, a server died or took too long, a DAG file can't be imported.
    """
    _claim(state)
    with processes.alone(state):
        run = _run(state, _contract(state, base_port, home, real))
        for server in filter(None, (table.chosen(run.environment, system) for system in table.SERVERS)):
            programs.get(server.program, run.tell)
        _clear_dead(run)
        _require_free_ports(run, SYSTEMS)
        contract.write(state, run.environment)
        fail_points.folder(state).mkdir(exist_ok=True)
        _start_everything(run)
        run.tell(f"everything is up: {run.airflow_url}, accounts and addresses in {state / 'env'}")
        run.tell(ONE_HOST)


def _claim(state: Path) -> None:
    """Take an empty or new folder, or one that is a state folder: `down --purge` will remove it."""
    if state.exists() and not (state / MARK).is_file() and any(state.iterdir()):
        raise SandboxError(f"{state} holds other things than a sandbox; name an empty or new folder with --state.")
    state.mkdir(parents=True, exist_ok=True)
    (state / MARK).touch()


def _contract(
    state: Path, base_port: int | None, home: Path | None, real: Mapping[str, str] = MappingProxyType({})
) -> dict[str, str]:
    known = contract.read(state) if (state / "env").exists() else {}
    base = base_port or (contract.base_port(known) if known else DEFAULT_BASE_PORT)
    if not 1024 <= base <= 65_000:
        raise SandboxError(f"--base-port {base}: choose one from 1024 to 65000.")
    if known and contract.base_port(known) != base:
        raise SandboxError(
            f"{state} was made for base port {contract.base_port(known)}, and its data hold those addresses. "
            f"Leave --base-port out, choose another folder with --state, or remove this one with `down --purge`."
        )
    old_home = known.get("PLATFORM_OPS_HOME", str(ROOT))
    new_home = str(home.resolve()) if home else old_home
    if not (Path(new_home) / "include").is_dir():
        raise SandboxError(f"{new_home} can't be PLATFORM_OPS_HOME: it has no folder include/. Name one with --home.")
    if new_home != old_home and any(processes.running(state, name) for name in airflow.COMPONENTS):
        raise SandboxError(f"Airflow runs with --home {old_home}; stop it with `down` before it gets another.")
    players = {table.variable(system): server for system, server in real.items()}
    for name in players.keys() & known:
        if players[name] != known[name]:
            raise SandboxError(
                f"{name} of {state} is {known[name]}, and its data hold what was stored there. Leave --real out, "
                "choose another folder with --state, or remove this one with `down --purge`."
            )
    return contract.new_environment(base) | known | players | {"PLATFORM_OPS_HOME": new_home}


def _clear_dead(run: _Run) -> None:
    """Stop what a server left behind when it died by itself."""
    for name in SYSTEMS:
        record = processes.recorded(run.state, name)
        if record and not processes.alive(record):
            run.tell(f"{name} had ended by itself and is started again; its output is in {record.log}")
            processes.stop(run.state, [name], STOP_SECONDS)


def _require_free_ports(run: _Run, systems: Iterable[str]) -> None:
    absent = {name for name in systems if not processes.running(run.state, name)}
    busy = [
        f"  {run.port(name)}, which {name} needs"
        for name in contract.PORTS
        if PORT_OF.get(name, name) in absent and not processes.is_free(run.port(name))
    ]
    if busy:
        raise SandboxError(
            "These ports of 127.0.0.1 are in use:\n" + "\n".join(busy) + "\n"
            "Nothing was started. End what listens there, or choose other ports with --base-port N (and, for a folder "
            "that has been used, another --state)."
        )


def _start_everything(run: _Run) -> None:
    """Start side by side what does not need each other; Airflow's chain is the longest, so it comes first."""
    with ThreadPoolExecutor(max_workers=len(SYSTEMS) + 8) as pool:
        database = pool.submit(_start_postgres, run)
        records = pool.submit(_start_airflow, run, database)
        stand_ins = [pool.submit(_start_stand_in, run, name) for name in STAND_INS]
        jobs: list[Future[None]] = [
            pool.submit(_seed, run, stand_ins),
            pool.submit(_fill_airflow, run, records),
            *(pool.submit(_await_component, run, name, records) for name in airflow.COMPONENTS),
        ]
        try:
            _finish([database, records, *stand_ins, *jobs])
        finally:
            # After an error, or Ctrl-C, nobody needs what the other threads are waiting for.
            run.abandoned.set()


def _finish(jobs: Sequence[Future[Any]]) -> None:
    """Wait for all; raise the first error as soon as there is one."""
    done, _ = wait(jobs, return_when=FIRST_EXCEPTION)
    errors = [error for error in (job.exception() for job in done) if error]
    for error in sorted(errors, key=lambda error: isinstance(error, AbandonedError)):
        raise error


def _start_postgres(run: _Run) -> Record:
    ran = processes.running(run.state, postgres.NAME)
    password = airflow.secret_values(run.state)["POSTGRES_PASSWORD"]
    record = postgres.start(
        run.state,
        run.port("postgres"),
        password,
        reader_password=run.environment["POSTGRES_BACKUP_PASSWORD"],
        on_new=lambda: airflow.forget_migration(run.state),
        abandoned=run.abandoned,
    )
    run.tell(f"postgres {'runs' if ran else 'ready'}")
    return record


def _start_stand_in(run: _Run, name: str) -> Record:
    record = ran = processes.running(run.state, name)
    if record is None:
        command = [airflow.PYTHON, "-m", "sandbox.serve", name, "--state", str(run.state)]
        if server := table.chosen(run.environment, name):
            command += ["--program", str(programs.get(server.program, run.tell))]
        variables = processes.clean_environment({"PYTHONPATH": processes.python_path()})
        record = processes.launch(run.state, name, command, variables)
    port = run.port(name)
    processes.wait_until(record, lambda: processes.answers(port), STAND_IN_SECONDS, run.abandoned)
    run.tell(f"{name} {'runs' if ran else 'ready'}")
    return record


def _start_airflow(run: _Run, database: Future[Record]) -> dict[str, Record]:
    database.result()
    variables = run.airflow_variables()
    airflow.migrate(variables, run.state)
    run.tell("airflow database ready")
    return {name: airflow.start_component(name, run.environment, variables, run.state) for name in airflow.COMPONENTS}


def _await_component(run: _Run, name: str, records: Future[dict[str, Record]]) -> None:
    _await_ready(run, records.result()[name])


def _await_ready(run: _Run, record: Record) -> None:
    airflow.wait_until_ready(record, run.airflow_url, run.abandoned)
    if record.name == "airflow-api-server":
        airflow.wake_execution_api(run.airflow_url)
    run.tell(f"{record.name} ready")


def _fill_airflow(run: _Run, records: Future[dict[str, Record]]) -> None:
    started = records.result()
    airflow.wait_until_ready(started["airflow-api-server"], run.airflow_url, run.abandoned)
    with airflow.client(run.environment) as api:
        connections.apply(api, run.environment)
        run.tell("airflow connections and pools written")
        folder = airflow.dags_folder(run.home)
        count = airflow.wait_for_dags(api, folder, started["airflow-dag-processor"], run.abandoned)
    run.tell(f"airflow knows {count} DAG{'' if count == 1 else 's'}")


def _seed(run: _Run, stand_ins: list[Future[Record]]) -> None:
    for stand_in in stand_ins:
        stand_in.result()
    importlib.import_module("sandbox.seed").seed(run.environment, run.home)
    run.tell("sample world ready")


def _existing(state: Path) -> _Run:
    if not (state / "env").exists():
        raise SandboxError(f"{state} is no sandbox's state folder; `python -m sandbox up` makes one.")
    return _run(state, contract.read(state))


def _run(state: Path, environment: Mapping[str, str]) -> _Run:
    return _Run(state, environment, Path(environment["PLATFORM_OPS_HOME"]))


def start(state: Path, system: str) -> None:
    """Start one server of a state folder again and wait until it works."""
    run = _existing(state)
    with processes.alone(state):
        processes.stop(state, [name for name in expand(system) if not processes.running(state, name)], STOP_SECONDS)
        _require_free_ports(run, expand(system))
        if system == postgres.NAME:
            _start_postgres(run)
        elif system in STAND_INS:
            _start_stand_in(run, system)
        else:
            variables = run.airflow_variables()
            started = [airflow.start_component(name, run.environment, variables, state) for name in expand(system)]
            for record in started:
                _await_ready(run, record)


def stop(state: Path, system: str) -> None:
    """Stop one server of a state folder."""
    run = _existing(state)
    with processes.alone(state):
        stopped = processes.stop(state, expand(system), STOP_SECONDS)
    run.tell(f"{', '.join(stopped)} stopped" if stopped else f"{system} did not run")


def status(state: Path) -> bool:
    """Print what runs; return whether that is everything."""
    run = _existing(state)
    complete = True
    for name in SYSTEMS:
        record = processes.recorded(state, name)
        runs = record is not None and processes.alive(record)
        complete &= runs
        told = f"runs, pid {record.pid}" if record and runs else f"ended by itself, see {record.log}" if record else "-"
        port = next((run.port(key) for key in contract.PORTS if PORT_OF.get(key, key) == name), None)
        print(f"{name:<22} {port or '':<6} {told}")
    return complete


def down(state: Path, *, purge: bool) -> None:
    """Stop everything of a state folder, Airflow first and its database last.

    :param purge: remove the folder too.
    """
    if not (state / MARK).is_file():
        print(f"{state} is no sandbox's state folder; nothing to stop.")
        return
    began = time.monotonic()
    with processes.alone(state):
        stopped = [
            name
            for group in (airflow.COMPONENTS, STAND_INS, [postgres.NAME])
            for name in processes.stop(state, group, STOP_SECONDS)
        ]
        if purge:
            postgres.remove_outside(state)
            shutil.rmtree(state)
        else:
            postgres.come_home(state)
    print(f"{len(stopped)} servers stopped in {time.monotonic() - began:.1f} s{'; state removed' if purge else ''}")
