"""A small kustomize: resources, images, namespace and labels, read from anywhere by a function."""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

Object = dict[str, Any]
Read = Callable[[str], str | None]

KNOWN = frozenset({"apiVersion", "kind", "metadata", "resources", "images", "namespace", "commonLabels", "labels"})
CLUSTER_KINDS = frozenset({"Namespace"})
DEEPEST = 5


class KustomizeError(Exception):
    """What ``kustomize build`` prints when it cannot build."""


def _problem(error: YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    text = getattr(error, "problem", None) or str(error)
    return f"yaml: line {mark.line + 1}: {text}" if mark else f"yaml: {text}"


def build(read: Read, folder: str, depth: int = 0) -> list[Object]:
    """Return the objects of a kustomization.

    :param read: returns a file of the repository, None when there is none.
    :raises KustomizeError: with the text of the real tool, as far as a person needs it.
    """
    text = read(f"{folder}/kustomization.yaml")
    if text is None:
        raise KustomizeError(f"Error: unable to find one of 'kustomization.yaml' in directory '{folder}'")
    kustomization = _kustomization(text)
    objects: list[Object] = []
    for resource in kustomization.get("resources") or ():
        objects += _resource(read, folder, str(resource), depth)
    _images(objects, kustomization.get("images") or ())
    for item in objects:
        if kustomization.get("namespace") and item["kind"] not in CLUSTER_KINDS:
            item.setdefault("metadata", {})["namespace"] = kustomization["namespace"]
        _label(item, kustomization.get("commonLabels") or {}, selectors=True, templates=True)
        for rule in kustomization.get("labels") or ():
            selectors = bool(rule.get("includeSelectors"))
            _label(item, rule["pairs"], selectors=selectors, templates=selectors or bool(rule.get("includeTemplates")))
    return objects


def _kustomization(text: str) -> Object:
    try:
        value = YAML(typ="safe", pure=True).load(text)
    except YAMLError as error:
        raise KustomizeError(
            f"Error: invalid Kustomization: error converting YAML to JSON: {_problem(error)}"
        ) from error
    if not isinstance(value, dict):
        raise KustomizeError("Error: kustomization.yaml is empty")
    for field in value:
        if field not in KNOWN:
            raise KustomizeError(f'Error: invalid Kustomization: json: unknown field "{field}"')
    return value


def _resource(read: Read, folder: str, name: str, depth: int) -> list[Object]:
    path = posixpath.normpath(f"{folder}/{name}")
    text = None if path.startswith(("..", "/")) else read(path)
    if text is None:
        inside = None if path.startswith(("..", "/")) else read(f"{path}/kustomization.yaml")
        if inside is not None and depth < DEEPEST:
            return build(read, path, depth + 1)
        problem = f"open {path}: no such file or directory"
        raise KustomizeError(
            f"Error: accumulating resources: accumulation err='accumulating resources from '{name}': {problem}'"
        )
    try:
        items = list(YAML(typ="safe", pure=True).load_all(text))
    except YAMLError as error:
        problem = f"MalformedYAMLError: {_problem(error)} in File: {name}"
        raise KustomizeError(
            f"Error: accumulating resources: accumulation err='accumulating resources from '{name}': {problem}'"
        ) from error
    found = [item for item in items if item is not None]
    for item in found:
        named = isinstance(item, dict) and (item.get("metadata") or {}).get("name")
        if not named or not item.get("kind") or not item.get("apiVersion"):
            raise KustomizeError(f"Error: accumulating resources from '{name}': missing metadata.name in object")
    return found


def _pod_specs(item: Object) -> list[Object]:
    spec = item.get("spec") or {}
    template = spec.get("template") or {}
    return [found for found in (spec if item["kind"] == "Pod" else None, template.get("spec")) if found]


def _images(objects: list[Object], rules: Any) -> None:
    for item in objects:
        for spec in _pod_specs(item):
            for container in [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]:
                container["image"] = _image(str(container.get("image", "")), rules)


def _image(image: str, rules: Any) -> str:
    name, digest_mark, digest = image.partition("@")
    last = name.rpartition("/")[2]
    tag = last.partition(":")[2]
    name = name[: -len(tag) - 1] if tag else name
    for rule in rules:
        if rule.get("name") != name:
            continue
        new = rule.get("newName") or name
        if rule.get("digest"):
            return f"{new}@{rule['digest']}"
        if rule.get("newTag"):
            return f"{new}:{rule['newTag']}"
        return new + (f":{tag}" if tag else "") + digest_mark + digest
    return image


def _label(item: Object, pairs: Object, *, selectors: bool, templates: bool) -> None:
    if not pairs:
        return
    item["metadata"]["labels"] = {**(item["metadata"].get("labels") or {}), **pairs}
    spec = item.get("spec") or {}
    template = spec.get("template")
    if templates and isinstance(template, dict):
        metadata = template.setdefault("metadata", {})
        metadata["labels"] = {**(metadata.get("labels") or {}), **pairs}
    if selectors and item["kind"] == "Service":
        spec["selector"] = {**(spec.get("selector") or {}), **pairs}
    elif selectors and isinstance(spec.get("selector"), dict):
        spec["selector"]["matchLabels"] = {**(spec["selector"].get("matchLabels") or {}), **pairs}
