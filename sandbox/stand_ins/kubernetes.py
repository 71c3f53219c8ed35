"""A small Kubernetes API server, good for the official clients and for Argo CD's server-side apply.

Shapes follow kubernetes/api/openapi-spec and the texts of k8s.io/apimachinery/pkg/api/errors.
"""

from __future__ import annotations

import copy
import re
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import httpx
from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse, Response
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from sandbox import effects
from sandbox.stand_ins.kubernetes_cluster import Cluster
from sandbox.stand_ins.kubernetes_kubelet import Registry
from sandbox.stand_ins.kubernetes_store import RESOURCES, Object, Resource, StatusError, Store, merge

VERSION = {
    "major": "1",
    "minor": "34",
    "gitVersion": "v1.34.10",
    "gitCommit": "unknown",
    "gitTreeState": "clean",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "go1.26.8",
    "compiler": "gc",
    "platform": "linux/amd64",
}
GROUPS = ("apps", "networking.k8s.io", "authorization.k8s.io")
PATH = re.compile(
    r"(?:api/v1|apis/(?P<group>[^/]+)/v1)"
    r"(?:/namespaces/(?P<namespace>[^/]+)(?=/.))?/(?P<plural>[^/]+)(?:/(?P<name>[^/]+))?"
)
VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
READER = "system:serviceaccount:platform-ops:releases"
READER_RULES = frozenset({("get", "apps", "deployments"), ("list", "", "pods"), ("list", "", "events")})
"""What the reader may do, in every namespace and not over all of them: a Role in each."""
SET_BASED = re.compile(r"\s*([^\s!=,()]+)\s+(in|notin)\s*\(([^)]*)\)\s*")


async def raw_body(request: Request) -> bytes:
    return await request.body()


def _field(item: Object, path: str) -> str:
    value: Any = item
    for part in path.split("."):
        value = value.get(part, "") if isinstance(value, dict) else ""
    return str(value)


def _label_rules(selector: str) -> list[Callable[[Mapping[str, str]], bool]]:
    rules: list[Callable[[Mapping[str, str]], bool]] = []
    for rule in re.split(r",(?![^(]*\))", selector):
        found = SET_BASED.fullmatch(rule)
        if found:
            key, word, values = found[1], found[2], {item.strip() for item in found[3].split(",")}
            rules.append(lambda have, k=key, v=values, w=word: (have.get(k) in v) == (w == "in"))  # type: ignore[misc]
        elif "=" in rule:
            key, sign, wanted = re.split(r"(!=|==|=)", rule.strip(), maxsplit=1)
            rules.append(lambda have, k=key, s=sign, v=wanted: (have.get(k) == v) == (s != "!="))  # type: ignore[misc]
        else:
            key = rule.strip()
            rules.append(lambda have, k=key: (k.lstrip("!") in have) != k.startswith("!"))  # type: ignore[misc]
    return rules


def _select(items: list[Object], query: Mapping[str, str]) -> list[Object]:
    if query.get("labelSelector"):
        rules = _label_rules(query["labelSelector"])
        items = [item for item in items if all(rule(item["metadata"].get("labels") or {}) for rule in rules)]
    for rule in filter(None, query.get("fieldSelector", "").split(",")):
        path, sign, value = re.split(r"(!=|==|=)", rule, maxsplit=1)
        items = [item for item in items if (_field(item, path) == value) == (sign != "!=")]
    return items


def _parse(body: bytes) -> Object:
    try:
        value = YAML(typ="safe", pure=True).load(body.decode()) if body else {}
    except (YAMLError, UnicodeDecodeError) as error:
        raise StatusError(400, "BadRequest", f"error decoding the body: {error}") from error
    if not isinstance(value, dict):
        raise StatusError(400, "BadRequest", "the object provided is unrecognized (must be of type object)")
    return value


def _allowed(rules: frozenset[tuple[str, str, str]] | None, verb: str, group: str, resource: str, space: str) -> bool:
    """Say whether RBAC allows it; `rules` is None for the cluster's administrator."""
    return rules is None or (bool(space) and (verb, group, resource) in rules)


