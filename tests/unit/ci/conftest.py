"""An Airflow of scripted answers, and a machine that has nothing but what the script may use."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.ci_snippets import SHELLS, Machine

COMMIT = "4f1d2c9a7be3508fd6a1c0e2b94837f5a6d0c1e8"
RUN = "release__storefront__dev__4f1d2c9a7be3"
PASSWORD = 'pass"w\\ord $HOME é\t%s'


def packed(value: Any) -> str:
    """Return JSON as Airflow writes it."""
    return json.dumps(value, separators=(",", ":"))


HANG_UP = (0, "")
STARTED = (200, packed({"dag_run_id": RUN, "state": "queued"}))


def status(**lines: str) -> tuple[int, str]:
    return 200, "".join(f"{key}: {value}\n" for key, value in {"state": "success", **lines}.items())


RUNNING = status(state="running", summary="running: build_image. 1 of 10 steps are behind it.")
RELEASED = status(page="http://page.example.com", verdict="released", summary="All well.", evidence_sha256="e3b0c442")


@dataclass
class Airflow:
    """Gives the answers of each list in turn, the last of it again and again; tokens are ``token-1``, ``token-2``, ….

    :param url: where it listens.
    """

    url: str = ""
    login: list[tuple[int, str]] = field(default_factory=list)
    start: list[tuple[int, str]] = field(default_factory=lambda: [STARTED])
    status: list[tuple[int, str]] = field(default_factory=lambda: [RELEASED])
    requests: list[tuple[str, str, Any]] = field(default_factory=list)

    def asked(self, kind: str) -> list[tuple[str, Any]]:
        """Return the authorization and the body of each request of a kind."""
        return [(authorization, body) for name, authorization, body in self.requests if name == kind]

    def answer(self, path: str, authorization: str, body: Any) -> tuple[int, str]:
        kinds = {
            "/auth/token": "login",
            "/api/v2/dags/release_service/dagRuns": "start",
            f"/platform-ops/runs/release_service/{RUN}/status": "status",
        }
        kind = kinds.get(path, path)
        self.requests.append((kind, authorization, body))
        answers = getattr(self, kind, [(404, packed({"detail": "Not Found"}))])
        if not answers:
            return 201, packed({"access_token": f"token-{len(self.asked('login'))}"})
        return answers.pop(0) if len(answers) > 1 else answers[0]


@pytest.fixture
def airflow() -> Iterator[Airflow]:
    told = Airflow()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            code, text = told.answer(self.path, self.headers.get("Authorization", ""), json.loads(body or b"null"))
            if (code, text) == HANG_UP:
                self.close_connection = True
                return
            self.send_response(code)
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        def do_GET(self) -> None:
            self.do_POST()

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    told.url = f"http://127.0.0.1:{server.server_port}"
    yield told
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def machine(tmp_path: Path, airflow: Airflow) -> Machine:
    return make_machine(tmp_path, airflow, "gitlab", "sh")


def make_machine(tmp_path: Path, airflow: Airflow, system: str, shell: str) -> Machine:
    variables = {
        "AIRFLOW_URL": airflow.url,
        "AIRFLOW_USER": "ci",
        "AIRFLOW_PASSWORD": PASSWORD,
        "RELEASE_SERVICE": "storefront",
        "RELEASE_ENVIRONMENT": "dev",
        "CI_COMMIT_SHA" if system == "gitlab" else "GIT_COMMIT": COMMIT,
    }
    return Machine.make(tmp_path / "machine", system, shell, variables)


@pytest.fixture(params=[(system, shell) for system in ("gitlab", "jenkins") for shell in SHELLS], ids="-".join)
def any_machine(request: pytest.FixtureRequest, tmp_path: Path, airflow: Airflow) -> Machine:
    return make_machine(tmp_path, airflow, *request.param)
