"""Which connections are checked, and for what."""

from dataclasses import replace

import pytest

from platform_ops.delivery.services import service_from
from platform_ops.upkeep.checks import FIXED, Ambiguous, Check, System, UnknownConnection, checks, chosen
from platform_ops.upkeep.recorded import RECORDED
from tests.unit.backups.made import source


def service(name="web", **changes):
    target = {"cluster": "kubernetes_dev", "namespace": "shop", "deployment": name, "promotion": "automatic"}
    document = {
        "service": name,
        "owners": ["team"],
        "source": {"project": f"shop/{name}", "branches": {"dev": "dev", "rc": "rc", "prod": "master"}},
        "build": {"jenkins_job": f"shop/{name}"},
        "image": {"project": "shop", "repository": name, "highest_severity": "Medium"},
        "gitops": {"path": f"apps/{name}"},
        "environments": {"dev": target | {"application": f"{name}-dev"}},
    }
    return replace(service_from(document), **changes)


def test_every_connection_of_the_catalogue_is_checked_for_all_its_objects():
    assert list(checks([service("web"), service("api")], []).values()) == [
        Check("airflow_api", System.AIRFLOW_READER, tuple(sorted(["release_service", *RECORDED]))),
        Check("argocd_default", System.ARGOCD, ("api-dev", "web-dev")),
        Check("gitlab_default", System.GITLAB, ("shop/api", "shop/web")),
        Check("gitlab_webhook", System.AIRFLOW_STARTER, ("release_service",)),
        Check("gitops_default", System.GIT, ("main",)),
        Check("harbor_default", System.HARBOR, ("shop",)),
        Check("jenkins_default", System.JENKINS, ("shop/api", "shop/web")),
        Check("kubernetes_dev", System.KUBERNETES, ("shop",)),
        Check("object_store_default", System.OBJECT_STORE, ("evidence",)),
    ]


def test_a_connection_of_its_own_is_checked_for_its_own_service():
    found = checks([service("web"), service("api", gitlab_connection="gitlab_other")], [])
    assert found["gitlab_default"].places == ("shop/web",)
    assert found["gitlab_other"] == Check("gitlab_other", System.GITLAB, ("shop/api",))


def test_an_empty_catalogue_leaves_what_every_dag_needs():
    assert set(checks([], [])) == {check.connection for check in FIXED}


def test_a_connection_for_two_systems_is_refused_and_no_other():
    found = checks([service(harbor_connection="gitlab_default")], [])
    with pytest.raises(Ambiguous, match="uses connection gitlab_default for GitLab and for Harbor"):
        raise found.pop("gitlab_default")
    assert {type(check) for check in found.values()} == {Check}


def test_some_are_chosen_in_the_order_asked_for_and_once():
    known = checks([service()], [])
    assert chosen(known, (), ["kubernetes_dev", "airflow_api", "kubernetes_dev"]) == ("kubernetes_dev", "airflow_api")
    assert chosen(known, (), []) == tuple(known)
    with pytest.raises(UnknownConnection, match="Nothing uses connection gitlab_defualt; in use are airflow_api"):
        chosen(known, (), ["gitlab_defualt"])


def test_the_connections_of_backups_are_checked_for_what_their_sources_need():
    sources = [
        source("files", production=()),
        source("config", kind="git", connection="gitops_default", what={}),
        source("other", kind="git", connection="git_other", what={}),
        source("orders", kind="postgres", connection="pg", what={"databases": ["b", "a"]}, bucket="databases"),
        source("airflow", kind="airflow", connection="pg", what={"databases": ["airflow"]}),
        source("large", kind="postgres", connection="pg_large", what={"databases": ["a"], "method": "physical"}),
        source(
            "shop",
            kind="bucket",
            connection="hcp",
            what={"bucket": "shop", "prefix": "live/"},
            encryption_connection="backup_keys",
            store_connection="backup_shop",
            restore_connection="restorer",
        ),
        source("logs", kind="bucket", connection="hcp", what={"bucket": "logs"}, restore_connection="log_restorer"),
    ]
    found = checks([service()], sources)
    ours = {name: found[name] for name in found if name not in checks([service()], []) or name == "gitops_default"}
    assert list(ours.values()) == [
        Check("backup_identity", System.IDENTITY, ("backup_keys",)),
        Check("backup_keys", System.RECIPIENTS, ("shop",)),
        Check("backup_reader", System.BACKUP_READER, ("backups", "databases", "drill-*")),
        Check("backup_shop", System.BACKUP_STORE, ("backups",)),
        Check("backup_store", System.BACKUP_STORE, ("backups", "databases")),
        Check("git_other", System.GIT, ()),
        Check("gitops_default", System.GIT, ("main",)),
        Check("hcp", System.BUCKET, ("logs", "shop/live/")),
        Check("log_restorer", System.RESTORE_TARGET, ("backups", "logs")),
        Check("pg", System.POSTGRES, ("a", "airflow", "b")),
        Check("pg_large", System.POSTGRES, ("*", "a")),
        Check("restorer", System.RESTORE_TARGET, ("backups", "shop")),
    ]


def test_the_account_of_the_evidence_can_not_be_that_of_the_backups():
    found = checks([], [source(store_connection="object_store_default")])
    with pytest.raises(Ambiguous, match="object_store_default for backup store, writing and for object store"):
        raise found["object_store_default"]