def _review(body: bytes, rules: frozenset[tuple[str, str, str]] | None) -> Object:
    """Answer a SelfSubjectAccessReview (k8s.io/kubernetes/pkg/registry/authorization/selfsubjectaccessreview)."""
    review = _parse(body)
    asked = (review.get("spec") or {}).get("resourceAttributes")
    if not isinstance(asked, dict):
        message = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        raise StatusError(422, "Invalid", f'SelfSubjectAccessReview.authorization.k8s.io "" is invalid: {message}')
    resource = "/".join(filter(None, (asked.get("resource", ""), asked.get("subresource", ""))))
    allowed = _allowed(rules, asked.get("verb", ""), asked.get("group", ""), resource, asked.get("namespace", ""))
    return review | {"status": {"allowed": allowed}}


def _forbidden(verb: str, resource: Resource, namespace: str, name: str) -> StatusError:
    qualified = f"{resource.plural}.{resource.group}" if resource.group else resource.plural
    named = f'{qualified} "{name}"' if name else qualified
    where = f'in the namespace "{namespace}"' if namespace else "at the cluster scope"
    said = f'cannot {verb} resource "{resource.plural}" in API group "{resource.group}" {where}'
    return StatusError(403, "Forbidden", f'{named} is forbidden: User "{READER}" {said}')


class Server:
    """Verbs on resources."""

    def __init__(self, store: Store, cluster: Cluster) -> None:
        self.store = store
        self.cluster = cluster

    def answer(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        content_type: str,
        body: bytes,
        rules: frozenset[tuple[str, str, str]] | None,
    ) -> Response:
        """Answer one authenticated request.

        :param rules: what the account may do; None for everything.
        :raises StatusError: with the Status to answer.
        """
        fixed = self._discovery(path) if method == "GET" else None
        if fixed is not None:
            return JSONResponse(fixed)
        if method == "POST" and path == "apis/authorization.k8s.io/v1/selfsubjectaccessreviews":
            return JSONResponse(_review(body, rules), 201)
        found = PATH.fullmatch(path)
        resource = RESOURCES.get(found["plural"]) if found else None
        if found is None or resource is None or (found["group"] or "") != resource.group:
            raise StatusError(404, "NotFound", "the server could not find the requested resource")
        if query.get("watch") in ("1", "true"):
            raise StatusError(405, "MethodNotAllowed", "this stand-in does not watch; list instead")
        namespace, name = found["namespace"] or "", found["name"] or ""
        verb = VERBS.get(method) or ("get" if name else "list")
        if not _allowed(rules, verb, resource.group, resource.plural, namespace):
            raise _forbidden(verb, resource, namespace, name)
        with self.store.lock:
            code, answer = self._verb(method, resource, namespace, name, query, content_type, body)
            self.store.save()
        if method != "GET":
            self.cluster.wake.set()
        return JSONResponse(answer, code)

    def _discovery(self, path: str) -> Any:
        if path == "version":
            return VERSION
        if path == "api":
            return {"kind": "APIVersions", "versions": ["v1"]}
        if path == "apis":
            groups = []
            for name in GROUPS:
                served = {"groupVersion": f"{name}/v1", "version": "v1"}
                groups.append({"name": name, "versions": [served], "preferredVersion": served})
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
        for version in ("v1", *(f"{name}/v1" for name in GROUPS)):
            if path == (f"apis/{version}" if "/" in version else f"api/{version}"):
                listed = [
                    {
                        "name": resource.plural,
                        "kind": resource.kind,
                        "namespaced": resource.namespaced,
                        "singularName": resource.kind.lower(),
                        "verbs": ["create", "delete", "get", "list", "patch", "update"],
                    }
                    for resource in RESOURCES.values()
                    if resource.api_version == version
                ]
                return {"kind": "APIResourceList", "groupVersion": version, "resources": listed}
        return None

    def _verb(
        self,
        method: str,
        resource: Resource,
        namespace: str,
        name: str,
        query: Mapping[str, str],
        content_type: str,
        body: bytes,
    ) -> tuple[int, Object]:
        now = self.cluster.clock()
        if method == "GET" and name:
            return 200, copy.deepcopy(self.store.get(resource, namespace, name))
        if method == "GET":
            items = _select(list(self.store.every(resource.plural, namespace)), query)
            head = {"kind": f"{resource.kind}List", "apiVersion": resource.api_version}
            return 200, head | {"metadata": {"resourceVersion": self.store.version}, "items": copy.deepcopy(items)}
        if method == "DELETE" and name:
            return 200, self._delete(resource, namespace, name)
        written = ("POST",) if not name else ("PUT", "PATCH")
        if method not in written or (resource.namespaced and not namespace):
            raise StatusError(405, "MethodNotAllowed", "this resource does not allow this method")
        sent = _parse(body)
        if method == "POST":
            return 201, copy.deepcopy(self.store.create(resource, namespace, sent, now))
        if method == "PUT":
            return 200, copy.deepcopy(self.store.replace(resource, namespace, name, sent))
        return self._patch(resource, namespace, name, query, content_type, sent)

    def _patch(
        self, resource: Resource, namespace: str, name: str, query: Mapping[str, str], content_type: str, sent: Object
    ) -> tuple[int, Object]:
        kind = content_type.partition(";")[0]
        if kind == "application/apply-patch+yaml":
            manager = query.get("fieldManager")
            if not manager:
                raise StatusError(400, "BadRequest", "PatchOptions is invalid: fieldManager: Required value")
            existed = self.store.find(resource.plural, namespace, name) is not None
            done = self.store.apply(resource, namespace, name, sent, manager, self.cluster.clock())
            return 200 if existed else 201, copy.deepcopy(done)
        if kind not in ("application/merge-patch+json", "application/strategic-merge-patch+json"):
            raise StatusError(415, "UnsupportedMediaType", "the body of the request was in an unknown format")
        old = self.store.get(resource, namespace, name)
        new = merge(old, sent, by_name=kind.startswith("application/strategic"))
        return 200, copy.deepcopy(self.store.replace(resource, namespace, name, new))

    def _delete(self, resource: Resource, namespace: str, name: str) -> Object:
        if resource.plural == "pods":
            pod = self.store.get(resource, namespace, name)
            self.cluster.kubelet.terminate(pod)
            return copy.deepcopy(pod)
        gone = self.store.remove(resource, namespace, name)
        details = {"name": name, "group": resource.group, "kind": resource.plural, "uid": gone["metadata"]["uid"]}
        return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}


