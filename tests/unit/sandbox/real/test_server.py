"""How a real server runs behind the proxy: by one that is a script here."""

import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from sandbox import accounts, contract, effects
from sandbox.processes import ROOT, SandboxError
from sandbox.real import minio, table, versitygw
from tests.ports import free_base_port
from tests.waiting import wait_until


@pytest.fixture
def environment() -> dict[str, str]:
    return contract.new_environment(21000)


def test_a_systems_name_alone_means_its_first_server() -> None:
    assert table.asked("object_store") == ("object_store", "minio")
    assert table.asked("object_store=versitygw") == ("object_store", "versitygw")


@pytest.mark.parametrize("text", ["", "gitlab", "object_store=moto", "=minio"])
def test_what_there_is_no_server_for_is_refused_with_what_there_is(text: str) -> None:
    with pytest.raises(SandboxError, match="known are object_store=minio, object_store=versitygw"):
        table.asked(text)


def test_a_contract_names_who_plays_a_system(environment: dict[str, str]) -> None:
    assert table.chosen(environment, "object_store") is None
    assert table.chosen(environment, "gitlab") is None
    assert table.chosen(environment | {"OBJECT_STORE_SERVER": "minio"}, "object_store") is minio.SERVER


@pytest.mark.parametrize("server", [minio.SERVER, versitygw.SERVER])
def test_no_secret_is_on_a_command_line(server, environment: dict[str, str], tmp_path: Path) -> None:
    launch = server.launch(Path("/bin/x"), tmp_path, 21009, environment)
    assert environment["OBJECT_STORE_SECRET_KEY"] in launch.variables.values()
    assert not any(environment["OBJECT_STORE_SECRET_KEY"] in word for word in launch.command)
    assert "127.0.0.1:21009" in launch.command
    assert all(str(tmp_path) in word for word in launch.command if word.startswith("/") and word != "/bin/x")


def test_no_account_of_backups_may_lose_a_version(environment: dict[str, str]) -> None:
    for account in accounts.accounts(environment):
        denied = [one for one in account.policy() if one["Effect"] == "Deny"]
        assert [one["Action"] for one in denied] == [["s3:DeleteObjectVersion"]]
        assert denied[0]["Resource"] == ["arn:aws:s3:::backups/*"]


@pytest.mark.parametrize(
    ("method", "path", "query", "kind"),
    [
        ("PUT", "/evidence", "", "buckets"),
        ("DELETE", "/evidence", "", "buckets deleted"),
        ("PUT", "/evidence", "versioning=", None),
        ("PUT", "/evidence/a/b", "", "objects"),
        ("DELETE", "/evidence/a", "versionId=x", "objects deleted"),
        ("POST", "/evidence/a", "uploads=", None),
        ("PUT", "/evidence/a", "partNumber=1&uploadId=x", None),
        ("POST", "/evidence/a", "uploadId=x", "objects"),
        ("DELETE", "/evidence/a", "uploadId=x", None),
        ("GET", "/evidence/a", "", None),
        ("PUT", "/minio/admin/v3/add-user", "accessKey=a", None),
    ],
)
def test_what_happens_at_an_object_store(method: str, path: str, query: str, kind: str | None) -> None:
    assert effects.stored(method, path, query) == kind


FAKE = """#!{python}
import http.server, os, sys
print("started with", os.environ["MINIO_ROOT_USER"], flush=True)
if os.path.exists("broken"):
    sys.exit("the disk is full")

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        length = int(self.headers.get("Content-Length") or 0)
        self.rfile.read(length)
        self.send_response(404 if self.path == "/missing" else 200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")
        if self.path == "/die":
            self.wfile.flush()
            os._exit(3)

    do_PUT = do_GET

host, _, port = sys.argv[sys.argv.index("--address") + 1].partition(":")
http.server.ThreadingHTTPServer((host, int(port)), Handler).serve_forever()
"""


class Served:
    """`python -m sandbox.serve` with a fake MinIO behind it."""

    def __init__(self, folder: Path) -> None:
        self.state = folder / "state"
        (self.state / "object_store").mkdir(parents=True)
        self.environment = contract.new_environment(free_base_port()) | {"OBJECT_STORE_SERVER": "minio"}
        contract.write(self.state, self.environment)
        self.program = folder / "minio"
        self.program.write_text(FAKE.format(python=sys.executable))
        self.program.chmod(0o755)
        self.url = self.environment["OBJECT_STORE_URL"]
        self.direct = f"http://127.0.0.1:{contract.base_port(self.environment) + contract.PORTS['object_store_server']}"
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "sandbox.serve", "object_store", "--state", self.state]
        self.process = subprocess.Popen(
            [*command, "--program", self.program], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        return self.process

    def answers(self, url: str) -> bool:
        try:
            return httpx.get(url, trust_env=False).is_success
        except httpx.TransportError:
            return False

    def effects(self) -> dict[str, int]:
        return dict(httpx.get(f"{self.url}/_sandbox/state", trust_env=False).json()["effects"])


@pytest.fixture
def served(tmp_path: Path):
    made = Served(tmp_path)
    yield made
    if made.process:
        made.process.terminate()
        made.process.communicate()


def test_it_answers_at_the_contracts_address_and_ends_with_the_proxy(served: Served) -> None:
    proxy = served.start()
    wait_until(lambda: served.answers(served.url), "the proxy")
    assert served.answers(served.direct)
    httpx.put(f"{served.url}/evidence/a", content=b"{}", trust_env=False)
    httpx.put(f"{served.url}/missing", content=b"{}", trust_env=False)
    assert served.effects() == {"objects": 1}
    proxy.terminate()
    output, _ = proxy.communicate(timeout=30)
    assert f"started with {served.environment['OBJECT_STORE_ACCESS_KEY']}" in output
    assert not served.answers(served.direct)
    served.start()
    wait_until(lambda: served.answers(served.url), "the proxy")
    assert served.effects() == {"objects": 1}


def test_a_proxy_whose_server_dies_ends_too(served: Served) -> None:
    proxy = served.start()
    wait_until(lambda: served.answers(served.url), "the proxy")
    httpx.get(f"{served.url}/die", trust_env=False)
    assert "minio ended with 3" in proxy.communicate(timeout=30)[0]


def test_a_server_that_does_not_start_tells_why(served: Served) -> None:
    (served.state / "object_store" / "broken").touch()
    proxy = served.start()
    output, _ = proxy.communicate(timeout=30)
    assert proxy.returncode != 0
    assert "the disk is full" in output
    assert "minio ended with 1 while it started" in output
