"""Commit statuses and merge requests of the GitLab stand-in."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from sandbox.stand_ins.gitlab_api import (
    ApiError,
    Given,
    ThePerson,
    TheProject,
    TheWorld,
    World,
    not_found,
    paged,
    required,
    resolve,
    truthy,
)
from sandbox.stand_ins.gitlab_git import BareRepository
from sandbox.stand_ins.gitlab_store import Person, Row, now

router = APIRouter(prefix="/api/v4/projects/{project}")

EVENTS = {
    "pending": ("enqueue", ("created",)),
    "running": ("run", ("pending",)),
    "success": ("success", ("created", "pending", "running")),
    "failed": ("drop", ("created", "pending", "running")),
    "canceled": ("cancel", ("created", "pending", "running")),
    "skipped": ("skip", ("created", "pending")),
}
"""Event that leads to each state and the states it may start from (app/models/commit_status.rb)."""
LONGEST_TEXT = 255


def status_row(world: World, row: Row) -> Row:
    shown = {name: value for name, value in row.items() if name not in ("project_id", "user_id", "retried")}
    return shown | {"allow_failure": False, "coverage": None, "author": world.user_row(row["user_id"])}


def _advance(status: Row, state: str) -> None:
    event, origins = EVENTS[state]
    if state == "running" and status["status"] == "created":
        # app/services/ci/create_commit_status_service.rb queues what it is about to run.
        status["status"] = "pending"
    if status["status"] not in origins:
        message = f"Cannot transition status via :{event} from :{status['status']}"
        raise ApiError(400, f'{message} (Reason(s): Status cannot transition via "{event}")')
    status["status"] = state
    if state == "running":
        status["started_at"] = now()
    elif state in ("success", "failed", "canceled"):
        status["finished_at"] = now()


def _check_status(given: Row) -> None:
    if "state" not in given:
        raise ApiError(400, "state is missing, state does not have a valid value", key="error")
    if given["state"] not in EVENTS:
        raise ApiError(400, "state does not have a valid value", key="error")
    for name in ("description", "target_url"):
        if len(given.get(name) or "") > LONGEST_TEXT:
            raise ApiError(400, {name: [f"is too long (maximum is {LONGEST_TEXT} characters)"]})
    url = given.get("target_url")
    if url and not url.startswith(("http://", "https://")):
        raise ApiError(400, {"target_url": ["is blocked: Only allowed schemes are http, https"]})


@router.post("/statuses/{revision}", status_code=201)
def set_status(project: TheProject, revision: str, given: Given, person: ThePerson, world: TheWorld) -> Row:
    _check_status(given)
    repository = world.store.repository(project)
    sha = resolve(repository, revision)
    ref = given.get("ref") or next(iter(repository.branches_with(sha)), None)
    if ref is None:
        raise not_found("References for commit")
    name = given.get("name") or given.get("context") or "default"
    with world.store.change():
        known = [row for row in world.store.statuses if (row["project_id"], row["sha"]) == (project["id"], sha)]
        pipeline = next((row["pipeline_id"] for row in reversed(known) if row["ref"] == ref), None)
        same = [row for row in known if (row["name"], row["ref"]) == (name, ref) and not row["retried"]]
        # A status that has ended, or is another account's, stays; a new one takes its place.
        open_one = next(
            (row for row in same if row["status"] in ("pending", "running") and row["user_id"] == person.id), None
        )
        status = dict(open_one or _new_status(world, project, sha, ref, name, person, pipeline))
        status |= {key: given[key] for key in ("description", "target_url") if key in given}
        _advance(status, given["state"])
        if open_one is not None:
            open_one.update(status)
        else:
            for row in same:
                row["retried"] = True
            world.store.statuses.append(status)
        world.store.effects["statuses"] = world.store.effects.get("statuses", 0) + 1
    return status_row(world, status)


def _new_status(world: World, project: Row, sha: str, ref: str, name: str, person: Person, pipeline: int | None) -> Row:
    return {
        "id": world.store.next_id("status"),
        "project_id": project["id"],
        "user_id": person.id,
        "pipeline_id": pipeline or world.store.next_id("pipeline"),
        "sha": sha,
        "ref": ref,
        "status": "created",
        "name": name,
        "target_url": None,
        "description": None,
        "created_at": now(),
        "started_at": None,
        "finished_at": None,
        "retried": False,
    }


@router.get("/repository/commits/{revision}/statuses")
def list_statuses(request: Request, project: TheProject, revision: str, given: Given, world: TheWorld) -> JSONResponse:
    sha = resolve(world.store.repository(project), revision)
    rows = [
        row
        for row in world.store.statuses
        if (row["project_id"], row["sha"]) == (project["id"], sha)
        and (truthy(given.get("all")) or not row["retried"])
        and all(row[name] == given[name] for name in ("ref", "name") if given.get(name))
    ]
    return paged(request, given, world, rows, lambda row: status_row(world, row))


def _mergeability(repository: BareRepository, row: Row) -> str:
    """Return the `detailed_merge_status` (doc/api/merge_requests.md, "Merge status")."""
    if row["state"] != "opened":
        return "not_open"
    source, target = repository.head(row["source_branch"]), repository.head(row["target_branch"])
    if source is None or target is None or not repository.between(target, source):
        return "commits_status"
    if row["title"].lower().startswith(("draft:", "[draft]", "(draft)")):
        return "draft_status"
    return "mergeable" if repository.merged_tree(target, source) else "conflict"


def request_row(world: World, project: Row, row: Row, *, fresh: bool = False) -> Row:
    """Show a merge request.

    :param fresh: just made; GitLab looks at it only afterwards.
    """
    detail = "preparing" if fresh else _mergeability(world.store.repository(project), row)
    merger = world.user_row(row["merger_id"])
    words = {"mergeable": "can_be_merged", "preparing": "preparing", "conflict": "cannot_be_merged"}
    reference = f"!{row['iid']}"
    shown = {name: value for name, value in row.items() if name not in ("author_id", "merger_id", "commits")}
    return shown | {
        "sha": row["sha"] or world.store.repository(project).head(row["source_branch"]),
        "author": world.user_row(row["author_id"]),
        "merge_user": merger,
        "merged_by": merger,
        "assignees": [],
        "reviewers": [],
        "labels": [],
        "source_project_id": project["id"],
        "target_project_id": project["id"],
        "draft": detail == "draft_status",
        "has_conflicts": detail == "conflict",
        "merge_status": words.get(detail, "can_be_merged"),
        "detailed_merge_status": detail,
        "references": {"short": reference, "relative": reference, "full": project["path_with_namespace"] + reference},
        "web_url": world.web_url(project, "merge_requests", str(row["iid"])),
    }


def _requests(world: World, project: Row) -> list[Row]:
    return [row for row in world.store.merge_requests if row["project_id"] == project["id"]]


def _request(world: World, project: Row, iid: str) -> Row:
    found = next((row for row in _requests(world, project) if str(row["iid"]) == iid), None)
    if found is None:
        raise ApiError(404, "404 Not found")
    return found


@router.post("/merge_requests", status_code=201)
def open_request(project: TheProject, given: Given, person: ThePerson, world: TheWorld) -> Row:
    required(given, "title", "source_branch", "target_branch")
    source, target = given["source_branch"], given["target_branch"]
    heads = world.store.repository(project).heads()
    if source == target:
        raise ApiError(409, ["You can't use same project/branch for source and target"])
    for kind, branch in (("Source", source), ("Target", target)):
        if f"refs/heads/{branch}" not in heads:
            raise ApiError(409, [f'{kind} branch "{branch}" does not exist'])
    with world.store.change("merge requests"):
        mine = _requests(world, project)
        for row in mine:
            if (row["state"], row["source_branch"], row["target_branch"]) == ("opened", source, target):
                raise ApiError(
                    409, [f"Another open merge request already exists for this source branch: !{row['iid']}"]
                )
        made: Row = {
            "id": world.store.next_id("merge request"),
            "iid": len(mine) + 1,
            "project_id": project["id"],
            "title": given["title"],
            "description": given.get("description"),
            "state": "opened",
            "created_at": now(),
            "updated_at": now(),
            "merged_at": None,
            "closed_at": None,
            "source_branch": source,
            "target_branch": target,
            "sha": None,
            "merge_commit_sha": None,
            "squash_commit_sha": None,
            "author_id": person.id,
            "merger_id": None,
            "commits": [],
        }
        world.store.merge_requests.append(made)
    return request_row(world, project, made, fresh=True)


@router.get("/merge_requests")
def list_requests(request: Request, project: TheProject, given: Given, world: TheWorld) -> JSONResponse:
    wanted = {name: given[name] for name in ("state", "source_branch", "target_branch") if given.get(name)}
    if wanted.get("state") == "all":
        del wanted["state"]
    rows = [row for row in _requests(world, project) if all(row[name] == value for name, value in wanted.items())]
    return paged(request, given, world, reversed(rows), lambda row: request_row(world, project, row))


@router.get("/repository/commits/{revision}/merge_requests")
def requests_of_commit(
    request: Request, project: TheProject, revision: str, given: Given, world: TheWorld
) -> JSONResponse:
    repository = world.store.repository(project)
    sha = resolve(repository, revision)
    rows = []
    for row in _requests(world, project):
        commits = row["commits"]
        source, target = repository.head(row["source_branch"]), repository.head(row["target_branch"])
        if row["state"] == "opened" and source and target:
            commits = repository.between(target, source)
        if sha in commits or sha == row["merge_commit_sha"]:
            rows.append(row)
    return paged(request, given, world, rows, lambda row: request_row(world, project, row))


@router.get("/merge_requests/{iid}")
def show_request(project: TheProject, iid: str, world: TheWorld) -> Row:
    return request_row(world, project, _request(world, project, iid))


@router.put("/merge_requests/{iid}")
def edit_request(project: TheProject, iid: str, given: Given, world: TheWorld) -> Row:
    row = _request(world, project, iid)
    event = given.get("state_event")
    if event not in (None, "close", "reopen"):
        raise ApiError(400, "state_event does not have a valid value", key="error")
    with world.store.change():
        row |= {key: given[key] for key in ("title", "description", "target_branch") if key in given}
        if event == "close" and row["state"] == "opened":
            row |= {"state": "closed", "closed_at": now()}
        elif event == "reopen" and row["state"] == "closed":
            row |= {"state": "opened", "closed_at": None}
        row["updated_at"] = now()
    return request_row(world, project, row)


@router.put("/merge_requests/{iid}/merge")
def merge_request(project: TheProject, iid: str, given: Given, person: ThePerson, world: TheWorld) -> Row:
    row = _request(world, project, iid)
    repository = world.store.repository(project)
    with world.store.hold(project):
        if _mergeability(repository, row) != "mergeable":
            raise ApiError(405, "405 Method Not Allowed")
        source = repository.head(row["source_branch"]) or ""
        if given.get("sha") and given["sha"] != source:
            raise ApiError(409, f"SHA does not match HEAD of source branch: {source}")
        target = repository.head(row["target_branch"]) or ""
        commits = repository.between(target, source)
        message = given.get("merge_commit_message") or _merge_message(project, row)
        made = repository.merge(row["target_branch"], source, message=message, name=person.name, email=person.email)
        if made is None:
            raise ApiError(422, "Branch cannot be merged")
        with world.store.change("merges"):
            row |= {
                "state": "merged",
                "merged_at": now(),
                "updated_at": now(),
                "merger_id": person.id,
                "merge_commit_sha": made,
                "sha": source,
                "commits": commits,
            }
        world.events.tell(project, person)
    return request_row(world, project, row)


def _merge_message(project: Row, row: Row) -> str:
    """Write what GitLab's default template writes (doc/user/project/merge_requests/commit_templates.md)."""
    subject = f"Merge branch '{row['source_branch']}' into '{row['target_branch']}'"
    return f"{subject}\n\n{row['title']}\n\nSee merge request {project['path_with_namespace']}!{row['iid']}"