def create_app(
    environment: Mapping[str, str],
    folder: Path,
    variant: str,
    *,
    registry: httpx.BaseTransport | None = None,
    clock: Callable[[], float] = time.time,
    background: bool = True,
) -> FastAPI:
    """Make the API server of one cluster.

    :param registry: replaces the network on the way to the registry in tests.
    :param background: without it the caller steps ``app.state.cluster`` itself.
    """
    folder.mkdir(parents=True, exist_ok=True)
    store = Store(folder)
    cluster = Cluster(store, Registry(environment, registry), clock)
    server = Server(store, cluster)
    app = FastAPI(title=f"Kubernetes stand-in ({variant})", openapi_url=None)
    app.state.cluster = cluster
    # The reader's token is not there in tests of other things.
    accounts = {environment["KUBERNETES_TOKEN"]: None, environment.get("KUBERNETES_READER_TOKEN"): READER_RULES}

    @app.get("/_sandbox/state")
    def state() -> dict[str, Any]:
        with store.lock:
            return effects.state(store.effects)

    @app.api_route("/{path:path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
    def handle(request: Request, path: str, body: Annotated[bytes, Depends(raw_body)]) -> Response:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme != "Bearer" or token not in accounts:
            return JSONResponse(StatusError(401, "Unauthorized", "Unauthorized").body, 401)
        try:
            content_type = request.headers.get("content-type", "")
            return server.answer(
                request.method, path.rstrip("/"), request.query_params, content_type, body, accounts[token]
            )
        except StatusError as failure:
            return JSONResponse(failure.body, failure.code)

    if background:
        threading.Thread(target=cluster.run, name="cluster", daemon=True).start()
    return app
