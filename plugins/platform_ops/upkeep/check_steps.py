"""The steps of ``check_connections``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowNotFoundException

from platform_ops.backups.sources import CATALOGUE as SOURCES
from platform_ops.backups.sources import load_source
from platform_ops.common.airflow_api import AirflowApi
from platform_ops.common.documents import BadDocument
from platform_ops.common.errors import FailNow, Invalid, NotFound, PlatformError, with_facts
from platform_ops.common.operators import StepOperator
from platform_ops.common.permissions import CheckedConnection, Finding, State, is_broken, summary, worst_first
from platform_ops.common.report import REPORT_KEY, StepReport, reported
from platform_ops.delivery.services import CATALOGUE as SERVICES
from platform_ops.delivery.services import load_service
from platform_ops.evidence.document import BUCKET
from platform_ops.systems.argocd.hook import ArgoCDHook
from platform_ops.systems.git.hook import GitHook
from platform_ops.systems.gitlab.hook import GitLabHook
from platform_ops.systems.harbor.hook import HarborHook
from platform_ops.systems.jenkins.hook import JenkinsHook
from platform_ops.systems.kubernetes.hook import KubernetesHook
from platform_ops.systems.object_store.accounts import BackupReader, BackupWriter, RestoreTarget, SourceBucket
from platform_ops.systems.object_store.hook import ObjectStoreHook
from platform_ops.systems.postgres.hook import PostgresHook
from platform_ops.upkeep.age_permissions import Identity, Recipients
from platform_ops.upkeep.airflow_permissions import AirflowReader, AirflowStarter
from platform_ops.upkeep.checks import Check, System, UnknownConnection, checks, chosen
from platform_ops.upkeep.recorded import CHECKED
from platform_ops.upkeep.verdicts import CHECK, table

if TYPE_CHECKING:
    from airflow.sdk import Context

ROOMS: Mapping[System, Callable[[str], CheckedConnection]] = {
    System.GITLAB: GitLabHook,
    System.JENKINS: JenkinsHook,
    System.HARBOR: HarborHook,
    System.GIT: GitHook,
    System.ARGOCD: ArgoCDHook,
    System.KUBERNETES: KubernetesHook,
    System.OBJECT_STORE: ObjectStoreHook,
    System.POSTGRES: PostgresHook,
    System.BUCKET: SourceBucket,
    System.RESTORE_TARGET: RestoreTarget,
    System.BACKUP_STORE: partial(BackupWriter, never=BUCKET),
    System.BACKUP_READER: BackupReader,
    System.RECIPIENTS: Recipients,
    System.IDENTITY: Identity,
    System.AIRFLOW_READER: AirflowReader,
    System.AIRFLOW_STARTER: AirflowStarter,
}


class PermissionMissing(FailNow):
    """A connection's account lacks something that is needed."""


class ListConnections(StepOperator):
    """Reads from the catalogue which connections there are; each file of it that can't be read is listed too."""

    def run_step(self, context: Context) -> StepReport:
        """List the connections, or the ones the run was asked for."""
        known, unread = _catalogue()
        names = chosen(known, unread, context["params"].get("connections") or ())
        return StepReport(f"{len(names)} connections are checked: {', '.join(names)}.", facts={"connections": [*names]})

    def result(self, report: StepReport) -> list[str]:
        """Return the names, which Airflow makes the mapped tasks of."""
        return list(report.facts["connections"])


class CheckConnection(StepOperator):
    """Asks one system for the address, the credential and each single permission; fails when something is missing.

    :param connection: Airflow's name of it.
    """

    template_fields = ("connection",)

    def __init__(self, *, connection: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.connection = connection

    def run_step(self, context: Context) -> StepReport:  # noqa: ARG002
        """Check the connection for what the catalogue says now."""
        known, unread = _catalogue()
        check = (known | unread).get(self.connection)
        if check is None:
            raise UnknownConnection(f"The catalogue no longer says what {self.connection} is for. Start again.")
        if isinstance(check, PlatformError):
            raise check
        facts: dict[str, Any] = {
            "connection": check.connection,
            "system": check.system,
            "checked_for": ", ".join(check.places),
        }
        with with_facts(facts):
            findings = _ask(check)
            facts["findings"] = [_as_dict(finding) for finding in worst_first(findings)]
            if is_broken(findings):
                missing = [finding.sentence for finding in findings if finding.state is State.MISSING]
                raise PermissionMissing(f"{check.connection}: {' '.join(missing)}", facts=facts)
        return StepReport(f"{check.connection}: {summary(findings)}", facts=facts)


def _catalogue() -> tuple[dict[str, Check | PlatformError], dict[str, BadDocument]]:
    """Return the check of each connection by its name, and the error of each file that can't be read by its path."""
    services, bad_services = SERVICES.load_all(load_service)
    sources, bad_sources = SOURCES.load_all(load_source)
    return checks(services, sources), bad_services | bad_sources


def _ask(check: Check) -> tuple[Finding, ...]:
    try:
        return ROOMS[check.system](check.connection).check_permissions(check.places)
    except AirflowNotFoundException as error:
        raise NotFound(
            f"Airflow has no connection {check.connection}. Enter it as docs/connections.md says, in Airflow or in "
            "the secrets backend."
        ) from error
    except ValueError as error:
        raise Invalid(f"Connection {check.connection} can't be used: {error}") from error


def _as_dict(finding: Finding) -> dict[str, str]:
    return {"permission": finding.permission.name, "state": finding.state, "sentence": finding.sentence}


class RecordEvidence(StepOperator):
    """Stores the run's document: what was asked, and what each system said."""

    def run_step(self, context: Context) -> StepReport:
        """Store it, or adopt the one an earlier try stored."""
        ti = context["ti"]
        return CHECKED.record(AirflowApi().run(ti.dag_id, ti.run_id))


class ReportConnections(StepOperator):
    """Puts a line for each connection into one table, the worst first."""

    def run_step(self, context: Context) -> StepReport:
        """Read what the checks left, from Airflow's own store: also when ``airflow_api`` is what is broken."""
        names = reported(context, "list_connections").get("connections") or []
        if not names:
            return StepReport("No connection was checked; see list_connections.", "not needed")
        indexes = range(len(names))
        pulled = context["ti"].xcom_pull(task_ids=CHECK, key=REPORT_KEY, map_indexes=indexes)
        lines = table(names, [report if isinstance(report, dict) else None for report in pulled])
        for line in lines:
            self.log.info("%-11s %-22s %s", line["state"], line["connection"], line["sentence"])
        bad = [line for line in lines if line["state"] != State.OK]
        told = "; ".join(f"{line['connection']}: {line['state']}" for line in bad)
        fine = f"{len(lines) - len(bad)} of {len(lines)} connections are as they should be"
        return StepReport(f"{fine}{f'. {told}' if told else ''}.", facts={"connections": lines})
