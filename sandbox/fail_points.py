"""The fail points of platform-ops: which there are, which calls lack one, and how a process is made to die at one.

The list is read from the source, so that it needs no import and can't miss a room.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from platform_ops.common.fail_points import REACHED, STAGES
from sandbox.processes import ROOT, SandboxError

PLUGINS = ROOT / "plugins" / "platform_ops"
ROOMS = ("systems", "upkeep", "web")
"""Folders that talk to systems; the others do so through the rooms' methods, called like anything else."""
CHANGING = ("POST", "PUT", "PATCH", "DELETE")
SENDERS = ("call", "json", "request", "urlopen")
"""Methods that take the HTTP method first: HttpApi, httpx and urllib3."""
SENDERS_IN_ROOMS = (*SENDERS, "stream", "_execute")
"""... and those whose name means something else elsewhere: httpx and minio."""
VERBS = (
    "post", "put", "patch", "delete", "send", "create", "save", "remove", "make_bucket", "move",
    "merge", "rebase", "approve", "cancel", "play", "trigger", "protect", "archive",
)  # fmt: skip
STARTS = (
    "create_", "patch_", "replace_", "delete_", "put_", "fput_", "remove_", "set_bucket_", "set_object_", "copy_",
    "compose_", "append_", "upload_", "complete_", "abort_", "enable_", "disable_",
)  # fmt: skip
"""What httpx and the clients of GitLab, Kubernetes and S3 call their changing methods, with or without a ``_``."""
OWN = ("self", "super()", "hook", "self.hook", "self._hook")
"""How a room names its own hook, whose marked methods anybody may call."""
GIT = ("git", "_git")
"""The git command, and the methods that hand their arguments on to it."""
TRANSPORTS = ("http.py", "git_command.py")
"""Files of common/ through which every call goes, and that reach the points."""


@dataclass(frozen=True, slots=True)
class FailPoint:
    """A named place around a call that changes something.

    :param where: file and method.
    :param does: the first sentence of the method's docstring.
    """

    name: str
    where: str
    does: str


def fail_points(root: Path = PLUGINS) -> tuple[FailPoint, ...]:
    """Return every fail point, by name.

    :raises SandboxError: two have the same name.
    """
    found: dict[str, FailPoint] = {}
    for path in sorted(root.rglob("*.py")):
        for function in _functions(ast.parse(path.read_text())):
            name = _mark(function)
            if name:
                sentence = (ast.get_docstring(function) or "").partition("\n")[0]
                point = FailPoint(name, f"{path.relative_to(root.parent)}: {function.name}", sentence)
                if name in found:
                    raise SandboxError(f"Two methods have fail point {name}: {found[name].where} and {point.where}.")
                found[name] = point
    return tuple(found[name] for name in sorted(found))


def calls_without(root: Path = PLUGINS) -> tuple[str, ...]:
    """Return where something is changed outside a method marked with ``@changes`` or ``@asks``."""
    trees = {path: ast.parse(path.read_text()) for path in sorted(root.rglob("*.py"))}
    marked = {one.name for tree in trees.values() for one in _functions(tree) if _mark(one) is not None}
    return tuple(
        f"{path.relative_to(root.parent)}:{call.lineno}: {ast.unparse(call)[:100]}"
        for path, tree in trees.items()
        if path.name not in TRANSPORTS
        for call in _unmarked(tree)
        if _changes(call, in_room=path.relative_to(root).parts[0] in ROOMS) and not _is_own(call, marked)
    )


def _unmarked(tree: ast.AST) -> Iterator[ast.Call]:
    """Yield the calls outside marked methods; a decorator declares, and who calls ``_git`` is looked at instead."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef) and (_mark(node) is not None or node.name in GIT):
            continue
        if node in getattr(tree, "decorator_list", ()):
            continue
        if isinstance(node, ast.Call):
            yield node
        yield from _unmarked(node)


def _changes(call: ast.Call, *, in_room: bool) -> bool:
    function = call.func
    name = getattr(function, "attr", getattr(function, "id", ""))
    if name in GIT:
        return _pushes(call)
    if not isinstance(function, ast.Attribute):
        return False
    if name in (SENDERS_IN_ROOMS if in_room else SENDERS) and (call.args or call.keywords):
        method = call.args[0] if call.args else next((one.value for one in call.keywords if one.arg == "method"), None)
        # A method that is not written out could be any.
        return not isinstance(method, ast.Constant) or str(method.value).upper() in CHANGING
    # python-gitlab's update names the object; a dictionary's takes one argument.
    verb = name in VERBS or name.lstrip("_").startswith(STARTS) or (name == "update" and len(call.args) > 1)
    return in_room and verb


def _pushes(call: ast.Call) -> bool:
    """Tell whether git may push: it is told to, or what it is told to do is not written out."""
    words = [word for part in call.args for word in (part.elts if isinstance(part, ast.List | ast.Tuple) else [part])]
    # The function takes the folder first, the methods know theirs.
    command = words[1:] if isinstance(call.func, ast.Name) else words
    if not (command and isinstance(command[0], ast.Constant)):
        return True
    return any(isinstance(word, ast.Constant) and word.value == "push" for word in command)


def _is_own(call: ast.Call, marked: set[str]) -> bool:
    """Tell whether a method is called that is marked itself."""
    function = call.func
    return isinstance(function, ast.Attribute) and function.attr in marked and ast.unparse(function.value) in OWN


def _functions(tree: ast.AST) -> Iterator[ast.FunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def _mark(function: ast.FunctionDef) -> str | None:
    """Return the name in ``@changes``, an empty one for ``@asks``, None without either."""
    for decorator in function.decorator_list:
        if isinstance(decorator, ast.Name) and decorator.id == "asks":
            return ""
        if isinstance(decorator, ast.Call) and isinstance(decorator.func, ast.Name) and decorator.func.id == "changes":
            (name,) = decorator.args
            return str(ast.literal_eval(name))
    return None


def folder(state: Path) -> Path:
    """Return the folder in which the sandbox's processes look for armed points."""
    return state / "fail-points"


def arm(state: Path, name: str, stage: str) -> None:
    """Have the next process that reaches a point die there, once.

    :param stage: ``before`` the call, when it is ``answered``, or when the method has ``returned``.
    :raises SandboxError: there is no such point.
    """
    if stage not in STAGES or name not in {point.name for point in fail_points()}:
        raise SandboxError(f"There is no fail point {name}.{stage}; `python -m sandbox fail-points` lists them.")
    (folder(state) / f"{name}.{stage}").touch()


def armed(state: Path) -> tuple[str, ...]:
    """Return the armed points that nobody has reached yet."""
    return tuple(sorted(path.name for path in folder(state).iterdir() if path.name != REACHED))


def disarm(state: Path) -> None:
    """Forget every armed point."""
    for name in armed(state):
        (folder(state) / name).unlink(missing_ok=True)


def reached(state: Path) -> tuple[str, ...]:
    """Return the points that processes have reached, in that order, as ``name.stage``."""
    path = folder(state) / REACHED
    return tuple(path.read_text().splitlines()) if path.exists() else ()
