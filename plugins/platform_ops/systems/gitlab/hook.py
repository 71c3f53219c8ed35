"""GitLab's REST API v4 through python-gitlab on our transport."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook

from platform_ops.common.connections import base_url, tls_verify
from platform_ops.common.errors import (
    AuthenticationFailed,
    Invalid,
    NotFound,
    PlatformError,
    Unreachable,
    error_for_status,
)
from platform_ops.common.fail_points import changes
from platform_ops.common.http import requests_session
from platform_ops.common.permissions import CheckedConnection, Finding
from platform_ops.systems.gitlab.errors import (
    CommitNotFound,
    DeploymentNotFound,
    ProjectNotFound,
    TransitionRefused,
)
from platform_ops.systems.gitlab.models import (
    CommitState,
    CommitStatus,
    Deployment,
    DeploymentState,
    Project,
)
from platform_ops.systems.gitlab.permissions import judge_account, judge_end, judge_role, judge_scopes

if TYPE_CHECKING:
    import gitlab
    import requests
    from gitlab.v4 import objects

LONGEST_DESCRIPTION = 255
"""doc/api/commits.md: longer descriptions of a status are refused."""

MOST_DEPLOYMENTS = 100
"""One page: who asks for deployments asks for the newest."""

# python-gitlab sleeps as long as a 429 says and sends anything again, up to ten times; only for reading, and once.
_SAFE: dict[str, Any] = {"obey_rate_limit": True, "max_retries": 1}
_ONCE: dict[str, Any] = {"obey_rate_limit": False}


class GitLabHook(CheckedConnection, BaseHook):
    """GitLab, as far as releases need it.

    The connection: ``host`` is the base URL, ``password`` an access token with scope ``api``.

    :param session: replaces our requests session in tests.
    """

    conn_name_attr = "gitlab_conn_id"
    default_conn_name = "gitlab_default"
    conn_type = "gitlab"
    hook_name = "GitLab"

    def __init__(self, gitlab_conn_id: str = default_conn_name, *, session: requests.Session | None = None) -> None:
        super().__init__()
        self.gitlab_conn_id = gitlab_conn_id
        self._session = session

    @cached_property
    def _connection(self) -> Any:
        return self.get_connection(self.gitlab_conn_id)

    @cached_property
    def address(self) -> str:
        """Return the base URL."""
        return base_url(self._connection)

    @cached_property
    def client(self) -> gitlab.Gitlab:
        """Return the python-gitlab client."""
        import gitlab

        verify = tls_verify(self._connection)
        return gitlab.Gitlab(
            self.address,
            private_token=self._connection.password,
            ssl_verify=verify,
            retry_transient_errors=False,
            keep_base_url=True,
            session=self._session or requests_session(verify=verify),
        )

    def project(self, path: str) -> Project:
        """Return a project.

        :raises ProjectNotFound: it does not exist or is hidden from this account.
        """
        with self._errors(f"project {path}", ProjectNotFound):
            found = self.client.projects.get(_segment(path), **_SAFE)
            return Project(
                id=found.id,
                path=found.path_with_namespace,
                web_url=found.web_url,
                clone_url=found.http_url_to_repo,
                default_branch=found.default_branch or "",
            )

    def mergers(self, project: str, sha: str) -> tuple[str, ...]:
        """Return the GitLab user names of those who merged the merge requests that contain the commit.

        :raises CommitNotFound: the project does not have it.
        """
        with self._errors(f"merge requests with commit {sha} of {project}", CommitNotFound):
            found = self._commit(project, sha).merge_requests(get_all=True, **_SAFE)
            # Servers before 14.7 know only `merged_by` (doc/api/merge_requests.md).
            people = [one.get("merge_user") or one.get("merged_by") for one in found if one["state"] == "merged"]
            return tuple(sorted({str(person["username"]) for person in people if person}))

    def statuses(self, project: str, sha: str) -> tuple[CommitStatus, ...]:
        """Return the newest status of each name and branch on a commit.

        :raises CommitNotFound: the project does not have it.
        """
        with self._errors(f"statuses of commit {sha} of {project}", CommitNotFound):
            found = self._commit(project, sha).statuses.list(get_all=True, **_SAFE)
            return tuple(
                CommitStatus(
                    name=one.name,
                    state=one.status,
                    ref=one.ref or "",
                    target_url=one.target_url or "",
                    description=one.description or "",
                )
                for one in found
            )

    @changes("gitlab.set_status")
    def set_status(
        self, project: str, sha: str, *, name: str, state: CommitState, ref: str, target_url: str, description: str
    ) -> None:
        """Set a commit status; fine when it has this state already.

        :param ref: the branch; without it GitLab hangs the status on any branch that has the commit.
        :param description: cut to what GitLab takes.
        :raises CommitNotFound: the project does not have the commit.
        :raises TransitionRefused: GitLab's state machine does not lead from the present state to this one.
        """
        import gitlab

        body = {
            "name": name,
            "state": state.value,
            "ref": ref,
            "target_url": target_url,
            "description": _cut(description),
        }
        with self._errors(f"status {name} of commit {sha} of {project}", CommitNotFound):
            try:
                self._commit(project, sha).statuses.create(body, **_ONCE)
            except gitlab.GitlabCreateError as error:
                if error.response_code != 400 or "cannot transition" not in str(error.error_message).lower():
                    raise
                self._accept_present(project, sha, name, state, ref)

    def _accept_present(self, project: str, sha: str, name: str, state: CommitState, ref: str) -> None:
        """Take GitLab's refusal of a transition as done when the status stands there already."""
        present = [one.state for one in self.statuses(project, sha) if (one.name, one.ref) == (name, ref)]
        if state.value not in present:
            message = (
                f"GitLab does not take status {name} of commit {sha} of {project} on {ref} "
                f"from {' and '.join(present) or 'another account'} to {state}; "
                "look at the commit's pipelines for who else sets it."
            )
            raise TransitionRefused(message, facts={"present": present, "wanted": state.value})

    def deployments(
        self, project: str, environment: str, state: DeploymentState | None = None
    ) -> tuple[Deployment, ...]:
        """Return the newest deployments to an environment, newest first; none when GitLab has no such environment."""
        asked = {"environment": environment, "status": state, "order_by": "id", "sort": "desc"}
        with self._errors(f"deployments of {project} to {environment}", NotFound):
            found = self._project(project).deployments.list(
                get_all=False, per_page=MOST_DEPLOYMENTS, query_parameters=asked, **_SAFE
            )
            return tuple(self._deployment(one) for one in found)

    @changes("gitlab.create_deployment")
    def create_deployment(
        self, project: str, environment: str, sha: str, *, ref: str, state: DeploymentState
    ) -> Deployment:
        """Record a deployment; GitLab makes the environment when it has none of that name.

        Running ones are always new; a success that equals the environment's last one is that one
        (app/services/deployments/create_service.rb).

        :param ref: the branch.
        """
        body = {"environment": environment, "sha": sha, "ref": ref, "tag": False, "status": state.value}
        with self._errors(f"a deployment of commit {sha} of {project} to {environment}", NotFound):
            return self._deployment(self._project(project).deployments.create(body, **_ONCE))

    @changes("gitlab.set_deployment")
    def set_deployment(self, project: str, number: int, state: DeploymentState) -> None:
        """Set the state of a deployment; fine when it has this state already.

        GitLab takes an ended deployment to another end too (app/models/deployment.rb), so look at it before.

        :raises DeploymentNotFound: the project does not have it.
        :raises TransitionRefused: GitLab's state machine does not lead from the present state to this one.
        """
        import gitlab

        what = f"deployment {number} of {project}"
        with self._errors(what, DeploymentNotFound):
            deployments = self._project(project).deployments
            try:
                deployments.update(number, {"status": state.value}, **_ONCE)
            except gitlab.GitlabUpdateError as error:
                if error.response_code != 400 or "cannot transition" not in str(error.error_message).lower():
                    raise
                present = str(deployments.get(number, **_SAFE).status)
                if present != state:
                    message = f"GitLab does not take {what} from {present} to {state}; look at who else sets it."
                    raise TransitionRefused(message, facts={"present": [present], "wanted": state.value}) from error

    def _deployment(self, found: Any) -> Deployment:
        maker = (found.user or {}).get("id")
        return Deployment(
            id=found.id,
            environment=found.environment["id"],
            sha=found.sha,
            state=found.status,
            ours=found.deployable is None and maker == self._account_id,
        )

    @cached_property
    def _account_id(self) -> int:
        from gitlab.v4.objects import CurrentUserManager

        return int(CurrentUserManager(self.client).get(**_SAFE).id)

    def credentials(self) -> tuple[str, str]:
        """Return user name and password for git over HTTP."""
        return "oauth2", self._connection.password or ""

    def check_permissions(self, places: Collection[str] = ()) -> tuple[Finding, ...]:
        """Ask who we are, what the token may do, and which role we have in each project.

        The members are asked because ``permissions`` of a project leaves out groups that were invited to it.

        :param places: paths of projects.
        :raises AuthenticationFailed: the token is refused.
        :raises Unreachable: GitLab does not answer.
        """
        from gitlab.v4.objects import CurrentUserManager

        with self._errors("the account of the token", NotFound):
            user = CurrentUserManager(self.client).get(**_SAFE)
            who = f"user {user.username}"
            # Only administrators are told.
            administrator = bool(user.attributes.get("is_admin"))
        with self._errors("the token itself", NotFound):
            token = self.client.personal_access_tokens.get("self", **_SAFE)
            scopes, end = tuple(token.scopes), token.expires_at
        findings = [*judge_scopes(scopes), judge_end(end), judge_account(who, administrator=administrator)]
        for project in places:
            findings += judge_role(self._access_level(project, user.id), project, who)
        return tuple(findings)

    def _access_level(self, project: str, user_id: int) -> int:
        """Return our access level in a project, inherited and invited ones included; 0 for strangers."""
        try:
            with self._errors(f"our membership of {project}", NotFound):
                return int(self._project(project).members_all.get(user_id, **_SAFE).access_level)
        except (NotFound, AuthenticationFailed):
            return 0

    def _project(self, path: str) -> objects.Project:
        return self.client.projects.get(_segment(path), lazy=True)

    def _commit(self, project: str, sha: str) -> objects.ProjectCommit:
        return self._project(project).commits.get(_segment(sha), lazy=True)

    @contextmanager
    def _errors(self, what: str, missing: type[NotFound]) -> Iterator[None]:
        """Turn the errors of python-gitlab and requests into ours.

        :param missing: what a 404 means, unless GitLab says that the project itself is missing.
        """
        import gitlab
        import requests

        try:
            yield
        except requests.RequestException as error:
            message = (
                f"GitLab at {self.address} did not answer for {what}: {type(error).__name__}. "
                "Check that it runs and that the connection's address is right."
            )
            raise Unreachable(message) from error
        except (gitlab.GitlabParsingError, AttributeError, KeyError) as error:
            # Attributes of python-gitlab's objects are the fields of the answer.
            message = (
                f"GitLab at {self.address} answered for {what} with something that is not its API's JSON "
                f"({error}). Check that the connection's address is GitLab's base URL."
            )
            raise Unreachable(message) from error
        except gitlab.RedirectError as error:
            message = f"GitLab at {self.address} redirects elsewhere; enter its final address in the connection."
            raise Invalid(message) from error
        except gitlab.GitlabError as error:
            raise _error(error, what, missing) from error


def _segment(value: str) -> str:
    """Refuse what would name another address: python-gitlab encodes slashes, but requests resolves dots."""
    if value in ("", ".", ".."):
        message = f"{value!r} names nothing in GitLab; look at where it comes from."
        raise Invalid(message)
    return value


def _error(error: gitlab.GitlabError, what: str, missing: type[NotFound]) -> PlatformError:
    status = error.response_code or 500
    kind = error_for_status(status)
    if kind is NotFound:
        kind = ProjectNotFound if "Project" in _said(error) else missing
    return kind(f"GitLab answered {status} for {what}: {_said(error)}{_NEXT.get(status, '')}", facts={"status": status})


_NEXT = {
    401: ". Check that the connection's token has not expired.",
    403: ". Give the token's account the role it needs in the project, and the token scope api.",
    404: ". Check the name, and that the token's account is a member of the project.",
    429: ". Try again later.",
}


def _said(error: gitlab.GitlabError) -> str:
    said: Any = error.error_message
    text = said.decode(errors="replace") if isinstance(said, bytes) else str(said)
    return text.strip()[:500]


def _cut(description: str) -> str:
    if len(description) <= LONGEST_DESCRIPTION:
        return description
    return description[: LONGEST_DESCRIPTION - 1] + "…"
