"""One run of ``release_service``: what it releases, and the systems its steps ask."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from platform_ops.common.errors import Refused
from platform_ops.common.records import RunRecord
from platform_ops.common.report import reported
from platform_ops.common.settings import run_page_url
from platform_ops.delivery.names import DERIVED, derived_run_id
from platform_ops.delivery.pins import Pin, is_commit, read_pin
from platform_ops.delivery.services import Service, Target, load_service, services_by_project
from platform_ops.delivery.source import Source, open_source
from platform_ops.systems.argocd.hook import ArgoCDHook
from platform_ops.systems.git.hook import GitHook
from platform_ops.systems.gitlab.hook import GitLabHook
from platform_ops.systems.harbor.hook import HarborHook

if TYPE_CHECKING:
    from airflow.sdk import Context

PARAMS = frozenset({"service", "environment", "commit", "reason"})


class BadRequest(Refused):
    """The run was started with parameters that mean nothing."""


class UnknownParameter(BadRequest):
    """The run was started with something that is no parameter, so its starter expected an effect it has not."""


class ForeignRunId(BadRequest):
    """The run's id names another release, whose pushes and CI jobs would be told that this run is theirs."""


@dataclass(frozen=True)
class Release:
    """What one run releases.

    :param commit: empty until it is known.
    :param started_by: Airflow account.
    :param attempt: changes when a person clears the task, not with Airflow's own retries.
    """

    service: Service
    environment: str
    commit: str
    reason: str
    dag_id: str
    run_id: str
    started_by: str | None
    attempt: str

    @classmethod
    def of(cls, context: Context) -> Release:
        """Read the parameters, and the commit that ``resolve_commit`` found where they name none.

        :raises BadRequest: a parameter is missing or malformed.
        """
        ti, run = context["ti"], context["dag_run"]
        return cls._read(
            context["params"],
            lambda: reported(context, "resolve_commit"),
            dag_id=ti.dag_id,
            run_id=ti.run_id,
            started_by=run.triggering_user_name,
            # `max_tries` grows by the retries of each clear.
            attempt=f"{ti.run_id}/{ti.max_tries}",
        )

    @classmethod
    def of_run(cls, run: RunRecord) -> Release:
        """Read what a run releases from what Airflow's server keeps of it; such a release starts no work.

        :raises BadRequest: a parameter is missing or malformed.
        """
        return cls._read(
            run.conf,
            lambda: run.facts("resolve_commit"),
            dag_id=run.dag_id,
            run_id=run.run_id,
            started_by=run.started_by,
            attempt="",
        )

    @classmethod
    def _read(cls, params: Mapping[str, Any], resolved: Callable[[], Mapping[str, Any]], **of_the_run: Any) -> Release:
        service = load_service(str(params.get("service")))
        environment = str(params.get("environment"))
        if environment not in service.targets:
            known = ", ".join(service.targets)
            raise BadRequest(f"{service.name} has no environment {environment[:40]!r}; the catalogue knows {known}.")
        commit = str(params.get("commit") or resolved().get("commit") or "")
        if commit and not is_commit(commit):
            raise BadRequest(
                f"{commit[:60]!r} is not a full commit hash: 40 hexadecimal digits in lower case. "
                "Leave it empty for the head of the branch."
            )
        return cls(
            service=service,
            environment=environment,
            commit=commit,
            reason=str(params.get("reason") or ""),
            **of_the_run,
        )

    @property
    def target(self) -> Target:
        """Return the environment's entry in the catalogue."""
        return self.service.targets[self.environment]

    @property
    def branch(self) -> str:
        """Return the branch that stands for the environment."""
        return self.service.branches[self.environment]

    @cached_property
    def gitlab_environment(self) -> str:
        """Return the environment's name at GitLab, where all services of one project share the list of them."""
        alone = len(services_by_project(self.service.project)) == 1
        return self.environment if alone else f"{self.environment}/{self.service.name}"

    @property
    def status_name(self) -> str:
        """Return the name of the status at GitLab."""
        return f"release/{self.gitlab_environment}"

    @property
    def page(self) -> str:
        """Return the address of the run's page."""
        return run_page_url(self.dag_id, self.run_id)

    @property
    def pin_file(self) -> str:
        """Return the GitOps file that pins this service here."""
        return self.service.pin_file(self.environment)

    @cached_property
    def gitlab(self) -> GitLabHook:
        """Return GitLab."""
        return GitLabHook(self.service.gitlab_connection)

    @cached_property
    def harbor(self) -> HarborHook:
        """Return Harbor."""
        return HarborHook(self.service.harbor_connection)

    @cached_property
    def argocd(self) -> ArgoCDHook:
        """Return the Argo CD of the environment."""
        return ArgoCDHook(self.target.argocd)

    @cached_property
    def gitops(self) -> GitHook:
        """Return the GitOps repository."""
        return GitHook(self.service.gitops_connection)

    def source(self) -> AbstractContextManager[Source]:
        """Open the history of the service's source, with the environment's branch."""
        return open_source(self.service, self.environment, self.gitlab)

    def read_pin(self, text: str) -> Pin | None:
        """Return what a version of the GitOps file pins."""
        return read_pin(text, self.service.image_name, self.pin_file)

    def pinned(self) -> tuple[Pin | None, str]:
        """Return what GitOps pins now, and the file."""
        with self.gitops.repository() as repository:
            text = repository.read(repository.fetch_tip(self.service.gitops_branch), self.pin_file)
        return self.read_pin(text), text


def check_parameters(conf: Mapping[str, Any] | None) -> None:
    """Refuse a run whose ``conf`` holds what is no parameter: Airflow would ignore it.

    :raises UnknownParameter: there is one.
    """
    unknown = sorted(set(conf or {}) - PARAMS)
    if unknown:
        raise UnknownParameter(
            f"release_service has no parameter {', '.join(unknown)[:200]}; it knows {', '.join(sorted(PARAMS))}. "
            "Start the run again without it."
        )


def check_run_id(release: Release) -> None:
    """Refuse a run whose id is the one that webhook and CI derive for another release.

    :param release: with its commit.
    :raises ForeignRunId: it is.
    """
    own = derived_run_id(release.service.name, release.environment, release.commit)
    if DERIVED.fullmatch(release.run_id) and release.run_id != own and not release.run_id.startswith(f"{own}__"):
        raise ForeignRunId(
            f"The run id {release.run_id} names another release than the parameters do: {release.service.name} to "
            f"{release.environment}, commit {release.commit}. Start this one as {own}. A push or a CI job of the other "
            "is told that this run is its own; start the other by hand, with __2 at the end of its id."
        )
