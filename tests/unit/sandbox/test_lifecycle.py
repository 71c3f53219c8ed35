"""What `up` and `down` refuse, and what Airflow is told."""

import json
from pathlib import Path

import pytest

from sandbox import airflow, contract, lifecycle, processes
from sandbox.processes import ROOT, SandboxError


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state folder that has been used and is stopped."""
    folder = tmp_path / "a state"
    folder.mkdir()
    (folder / lifecycle.MARK).touch()
    contract.write(folder, contract.new_environment(21000) | {"PLATFORM_OPS_HOME": str(ROOT)})
    return folder


def test_credentials_survive_the_next_start(state: Path) -> None:
    assert lifecycle._contract(state, None, None) == contract.read(state)
    assert lifecycle._contract(state, 21000, ROOT) == contract.read(state)


def test_names_that_an_older_contract_lacks_are_added(state: Path) -> None:
    environment = contract.read(state)
    del environment["JENKINS_TOKEN"]
    contract.write(state, environment)
    added = lifecycle._contract(state, None, None)
    assert added.items() >= environment.items()
    assert added["JENKINS_TOKEN"]


def test_a_used_folder_keeps_its_ports(state: Path) -> None:
    with pytest.raises(SandboxError, match=r"made for base port 21000.*--purge"):
        lifecycle._contract(state, 23000, None)


def test_a_used_folder_keeps_its_servers(state: Path) -> None:
    with pytest.raises(SandboxError, match=r"OBJECT_STORE_SERVER of .* is stand-in.*--purge"):
        lifecycle._contract(state, None, None, {"object_store": "minio"})
    contract.write(state, contract.read(state) | {"OBJECT_STORE_SERVER": "minio"})
    assert lifecycle._contract(state, None, None)["OBJECT_STORE_SERVER"] == "minio"
    assert lifecycle._contract(state, None, None, {"object_store": "minio"})["OBJECT_STORE_SERVER"] == "minio"


def test_a_server_that_can_not_be_built_is_told_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(lifecycle, "_start_everything", lambda run: pytest.fail("started"))
    with pytest.raises(SandboxError, match="there is no `go`"):
        lifecycle.up(tmp_path / "state", 21000, real={"object_store": "minio"})
    assert not (tmp_path / "state" / "env").exists()


def test_a_home_without_include_is_refused(state: Path, tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match="has no folder include/"):
        lifecycle._contract(state, None, tmp_path)


@pytest.mark.parametrize("port", [80, 65530])
def test_ports_that_can_not_be_had_are_refused(tmp_path: Path, port: int) -> None:
    with pytest.raises(SandboxError, match="from 1024 to 65000"):
        lifecycle._contract(tmp_path, port, None)


def test_the_contract_is_for_its_owner_only(state: Path) -> None:
    assert (state / "env").stat().st_mode & 0o777 == 0o600


def test_up_takes_no_folder_with_other_things_in_it(tmp_path: Path) -> None:
    (tmp_path / "thesis.odt").touch()
    with pytest.raises(SandboxError, match="holds other things"):
        lifecycle.up(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.odt"]


def test_purge_removes_nothing_but_a_state_folder(tmp_path: Path, state: Path) -> None:
    (tmp_path / "run").mkdir()
    lifecycle.down(tmp_path, purge=True)
    assert (tmp_path / "run").exists()
    lifecycle.down(state, purge=True)
    assert not state.exists()


def test_every_busy_port_is_named_before_anything_starts(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "is_free", lambda port: port not in (21000, 21003, 21010))
    monkeypatch.setattr(lifecycle, "_start_everything", lambda run: pytest.fail("started"))
    with pytest.raises(SandboxError) as caught:
        lifecycle.up(state)
    for line in ("21000, which airflow needs", "21003, which harbor needs", "21010, which postgres needs"):
        assert line in str(caught.value)
    assert "--base-port" in str(caught.value)


def test_up_says_that_both_keys_of_backups_are_on_this_host(
    state: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(processes, "is_free", lambda port: True)
    monkeypatch.setattr(lifecycle, "_start_everything", lambda run: None)
    lifecycle.up(state)
    assert lifecycle.ONE_HOST in capsys.readouterr().out


def test_every_port_belongs_to_a_server() -> None:
    assert {lifecycle.PORT_OF.get(name, name) for name in contract.PORTS} <= set(lifecycle.SYSTEMS)


def test_airflow_is_told_the_projects_settings_only(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor")
    monkeypatch.setenv("AIRFLOW__CORE__UNIT_TEST_MODE", "True")
    variables = airflow.airflow_environment(contract.read(state), state, ROOT)
    assert variables["AIRFLOW__CORE__EXECUTOR"] == "LocalExecutor"
    assert "AIRFLOW__CORE__UNIT_TEST_MODE" not in variables
    assert "POSTGRES_PASSWORD" not in variables
    assert variables["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"].endswith("@127.0.0.1:21010/airflow")
    assert variables["PYTHONPATH"].split(":") == [str(ROOT / "plugins"), str(ROOT / "config"), str(ROOT)]
    assert variables == airflow.airflow_environment(contract.read(state), state, ROOT)


def test_airflows_accounts_have_the_contracts_passwords(state: Path) -> None:
    environment = contract.read(state)
    (state / "airflow").mkdir()
    airflow._write_passwords(environment, state)
    passwords = json.loads((state / "airflow" / "passwords.json").read_text())
    assert passwords["paula"] == environment["AIRFLOW_APPROVER_PASSWORD"]
    assert set(passwords) == {user for user, _ in contract.AIRFLOW_USERS.values()}
