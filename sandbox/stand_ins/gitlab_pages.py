"""Pages of the GitLab stand-in behind the links that people are shown; no sign-in."""

from __future__ import annotations

from html import escape

from fastapi import APIRouter
from fastapi.responses import HTMLResponse
from starlette.exceptions import HTTPException

from sandbox.stand_ins.gitlab_api import TheWorld, World
from sandbox.stand_ins.gitlab_deployments import deployments_to, last_deployment
from sandbox.stand_ins.gitlab_git import BareRepository
from sandbox.stand_ins.gitlab_store import Row

router = APIRouter()


def _page(title: str, *parts: str) -> str:
    body = "\n".join(parts)
    return f"<!doctype html><meta charset=utf-8><title>{escape(title)} · GitLab</title><h1>{escape(title)}</h1>{body}"


def _page_project(world: World, path: str) -> tuple[Row, BareRepository]:
    project = world.store.project(path)
    if project is None:
        raise HTTPException(404)
    return project, world.store.repository(project)


def _link(address: str, text: str) -> str:
    return f'<a href="{escape(address)}">{escape(text)}</a>'


@router.get("/{path:path}/-/commit/{sha}", response_class=HTMLResponse)
def commit_page(path: str, sha: str, world: TheWorld) -> str:
    project, repository = _page_project(world, path)
    found = repository.resolve(sha)
    if found is None:
        raise HTTPException(404)
    commit = repository.commit(found)
    statuses = [
        f"<li>{escape(row['name'])}: {row['status']} {_link(row['target_url'] or '', row['description'] or '')}</li>"
        for row in world.store.statuses
        if (row["project_id"], row["sha"], row["retried"]) == (project["id"], found, False)
    ]
    author = f"<p>{escape(commit.author_name)} {escape(f'<{commit.author_email}>')}, {commit.authored_at}</p>"
    return _page(commit.title, f"<p>{found}</p>", author, f"<pre>{escape(commit.message)}</pre>", *statuses)


@router.get("/{path:path}/-/merge_requests/{iid}", response_class=HTMLResponse)
def request_page(path: str, iid: str, world: TheWorld) -> str:
    project, _ = _page_project(world, path)
    for row in world.store.merge_requests:
        if (row["project_id"], str(row["iid"])) == (project["id"], iid):
            branches = f"{row['source_branch']} → {row['target_branch']}"
            return _page(row["title"], f"<p>!{iid} {escape(branches)}: {row['state']}</p>")
    raise HTTPException(404)


@router.get("/{path:path}/-/environments/{number}", response_class=HTMLResponse)
def environment_page(path: str, number: str, world: TheWorld) -> str:
    project, _ = _page_project(world, path)
    for row in world.store.environments:
        if (row["project_id"], str(row["id"])) == (project["id"], number):
            last = last_deployment(world, row)
            lines = [
                f"<li>{_link(world.web_url(project, 'commit', one['sha']), one['sha'][:8])} {one['status']}"
                f"{' · latest' if one is last else ''}</li>"
                for one in reversed(deployments_to(world, row))
            ]
            return _page(row["name"], *lines)
    raise HTTPException(404)


@router.get("/{path:path}/-/{kind}/{rest:path}", response_class=HTMLResponse)
def file_page(path: str, kind: str, rest: str, world: TheWorld) -> str:
    _, repository = _page_project(world, path)
    words = rest.split("/")
    if kind in ("blob", "tree"):
        # Branch names may hold slashes, so every way to part the branch from the file is tried.
        for cut in range(1, len(words) + 1):
            sha = repository.resolve("/".join(words[:cut]))
            text = repository.text(sha, "/".join(words[cut:])) if sha else None
            if text is not None:
                return _page(rest, f"<pre>{escape(text)}</pre>")
    raise HTTPException(404)


@router.get("/{path:path}", response_class=HTMLResponse)
def project_page(path: str, world: TheWorld) -> str:
    project, repository = _page_project(world, path)
    heads = [(ref.removeprefix("refs/heads/"), sha) for ref, sha in repository.heads().items()]
    lines = [f"<li>{escape(name)} {_link(world.web_url(project, 'commit', sha), sha[:8])}</li>" for name, sha in heads]
    return _page(project["path_with_namespace"], *lines)
