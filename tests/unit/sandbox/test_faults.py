"""What each fault does on the wire, in front of an app and, as a proxy, in front of S3 and git."""

import io
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import urllib3
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from platform_ops.common.errors import PlatformError, Unreachable
from platform_ops.systems.git.errors import PushRejected
from platform_ops.systems.git.hook import Repository
from sandbox import contract
from sandbox.faults import PATH, FaultLayer
from sandbox.forward import Forward
from sandbox.stand_ins import gitlab, object_store
from tests.unit.sandbox.served import served
from tests.waiting import wait_until

BODY = b"0123456789" * 20


class Counter:
    """A server that counts what it did."""

    def __init__(self) -> None:
        self.done: list[str] = []
        routes = [
            Route("/things/{name:path}", self.thing, methods=["GET", "POST"]),
            Route("/_sandbox/state", self.state),
        ]
        self.app = Starlette(routes=routes)

    async def thing(self, request: Request) -> Response:
        try:
            size = str(len(await request.body()))
        except ClientDisconnect:
            size = "cut"
        self.done.append(f"{request.method} {request.scope['raw_path'].decode()} {size}")
        return Response(BODY, headers={"ETag": '"tag"'})

    async def state(self, _: Request) -> Response:
        return JSONResponse({"effects": {"things": len(self.done)}})


@pytest.fixture(scope="module")
def shared_counter() -> Counter:
    return Counter()


@pytest.fixture
def counter(shared_counter: Counter) -> Counter:
    shared_counter.done.clear()
    return shared_counter


@pytest.fixture
def client(shared_client: httpx.Client) -> httpx.Client:
    shared_client.delete(PATH)
    return shared_client


@pytest.fixture(params=["middleware", "proxy"], scope="module")
def shared_client(request: pytest.FixtureRequest, shared_counter: Counter) -> Iterator[httpx.Client]:
    """A client of the counter, whose layer is around the app or stands before its server."""
    counter = shared_counter
    if request.param == "middleware":
        with served(FaultLayer(counter.app)) as address, httpx.Client(base_url=address) as made:
            yield made
    else:
        with (
            served(counter.app) as upstream,
            served(FaultLayer(Forward(upstream))) as address,
            httpx.Client(base_url=address) as made,
        ):
            yield made


def order(client: httpx.Client, **fault: Any) -> None:
    assert client.post(PATH, json=fault).status_code == 201


def test_without_orders_everything_passes_unchanged(client: httpx.Client, counter: Counter) -> None:
    answer = client.post("/things/a%2Fb?x=%20y", content=b"abc")
    assert (answer.content, answer.headers["ETag"]) == (BODY, '"tag"')
    assert counter.done == ["POST /things/a%2Fb 3"]


def test_an_upload_that_breaks_off_is_no_whole_one(client: httpx.Client, counter: Counter) -> None:
    class Killed(Exception):
        pass

    def half() -> Iterator[bytes]:
        yield b"half"
        raise Killed

    with pytest.raises(Killed):
        client.post("/things/a", content=half())
    wait_until(lambda: counter.done, "what came of the upload")
    assert counter.done == ["POST /things/a cut"]


def test_a_status_is_answered_and_nothing_is_done(client: httpx.Client, counter: Counter) -> None:
    order(client, kind="status", status=429, seconds=2, path="^/things/")
    first = client.post("/things/a", content=b"x" * 100_000)
    assert (first.status_code, first.headers["Retry-After"]) == (429, "2")
    assert counter.done == []
    assert client.post("/things/a").status_code == 200


def test_a_reset_comes_before_anything_is_done(client: httpx.Client, counter: Counter) -> None:
    order(client, kind="reset")
    with pytest.raises(httpx.ReadError):
        client.get("/things/a")
    assert counter.done == []


def test_a_lost_reply_was_done(client: httpx.Client, counter: Counter) -> None:
    order(client, kind="lose_reply", method="POST")
    with pytest.raises(httpx.ReadError):
        client.post("/things/a", content=b"abc")
    assert counter.done == ["POST /things/a 3"]


