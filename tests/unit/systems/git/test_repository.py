"""Real git against a bare repository on disk."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from platform_ops.common.errors import AuthenticationFailed
from platform_ops.systems.git.errors import CommitNotFound, FileNotFound, GitFailed, StillRejected
from platform_ops.systems.git.hook import GitHook, Repository

BOT = "Platform bot <platform-bot@example.com>"


def run(folder: Path, *arguments: str) -> str:
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_AUTHOR_NAME": "Dana", "GIT_AUTHOR_EMAIL": "dana@example.com",
        "GIT_COMMITTER_NAME": "Ravi", "GIT_COMMITTER_EMAIL": "ravi@example.com",
    }  # fmt: skip
    return subprocess.run(
        ["git", *arguments], cwd=folder, env=environment, check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    bare, work = tmp_path / "remote.git", tmp_path / "work"
    run(tmp_path, "init", "-q", "--bare", "-b", "main", str(bare))
    for key in ("uploadpack.allowFilter", "uploadpack.allowAnySHA1InWant"):
        run(bare, "config", key, "true")
    run(tmp_path, "clone", "-q", str(bare), str(work))
    (work / "pin.yaml").write_text("digest: one\n")
    (work / "other.yaml").write_text("untouched\n")
    (work / "link.yaml").symlink_to("/etc/passwd")
    run(work, "add", ".")
    run(work, "commit", "-q", "-m", "First")
    run(work, "push", "-q", "origin", "HEAD:main")
    return bare


@pytest.fixture
def address(remote: Path) -> str:
    return f"file://{remote}"


def second_commit(remote: Path, text: str = "else\n") -> str:
    work = remote.parent / "work"
    run(work, "pull", "-q", "origin", "main")
    (work / "other.yaml").write_text(text)
    run(work, "commit", "-q", "-a", "-m", "Second")
    run(work, "push", "-q", "origin", "HEAD:main")
    return run(work, "rev-parse", "HEAD")


def edit_to(text: str) -> Callable[[str, str], str]:
    return lambda _before, _head: text


def test_a_commit_tells_its_tree_and_its_people(remote: Path, address: str) -> None:
    with Repository(address) as repository:
        commit = repository.commit(repository.fetch_branch("main"))
    assert commit.tree == run(remote, "rev-parse", "main^{tree}")
    assert (commit.author_email, commit.committer_email, commit.title) == (
        "dana@example.com", "ravi@example.com", "First",
    )  # fmt: skip


def test_ancestry_and_the_commits_between(remote: Path, address: str) -> None:
    first = run(remote, "rev-parse", "main")
    second = second_commit(remote)
    with Repository(address) as repository:
        assert repository.fetch_branch("main") == second
        assert repository.is_ancestor(first, second)
        assert not repository.is_ancestor(second, first)
        assert [commit.sha for commit in repository.commits_between(first, second)] == [second]
        assert [commit.sha for commit in repository.commits_between(None, second)] == [second, first]


def test_a_commit_the_remote_does_not_have_is_named(address: str) -> None:
    with Repository(address) as repository, pytest.raises(CommitNotFound, match="1111"):
        repository.fetch_commit("1" * 40)


def test_an_edit_becomes_one_commit_and_a_second_time_none(remote: Path, address: str) -> None:
    with Repository(address) as repository:
        edit, commit = repository.push_edit(
            "main", "pin.yaml", edit_to("digest: two\n"), message=lambda _: "Pin\n\nRun: r1\n", author=BOT
        )
        again, same = repository.push_edit(
            "main", "pin.yaml", edit_to("digest: two\n"), message=lambda _: "Pin\n\nRun: r1\n", author=BOT
        )
    assert edit.changes
    assert not again.changes
    assert same == commit == run(remote, "rev-parse", "main")
    assert run(remote, "show", "main:other.yaml") == "untouched"
    assert run(remote, "log", "-1", "--format=%an %ce%n%B").splitlines()[0] == "Platform bot platform-bot@example.com"


def test_a_commit_is_found_by_its_trailer_and_by_nothing_like_it(remote: Path, address: str) -> None:
    with Repository(address) as repository:
        _, ours = repository.push_edit(
            "main", "pin.yaml", edit_to("ours\n"), message=lambda _: "Ours\n\nRun: r.1__2\n", author=BOT
        )
        repository.push_edit(
            "main", "pin.yaml", edit_to("next\n"), message=lambda _: "Run: r.1\n\nRun: r.1__2 in the text\n\nEnd\n",
            author=BOT,
        )  # fmt: skip
        repository.fetch_branch("main")
        assert repository.commit_with_trailer("main", "Run", "r.1__2") == ours
        assert repository.commit_with_trailer("main", "Run", "r.1") is None
        assert repository.commit_with_trailer("main", "Run", "rx1__2") is None


def test_who_comes_second_applies_the_edit_to_what_stands_there_then(remote: Path, address: str) -> None:
    seen: list[str] = []

    def edit(before: str, head: str) -> str:
        if not seen:
            second_commit(remote)
        seen.append(head)
        return before + "more: yes\n"

    pauses: list[float] = []
    with Repository(address, pause=pauses.append) as repository:
        repository.push_edit("main", "pin.yaml", edit, message=lambda _: "Pin", author=BOT)
    assert len(set(seen)) == 2
    assert len(pauses) == 1
    assert run(remote, "show", "main:pin.yaml") == "digest: one\nmore: yes"
    assert run(remote, "show", "main:other.yaml") == "else"


def test_a_branch_that_never_stands_still_is_given_up(remote: Path, address: str) -> None:
    rounds = iter(range(100))

    def edit(before: str, _head: str) -> str:
        second_commit(remote, f"{next(rounds)}\n")
        return before + "x\n"

    with Repository(address, pause=lambda _: None) as repository, pytest.raises(StillRejected):
        repository.push_edit("main", "pin.yaml", edit, message=lambda _: "Pin", author=BOT)
    assert run(remote, "show", "main:pin.yaml") == "digest: one"


def test_the_tip_comes_without_what_lies_before_it(remote: Path, address: str) -> None:
    first, second = run(remote, "rev-parse", "main"), second_commit(remote)
    with Repository(address) as repository:
        assert repository.fetch_tip("main") == second
        assert repository.read(second, "other.yaml") == "else\n"
        assert not repository.has(first)


def test_a_history_without_folders_still_tells_commits_and_trees(remote: Path, address: str) -> None:
    first, second = run(remote, "rev-parse", "main"), second_commit(remote)
    with Repository(address) as repository:
        assert repository.fetch_branch("main", files=False) == second
        assert repository.is_ancestor(first, second)
        assert repository.commit(first).tree == run(remote, "rev-parse", f"{first}^{{tree}}")
        assert [one.sha for one in repository.newest(second, 9)] == [second, first]
        assert [one.sha for one in repository.newest(second, 1)] == [second]


def test_the_head_is_asked_of_the_remote(remote: Path, address: str) -> None:
    with Repository(address) as repository:
        repository.fetch_branch("main")
        moved = second_commit(remote)
        assert repository.head("main") == moved
        assert repository.head("nosuch") == ""


def test_a_commit_that_changed_a_file_is_told_from_one_that_did_not(remote: Path, address: str) -> None:
    first, second = run(remote, "rev-parse", "main"), second_commit(remote)
    with Repository(address) as repository:
        repository.fetch_branch("main")
        assert repository.is_changed("other.yaml", first, second)
        assert not repository.is_changed("pin.yaml", first, second)


@pytest.mark.parametrize("text", ["größe: ü\n", "no newline", "", "data 5\nfrom x\n", "a\n\n\n"])
def test_a_file_is_written_byte_for_byte(remote: Path, address: str, text: str) -> None:
    with Repository(address) as repository:
        repository.push_edit("main", "pin.yaml", edit_to(text), message=lambda _: "Größe\n\nRun: r1\n", author=BOT)
    shown = ["git", "-C", str(remote), "cat-file", "blob", "main:pin.yaml"]
    assert subprocess.run(shown, check=True, capture_output=True).stdout == text.encode()
    assert run(remote, "log", "-1", "--format=%s %(trailers:key=Run,valueonly)") == "Größe r1"
    assert run(remote, "fsck", "--strict") == ""


@pytest.mark.parametrize(("path", "said"), [("link.yaml", "symbolic link"), ("missing.yaml", "nothing")])
def test_only_regular_files_are_read(address: str, path: str, said: str) -> None:
    with Repository(address) as repository:
        head = repository.fetch_branch("main")
        with pytest.raises(FileNotFound, match=said):
            repository.read(head, path)


def hook(monkeypatch: pytest.MonkeyPatch, address: str) -> GitHook:
    monkeypatch.setenv("AIRFLOW_CONN_GITOPS_DEFAULT", json.dumps({"conn_type": "git", "host": address}))
    return GitHook()


def wrong(hook: GitHook, *branches: str) -> list[tuple[str, str]]:
    findings = hook.check_permissions(branches)
    return [(finding.permission.name, finding.state) for finding in findings if finding.state != "ok"]


UNSAID = [("a credential that lasts", "unknown"), ("other repositories", "unknown")]


def test_a_push_is_asked_for_and_not_made(remote: Path, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = run(remote, "for-each-ref")
    assert wrong(hook(monkeypatch, address), "main") == UNSAID
    assert run(remote, "for-each-ref") == before
    assert wrong(hook(monkeypatch, address), "other") == [("fetch", "missing"), *UNSAID]


@pytest.mark.parametrize("refusal", [AuthenticationFailed("403"), GitFailed("no")])
def test_a_push_that_is_refused_is_a_missing_permission(
    address: str, monkeypatch: pytest.MonkeyPatch, refusal: Exception
) -> None:
    def refuse(*_: str) -> None:
        raise refusal

    monkeypatch.setattr(Repository, "try_push", refuse)
    assert wrong(hook(monkeypatch, address), "main") == [("push", "missing"), *UNSAID]


def test_a_repository_that_is_not_there_is_no_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert hook(monkeypatch, f"file://{tmp_path}/nothing.git").test_connection()[0] is False
