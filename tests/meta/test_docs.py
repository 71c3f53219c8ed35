"""The documentation says what the code says, and leaves nothing out."""

import re
from pathlib import Path
from typing import Any

import pytest

from docs import catalogue, generate, permissions
from sandbox import connections

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
SETTINGS = connections.load()
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")


@pytest.fixture(scope="module")
def dags() -> list[Any]:
    return generate.load()


def test_the_page_of_dags_is_what_the_generator_writes(dags: list[Any]) -> None:
    assert generate.PAGE.read_text() == generate.page(dags), "run `make docs`"


def test_the_page_of_the_catalogue_is_what_the_generator_writes() -> None:
    assert catalogue.PAGE.read_text() == catalogue.page(), "run `make docs`"


def test_the_tables_of_permissions_are_those_of_the_rooms() -> None:
    text = permissions.PAGE.read_text()
    assert permissions.page(text) == text, "run `make docs`"
    assert set(re.findall(r"<!-- permissions: (.+?) -->", text)) == set(permissions.TABLES)


def test_every_dag_has_a_runbook_and_every_runbook_a_dag(dags: list[Any]) -> None:
    assert {path.stem for path in (DOCS / "runbooks").glob("*.md")} == {dag.dag_id for dag in dags}


def test_every_connection_has_a_section_and_every_section_a_connection() -> None:
    text = (DOCS / "connections.md").read_text()
    part = re.split(r"^## ", text.partition("\n## The connections\n")[2], maxsplit=1, flags=re.MULTILINE)[0]
    sections = re.findall(r"^### (\S+)$", part, re.MULTILINE)
    assert sorted(sections) == sorted(connection["connection_id"] for connection in SETTINGS.connections)


def test_every_pool_is_described() -> None:
    text = (DOCS / "connections.md").read_text()
    for pool in SETTINGS.pools:
        assert f"| `{pool['name']}` | {pool['slots']} |" in text


PAGES = sorted([*DOCS.rglob("*.md"), *ROOT.glob("*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_within_the_repository_lead_somewhere(page: Path) -> None:
    targets = [target for target in LINK.findall(page.read_text()) if "://" not in target]
    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", sorted((DOCS / "decisions").glob("*.md")), ids=lambda page: page.name)
def test_a_decision_is_dated_and_short(page: Path) -> None:
    assert re.fullmatch(r"20\d{6}-[a-z0-9-]+\.md", page.name)
    assert len(page.read_text().splitlines()) <= 20
