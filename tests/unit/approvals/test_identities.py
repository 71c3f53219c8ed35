from pathlib import Path

import pytest

from platform_ops.approvals.identities import UnknownPerson, load_identities
from platform_ops.common.documents import BadDocument

ROOT = Path(__file__).resolve().parents[3]


def test_the_shipped_file_is_in_order_and_its_bot_cannot_approve() -> None:
    identities = load_identities()
    assert identities.by_email("Paula@Example.com").airflow == "paula"
    assert identities.by_gitlab("platform-bot").airflow is None
    assert identities.by_airflow("nobody") is None


def test_a_stranger_is_named_with_the_next_step() -> None:
    with pytest.raises(UnknownPerson, match=r"eve@example.com is not in include/identities.yaml"):
        load_identities().by_email("eve@example.com")
    with pytest.raises(UnknownPerson, match="GitLab user eve"):
        load_identities().by_gitlab("eve")


@pytest.mark.parametrize(
    "second",
    [
        "{name: B, emails: [A@example.com], gitlab: b}",
        "{name: B, emails: [b@example.com], gitlab: a}",
        "{name: B, emails: [b@example.com], gitlab: A}",
        "{name: B, emails: [b@example.com], gitlab: b, airflow: a}",
        "{name: B, emails: [b@example.com], gitlab: b, airflow: A}",
        "{name: Ann Lee, emails: [b@example.com], gitlab: b, airflow: b}",
        "{name: ann  LEE, emails: [b@example.com], gitlab: b, airflow: b}",
        "{name: Ann Lee, emails: [a@example.com], gitlab: b, airflow: b}",
    ],
)
def test_nothing_belongs_to_two_entries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, second: str) -> None:
    (tmp_path / "include").mkdir()
    (tmp_path / "include/schemas").symlink_to(ROOT / "include/schemas")
    (tmp_path / "include/identities.yaml").write_text(
        f"people:\n- {{name: Ann Lee, emails: [a@example.com], gitlab: a, airflow: a}}\n- {second}\n"
    )
    monkeypatch.setenv("PLATFORM_OPS_HOME", str(tmp_path))
    with pytest.raises(BadDocument, match="belongs to entry 1, Ann Lee, and to entry 2, "):
        load_identities()
