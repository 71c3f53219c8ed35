from datetime import timedelta
from pathlib import Path

import pytest

from platform_ops.common.documents import BadDocument
from platform_ops.delivery.services import CATALOGUE, load_service, service_names, services_by_project

ROOT = Path(__file__).resolve().parents[3]
GOOD = (ROOT / "include/services/storefront.yaml").read_text()


@pytest.fixture
def catalogue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installation of its own with one good service."""
    (tmp_path / "include").mkdir()
    (tmp_path / "include/schemas").symlink_to(ROOT / "include/schemas")
    services = tmp_path / "include/services"
    services.mkdir()
    (services / "storefront.yaml").write_text(GOOD)
    monkeypatch.setenv("PLATFORM_OPS_HOME", str(tmp_path))
    return services


def test_the_shipped_catalogue_is_in_order() -> None:
    services, bad = CATALOGUE.load_all(load_service)
    assert ([service.name for service in services], bad) == (service_names(), {})
    for service in services:
        assert service.targets["prod"].approval


def test_a_service_reads_as_written(catalogue: Path) -> None:
    service = load_service("storefront")
    assert service.project == "shop/storefront"
    assert service.branches == {"dev": "dev", "rc": "rc", "prod": "master"}
    assert service.pin_file("rc") == "apps/storefront/rc/kustomization.yaml"
    assert service.targets["dev"].approval is None
    approval = service.targets["prod"].approval
    assert approval
    assert approval.approvers == ("paula", "quentin")
    assert approval.quorum == 1
    assert approval.expires_after == timedelta(hours=24)


def test_two_approvers_are_enough_for_two(catalogue: Path) -> None:
    (catalogue / "storefront.yaml").write_text(GOOD.replace("quorum: 1", "quorum: 2"))
    approval = load_service("storefront").targets["prod"].approval
    assert approval
    assert (approval.approvers, approval.quorum) == (("paula", "quentin"), 2)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("owners:", "owner: x\nowners:", r"storefront.yaml, line 2: the document: .*owner \(do you mean owners\?\)"),
        (
            "promotion: manual",
            "promotion: automatic",
            r"line \d+: environments.prod.promotion: 'automatic' is not manual",
        ),
        ("quorum: 1", "quorum: 3", r"line \d+: environments.prod.approval.quorum"),
        (
            "[paula, quentin]\n      quorum: 1",
            "[paula]\n      quorum: 2",
            r"line 37: .*approvers: \['paula'\] is not as many people",
        ),
        ("expires_after: 24h", "expires_after: soon", "is not a time such as"),
        ("  jenkins_job: shop/storefront\n", "", r"line \d+: build: '' is not a block of fields"),
        ("    dev: dev", "    dev: --upload-pack=x", "is not a branch name"),
        ("service: storefront", "service: other", "must be the file's name"),
        ("service: storefront", "service: storefront\nservice: again", "stands here a second time"),
        ("owners: [", "owners: &a [", "anchors and aliases are not allowed"),
        ("owners: [team-shop@example.com]", "owners: !!python/none x", "tag .* is not allowed|Error"),
        ("service: storefront", "service: [", "not valid YAML"),
    ],
)
def test_a_fault_is_named_with_file_and_line(catalogue: Path, old: str, new: str, said: str) -> None:
    assert old in GOOD
    (catalogue / "storefront.yaml").write_text(GOOD.replace(old, new, 1))
    with pytest.raises(BadDocument, match=said) as caught:
        load_service("storefront")
    assert "storefront.yaml" in str(caught.value)


@pytest.mark.parametrize("name", ["../storefront", "a", "Storefront", "storefront\n", "x" * 300, "a\0b"])
def test_a_name_that_is_no_service_name_never_reaches_the_disk(catalogue: Path, name: str) -> None:
    with pytest.raises(BadDocument, match="no name of a service"):
        load_service(name)


def test_an_unknown_service_is_told_the_known_ones(catalogue: Path) -> None:
    with pytest.raises(BadDocument, match=r"no service nosuch .* known are storefront"):
        load_service("nosuch")


def test_a_broken_file_hides_only_its_own_service(catalogue: Path) -> None:
    (catalogue / "broken.yaml").write_text("service: [")
    assert [service.name for service in services_by_project("shop/storefront")] == ["storefront"]
