"""GitLab's side of the room's tests: answers by method and path, without a network."""

from __future__ import annotations

import json

import pytest
import requests  # noqa: TID253 - the transport is what these tests stub
from requests.adapters import BaseAdapter  # noqa: TID253
from requests.structures import CaseInsensitiveDict  # noqa: TID253

from platform_ops.systems.gitlab.hook import GitLabHook

TOKEN = "glpat-of-the-tests"


class Answers(BaseAdapter):
    """Answers by method and path; keeps what was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.given: dict[str, list] = {}
        self.asked: list[requests.PreparedRequest] = []

    def give(self, call, status=200, body=None, *, headers=None, raw=None):
        content = raw if raw is not None else json.dumps(body).encode()
        self.given.setdefault(call, []).append(
            (status, content, {"Content-Type": "application/json", **(headers or {})})
        )

    def send(self, request, **_):
        self.asked.append(request)
        answers = self.given[f"{request.method} {request.path_url}"]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer[1], Exception):
            raise answer[1]
        response = requests.Response()
        response.status_code, response._content, headers = answer
        response.headers = CaseInsensitiveDict(headers)
        response.request, response.url = request, request.url
        return response

    def close(self):
        pass

    def calls(self):
        return [f"{one.method} {one.path_url}" for one in self.asked]


@pytest.fixture
def answers():
    return Answers()


@pytest.fixture
def hook(monkeypatch, answers):
    connection = {"conn_type": "gitlab", "host": "http://gitlab.test", "password": TOKEN}
    monkeypatch.setenv("AIRFLOW_CONN_GITLAB_DEFAULT", json.dumps(connection))
    session = requests.Session()
    session.mount("http://gitlab.test", answers)
    return GitLabHook(session=session)
