"""What every endpoint of the GitLab stand-in shares: who asks, for which project, with which parameters, and errors."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any
from urllib.parse import parse_qsl, quote, unquote, urlencode

from fastapi import Depends, Request
from fastapi.responses import JSONResponse

from sandbox.stand_ins.gitlab_git import BareRepository, GitCommit
from sandbox.stand_ins.gitlab_store import Person, PushEvents, Row, Store, Token

PER_PAGE = 20
MOST_PER_PAGE = 100


class ApiError(Exception):
    """An answer that says no.

    :param key: ``message`` where GitLab's services speak, ``error`` where Grape checks parameters.
    """

    def __init__(self, status: int, said: Any, *, key: str = "message", **more: str) -> None:
        super().__init__(said)
        self.status = status
        self.body = {key: said, **more}


def not_found(what: str) -> ApiError:
    return ApiError(404, f"404 {what} Not Found")


@dataclass(slots=True)
class World:
    """The instance: its state, its people and its address.

    :param contract: the tokens of the contract, which nobody made here.
    """

    store: Store
    events: PushEvents
    address: str
    contract: Mapping[str, Token]
    people: Mapping[int, Person] = field(init=False)

    def __post_init__(self) -> None:
        self.people = {token.person.id: token.person for token in self.contract.values()}

    def token(self, secret: str) -> Token | None:
        made = next((row for row in self.store.tokens if row["token"] == secret), None)
        if made is None:
            return self.contract.get(secret)
        person = self.people[made["user_id"]]
        return Token(made["id"], person, made["name"], tuple(made["scopes"]), made["expires_at"])

    def access_level(self, project: Row, user_id: int) -> int | None:
        """Return the highest level in the groups above a project."""
        path = project["path_with_namespace"]
        above = [group for group in self.store.groups if path.startswith(f"{group['full_path']}/")]
        return max((group["members"].get(str(user_id), 0) for group in above), default=0) or None

    def web_url(self, project: Row, *rest: str) -> str:
        return "/".join([self.address, project["path_with_namespace"], *(["-", *rest] if rest else [])])

    def user_row(self, person: Person | int | None) -> Row | None:
        if isinstance(person, int):
            person = self.people.get(person)
        if person is None:
            return None
        return {
            "id": person.id,
            "username": person.username,
            "name": person.name,
            "state": "active",
            "locked": False,
            "avatar_url": None,
            "web_url": f"{self.address}/{person.username}",
        }

    def commit_row(self, project: Row, commit: GitCommit) -> Row:
        return {
            "id": commit.sha,
            "short_id": commit.sha[:8],
            "created_at": commit.committed_at,
            "parent_ids": list(commit.parents),
            "title": commit.title,
            "message": commit.message,
            "author_name": commit.author_name,
            "author_email": commit.author_email,
            "authored_date": commit.authored_at,
            "committer_name": commit.committer_name,
            "committer_email": commit.committer_email,
            "committed_date": commit.committed_at,
            "trailers": {},
            "web_url": self.web_url(project, "commit", commit.sha),
        }


async def parameters(request: Request) -> Row:
    """Merge query, JSON and form, as Grape does."""
    given: Row = dict(parse_qsl(request.url.query, keep_blank_values=True))
    body = await request.body()
    kind = request.headers.get("content-type", "").partition(";")[0].strip()
    if body and kind == "application/json":
        try:
            sent = json.loads(body)
        except ValueError:
            raise ApiError(400, "400 Bad request - malformed JSON") from None
        given |= sent if isinstance(sent, dict) else {}
    elif kind == "application/x-www-form-urlencoded":
        given |= dict(parse_qsl(body.decode(errors="replace"), keep_blank_values=True))
    return given


def the_world(request: Request) -> World:
    world: World = request.app.state.world
    return world


EXPIRED = "Token is expired. You can either do re-authorization or token refresh."
NO_SCOPE = "The request requires higher privileges than provided by the access token."


def the_token(request: Request, world: Annotated[World, Depends(the_world)]) -> Token:
    """Refuse as lib/api/api_guard.rb does: unknown, ended, and for the scope."""
    scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
    token = world.token(request.headers.get("private-token") or (bearer if scheme.lower() == "bearer" else ""))
    if token is None:
        raise ApiError(401, "401 Unauthorized")
    if token.expired:
        raise ApiError(401, "invalid_token", key="error", error_description=EXPIRED)
    # A token may always look at itself (lib/api/personal_access_tokens/self_information.rb).
    itself = request.url.path.endswith("/personal_access_tokens/self")
    scopes = {"api"} | ({"read_api"} if request.method == "GET" else set())
    if not itself and not scopes & set(token.scopes):
        raise ApiError(403, "insufficient_scope", key="error", error_description=NO_SCOPE, scope=" ".join(scopes))
    return token


def the_person(token: Annotated[Token, Depends(the_token)]) -> Person:
    return token.person


Given = Annotated[Row, Depends(parameters)]
TheWorld = Annotated[World, Depends(the_world)]
TheToken = Annotated[Token, Depends(the_token)]
ThePerson = Annotated[Person, Depends(the_person)]


def the_project(request: Request, world: TheWorld, person: ThePerson) -> Row:
    project = world.store.project(unquote(request.path_params["project"]))
    if project is None:
        raise not_found("Project")
    return project


TheProject = Annotated[Row, Depends(the_project)]


def resolve(repository: BareRepository, revision: str) -> str:
    sha = repository.resolve(unquote(revision))
    if sha is None:
        raise not_found("Commit")
    return sha


def required(given: Row, *names: str) -> None:
    missing = [name for name in names if given.get(name) in (None, "")]
    if missing:
        raise ApiError(400, ", ".join(f"{name} is missing" for name in missing), key="error")


def truthy(value: Any) -> bool:
    return str(value).lower() in ("true", "1", "on", "yes")


def _number(given: Row, name: str, otherwise: int) -> int:
    value = str(given.get(name, otherwise))
    if not value.isdigit():
        raise ApiError(400, f"{name} is invalid", key="error")
    return max(int(value), 1)


def paged(request: Request, given: Row, world: World, rows: Iterable[Row], show: Callable[[Row], Row]) -> JSONResponse:
    """Answer one page with the headers clients walk by."""
    found = list(rows)
    size = min(_number(given, "per_page", PER_PAGE), MOST_PER_PAGE)
    page, last = _number(given, "page", 1), max(-(-len(found) // size), 1)
    path = quote(request.scope["path"], safe="/%")

    def link(number: int, relation: str) -> str:
        query = urlencode({**request.query_params, "page": number, "per_page": size})
        return f'<{world.address}{path}?{query}>; rel="{relation}"'

    around = [(page - 1, "prev")] if page > 1 else []
    around += [(page + 1, "next")] if page < last else []
    return JSONResponse(
        [show(row) for row in found[(page - 1) * size : page * size]],
        headers={
            "X-Total": str(len(found)),
            "X-Total-Pages": str(last),
            "X-Page": str(page),
            "X-Per-Page": str(size),
            "X-Next-Page": str(page + 1) if page < last else "",
            "X-Prev-Page": str(page - 1) if page > 1 else "",
            "Link": ", ".join(link(*one) for one in [*around, (1, "first"), (last, "last")]),
        },
    )
