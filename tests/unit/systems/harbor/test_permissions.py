"""What Harbor says of our robot, and what we make of it."""

import json
import time
from typing import Any

import httpx
import pytest

from platform_ops.common.errors import AuthenticationFailed, Busy
from platform_ops.common.permissions import Finding
from platform_ops.systems.harbor.hook import HarborHook
from platform_ops.systems.harbor.permissions import PERMISSIONS, UNWANTED, WANTED

ROBOT = "robot$shop+releases"
NEEDED = frozenset(row.name for row in WANTED)
API = "/api/v2.0"


def rule(pattern: str, *, decoration: str = "matches", repositories: str = "**", disabled: bool = False) -> Any:
    return {
        "disabled": disabled,
        "scope_selectors": {"repository": [{"decoration": "repoMatches", "pattern": repositories}]},
        "tag_selectors": [{"decoration": decoration, "pattern": pattern}],
    }


GOOD_RULES = [rule("tree-*"), rule("[0-9a-f]" * 40)]


def check(
    monkeypatch: pytest.MonkeyPatch,
    *,
    held: frozenset[str] = NEEDED,
    rules: Any = GOOD_RULES,
    robot: dict[str, Any] | int | None = None,
    login: str = ROBOT,
    **changes: Any,
) -> tuple[Finding, ...]:
    fields = {"conn_type": "harbor", "host": "https://harbor.test", "login": login, "password": "a-good-password"}
    monkeypatch.setenv("AIRFLOW_CONN_HARBOR_DEFAULT", json.dumps(fields))
    own = {"name": login, "expires_at": -1} | (robot if isinstance(robot, dict) else {})
    permissions = [dict(zip(("resource", "action"), name.split(":"), strict=True)) for name in sorted(held)]
    answers = {
        "health": {"status": "healthy"},
        "projects": [{"name": "shop-2", "project_id": 8}, {"name": "shop", "project_id": 7}],
        "permissions": permissions,
        "immutabletagrules": rules,
        "robots": httpx.Response(robot) if isinstance(robot, int) else [own],
    } | changes

    def answer(request: httpx.Request) -> httpx.Response:
        found = answers[request.url.path.rpartition("/")[2]]
        if request.url.path.endswith("permissions") and "scope" in request.url.params:
            assert dict(request.url.params) == {"scope": "/project/7", "relative": "true"}
        return found if isinstance(found, httpx.Response) else httpx.Response(200, json=found)

    return HarborHook(inner=httpx.MockTransport(answer)).check_permissions(["shop"])


def wrong(findings: tuple[Finding, ...]) -> list[tuple[str, str]]:
    return [(finding.permission.name, finding.state) for finding in findings if finding.state != "ok"]


@pytest.mark.parametrize("login", [ROBOT, "robot$releases"])
def test_four_permissions_and_immutable_tags_are_all_we_need(monkeypatch: pytest.MonkeyPatch, login: str) -> None:
    findings = check(monkeypatch, login=login)
    assert wrong(findings) == []
    assert {finding.permission for finding in findings} == set(PERMISSIONS)


@pytest.mark.parametrize("name", sorted(NEEDED))
def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    findings = check(monkeypatch, held=NEEDED - {name})
    assert wrong(findings) == [(name, "missing")]
    assert f"{name} is not granted in project shop for {ROBOT}" in next(
        finding.sentence for finding in findings if finding.state == "missing"
    )


@pytest.mark.parametrize("row", UNWANTED, ids=lambda row: row.name)
def test_what_is_too_much_is_named(monkeypatch: pytest.MonkeyPatch, row: Any) -> None:
    assert wrong(check(monkeypatch, held=NEEDED | {row.name})) == [(row.name, "too much")]


def test_a_project_that_is_not_shown_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    findings = check(monkeypatch, projects=[])
    assert wrong(findings) == [("artifact:read", "missing")]
    assert "shows no project shop" in findings[-1].sentence


@pytest.mark.parametrize(
    ("robot", "state", "words"),
    [
        ({"expires_at": int(time.time()) + 10 * 86400}, "expires", "Renew robot"),
        ({"expires_at": int(time.time()) - 60}, "missing", "ended at"),
        ({"name": "robot$another"}, "unknown", "grant robot:list"),
        (403, "unknown", "does not tell"),
    ],
)
def test_the_end_of_the_robots_secret(monkeypatch: pytest.MonkeyPatch, robot: Any, state: str, words: str) -> None:
    findings = check(monkeypatch, robot=robot)
    assert wrong(findings) == [("a credential that lasts", state)]
    assert words in next(finding.sentence for finding in findings if finding.state == state)


@pytest.mark.parametrize(
    "rules",
    [
        GOOD_RULES,
        [rule("{tree-*," + "?" * 40 + "}")],
        [rule("**")],
        [rule("build-*", decoration="excludes")],
    ],
)
def test_rules_that_cover_our_tags(monkeypatch: pytest.MonkeyPatch, rules: list[Any]) -> None:
    assert wrong(check(monkeypatch, rules=rules)) == []


@pytest.mark.parametrize(
    ("rules", "movable"),
    [
        ([], "tree-* and 40 hex digits"),
        (httpx.Response(200, content=b"null"), "tree-* and 40 hex digits"),
        ([rule("tree-*")], "40 hex digits"),
        ([rule("tree-*"), rule("[0-9]" * 40)], "40 hex digits"),
        ([rule("**", disabled=True)], "tree-* and 40 hex digits"),
        ([rule("**", repositories="web")], "tree-* and 40 hex digits"),
        ([rule("tree-*", decoration="excludes")], "tree-*"),
    ],
)
def test_tags_that_can_move_are_named(monkeypatch: pytest.MonkeyPatch, rules: Any, movable: str) -> None:
    findings = check(monkeypatch, rules=rules)
    assert wrong(findings) == [("immutable tags", "missing")]
    assert f"Tags {movable} of project shop can be moved or deleted" in next(
        finding.sentence for finding in findings if finding.state == "missing"
    )


def test_an_ill_harbor_and_a_refused_robot(monkeypatch: pytest.MonkeyPatch) -> None:
    ill = {"status": "unhealthy", "components": [{"name": "database", "status": "unhealthy"}]}
    with pytest.raises(Busy, match="is not healthy: database"):
        check(monkeypatch, health=ill)
    with pytest.raises(AuthenticationFailed):
        check(monkeypatch, permissions=httpx.Response(401))