def test_a_truncated_answer_ends_in_its_middle(client: httpx.Client) -> None:
    order(client, kind="truncate")
    got: list[bytes] = []
    with client.stream("GET", "/things/a") as answer, pytest.raises(httpx.RemoteProtocolError):
        got.extend(answer.iter_raw(1))
    assert b"".join(got) == BODY[: len(BODY) // 2]


def test_wrong_bytes_keep_length_and_tag(client: httpx.Client) -> None:
    order(client, kind="wrong_bytes")
    answer = client.get("/things/a")
    different = [place for place, (one, other) in enumerate(zip(answer.content, BODY, strict=True)) if one != other]
    assert (len(different), answer.headers["ETag"]) == (1, '"tag"')


@pytest.mark.parametrize("kind", ["drip", "delay"])
def test_a_slow_answer_outlasts_an_impatient_client(client: httpx.Client, kind: str) -> None:
    order(client, kind=kind, seconds=30)
    with pytest.raises(httpx.ReadTimeout):
        client.get("/things/a", timeout=0.2)
    order(client, kind=kind, seconds=0)
    assert client.get("/things/a").content == BODY


def test_an_order_strikes_what_it_names_as_often_as_it_says(client: httpx.Client, counter: Counter) -> None:
    order(client, kind="status", method="post", path=r"/things/b\?force=1$", times=2)
    statuses = [
        client.request(method, target).status_code
        for method, target in [
            ("GET", "/things/b?force=1"),
            ("POST", "/things/b"),
            *[("POST", "/things/b?force=1")] * 3,
        ]
    ]
    assert statuses == [200, 200, 503, 503, 200]
    (listed,) = client.get(PATH).json()["faults"]
    assert (listed["struck"], listed["times"]) == (2, 2)


def test_orders_stand_until_they_are_forgotten(client: httpx.Client) -> None:
    order(client, kind="status", times=0)
    assert [client.get("/things/a").status_code for _ in range(5)] == [503] * 5
    assert client.get("/_sandbox/state").status_code == 200
    assert client.delete(PATH).json() == {"faults": []}
    assert client.get("/things/a").status_code == 200


@pytest.mark.parametrize(
    ("wrong", "word"),
    [({"kind": "flood"}, "kind"), ({}, "kind"), ({"kind": "reset", "path": "("}, "path"), ({"kind": "reset", "colour": 1}, "colour"),
     ({"kind": "reset", "times": -1}, "times"), ({"kind": "delay", "seconds": "1"}, "seconds"), ({"kind": "status", "status": True}, "status"), ([], "object")],
)  # fmt: skip
def test_an_order_that_means_nothing_is_refused(client: httpx.Client, wrong: Any, word: str) -> None:
    answer = client.post(PATH, json=wrong)
    assert answer.status_code == 422
    assert word in answer.json()["error"]
    assert client.get(PATH).json() == {"faults": []}


def test_a_server_that_is_gone_is_a_bad_gateway() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with served(FaultLayer(Forward(f"http://127.0.0.1:{port}"))) as address:
        assert httpx.get(address).status_code == 502


# As a proxy in front of a signed protocol, and of git


@pytest.fixture
def store(tmp_path: Any) -> Iterator[tuple[Any, str]]:
    from minio import Minio

    environment = contract.new_environment(21000)
    with (
        served(object_store.create_app(environment, tmp_path)) as upstream,
        served(FaultLayer(Forward(upstream))) as address,
        urllib3.PoolManager(retries=False) as pool,
    ):
        credentials = environment["OBJECT_STORE_ACCESS_KEY"], environment["OBJECT_STORE_SECRET_KEY"]
        made = Minio(address.removeprefix("http://"), *credentials, secure=False, region="us-east-1", http_client=pool)
        made.make_bucket("evidence")
        yield made, address


def test_signed_requests_pass_the_proxy(store: tuple[Any, str]) -> None:
    client, _ = store
    client.put_object("evidence", "runs/a b+ü%2F.json", io.BytesIO(BODY), len(BODY))
    assert client.get_object("evidence", "runs/a b+ü%2F.json").read() == BODY
    assert [one.object_name for one in client.list_objects("evidence", recursive=True)] == ["runs/a b+ü%2F.json"]


def test_an_object_whose_answer_was_lost_is_there(store: tuple[Any, str]) -> None:
    client, address = store
    assert httpx.post(f"{address}{PATH}", json={"kind": "lose_reply", "method": "PUT"}).status_code == 201
    with pytest.raises(urllib3.exceptions.HTTPError):
        client.put_object("evidence", "a", io.BytesIO(BODY), len(BODY))
    assert client.get_object("evidence", "a").read() == BODY


@pytest.fixture
def project(tmp_path: Any) -> Iterator[tuple[Repository, str]]:
    """A repository with one commit, behind the proxy."""
    environment = {"GITLAB_URL": "http://gitlab.test", "GITLAB_TOKEN": "glpat-0123456789"}
    app = gitlab.create_app(environment, tmp_path, send=lambda *_: 200)
    with served(app) as upstream, served(FaultLayer(Forward(upstream))) as address:
        api = httpx.Client(base_url=f"{upstream}/api/v4", headers={"PRIVATE-TOKEN": environment["GITLAB_TOKEN"]})
        made = api.post("/projects", json={"name": "gitops", "path": "gitops"}).json()
        remote = f"{address}/{made['path_with_namespace']}.git"
        with Repository(remote, ("oauth2", environment["GITLAB_TOKEN"]), pause=lambda _: None) as repository:
            tree = repository._git("hash-object", "-t", "tree", "-w", "--stdin", stdin="").strip()
            who = {
                f"GIT_{role}_{part}": "a@example.com" for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")
            }
            repository._environment |= who
            first = repository._git("commit-tree", tree, "-m", "Begin").strip()
            repository._push(first, "main")
            yield repository, address
        api.close()


def commit_on(repository: Repository, head: str) -> str:
    return repository._git("commit-tree", f"{head}^{{tree}}", "-p", head, "-m", "More").strip()


def test_git_passes_the_proxy_and_a_push_whose_answer_was_lost_has_moved_the_branch(
    project: tuple[Repository, str],
) -> None:
    repository, address = project
    head = repository.fetch_branch("main")
    more = commit_on(repository, head)
    fault = {"kind": "lose_reply", "method": "POST", "path": "git-receive-pack$"}
    assert httpx.post(f"{address}{PATH}", json=fault).status_code == 201
    # git sends again by itself when a connection it has used before breaks; then the branch has moved under it.
    with pytest.raises((Unreachable, PushRejected)):
        repository._push(more, "main")
    assert repository.branches() == {"main": more}


def test_a_cut_pack_is_no_fetch(project: tuple[Repository, str]) -> None:
    repository, address = project
    with Repository(repository.address, ("oauth2", "glpat-0123456789")) as other:
        fault = {"kind": "truncate", "method": "POST", "path": "git-upload-pack$", "times": 0}
        assert httpx.post(f"{address}{PATH}", json=fault).status_code == 201
        with pytest.raises(PlatformError):
            other.fetch_branch("main")
        httpx.delete(f"{address}{PATH}")
        assert other.fetch_branch("main")
