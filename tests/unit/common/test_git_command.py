import base64

import pytest

from platform_ops.common.errors import AuthenticationFailed, NotFound, Unreachable
from platform_ops.common.git_command import GitFailed, PushRejected, _classify, git_environment


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("fatal: Authentication failed for 'http://x/'", AuthenticationFailed),
        ("error: RPC failed; The requested URL returned error: 403", AuthenticationFailed),
        ("remote: The project you were looking for could not be found.\nfatal: repository 'x' not found", NotFound),
        ("fatal: remote error: upload-pack: not our ref 111", NotFound),
        ("!\tabc:refs/heads/main\t[rejected] (fetch first)", PushRejected),
        ("!\tabc:refs/heads/main\t[remote rejected] (cannot lock ref)", PushRejected),
        ("fatal: unable to access 'x': Failed to connect to 127.0.0.1 port 1", Unreachable),
        ("fatal: the remote end hung up unexpectedly", Unreachable),
        ("fatal: The requested URL returned error: 502", Unreachable),
        ("fatal: something new", GitFailed),
        ("", GitFailed),
    ],
)
def test_gits_words_become_our_errors(said: str, kind: type[Exception]) -> None:
    error = _classify("fetch", "https://git.example.com/shop", said)
    assert type(error) is kind
    assert "https://git.example.com/shop" in str(error)


def test_the_credential_travels_as_a_header_in_the_environment() -> None:
    environment = git_environment(credentials=("oauth2", "secret-token-123"))
    header = base64.b64encode(b"oauth2:secret-token-123").decode()
    pairs = {
        environment[f"GIT_CONFIG_KEY_{n}"]: environment[f"GIT_CONFIG_VALUE_{n}"]
        for n in range(99)
        if f"GIT_CONFIG_KEY_{n}" in environment
    }
    assert pairs["http.extraHeader"] == f"Authorization: Basic {header}"
    assert environment["GIT_TERMINAL_PROMPT"] == "0"
    assert int(environment["GIT_CONFIG_COUNT"]) == sum(name.startswith("GIT_CONFIG_KEY_") for name in environment)


def test_nothing_of_the_callers_git_configuration_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_DIR", "/elsewhere")
    monkeypatch.setenv("GIT_SSH_COMMAND", "evil")
    environment = git_environment()
    assert "GIT_DIR" not in environment
    assert "GIT_SSH_COMMAND" not in environment
