"""The one reader of catalogue files: strict YAML, checked against a JSON Schema, errors with file, line and field.

In our schemas the ``description`` of a type ends the sentence "… is not …"; beside a ``$ref`` it says what a field is
for.
"""

from __future__ import annotations

import difflib
import json
import re
from datetime import timedelta
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from platform_ops.common.errors import Invalid
from platform_ops.common.settings import include

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from jsonschema.exceptions import ValidationError

LARGEST_FILE = 256 * 1024
DEEPEST = 40
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_WHOLE = re.compile(r"0|-?[1-9][0-9]{0,17}")
TYPES = {
    "array": "a list",
    "boolean": "true or false",
    "integer": "a whole number",
    "object": "a block of fields",
    "string": "a text",
}
"""What a value should be, where its type has no description."""


class BadDocument(Invalid):
    """A catalogue file does not say what it must."""


def load_document(path: Path, schema: str) -> Mapping[str, Any]:
    """Read one YAML file and check it.

    Scalars stay what JSON knows: a tag, an anchor or an alias is refused, a duplicate key too.

    :param schema: file name in ``include/schemas``.
    :return: shared by all who read the same text.
    :raises BadDocument: with file, line and field of each fault.
    """
    return _checked(path, _text(path), include() / "schemas" / schema)


@lru_cache(maxsize=256)
def _checked(path: Path, text: str, schema: Path) -> Mapping[str, Any]:
    """Parse and check a text; a step reads its catalogue file several times, and to parse it takes milliseconds."""
    node = _parse(path, text)
    value = _plain(node, path)
    errors = sorted(_validator(schema).iter_errors(value), key=lambda error: list(error.path))
    if errors:
        lines = [f"{path.name}, line {_line_of(node, error)}: {_explain(error)}" for error in errors]
        # Of several missing fields there is an error for each, and one sentence.
        raise BadDocument("; ".join(dict.fromkeys(lines)) + f". Correct {path.name} and start again.")
    return cast("Mapping[str, Any]", value)


@cache
def _validator(path: Path) -> Any:
    from jsonschema import Draft202012Validator
    from referencing import Registry

    # A schema refers to another one by the name of its file.
    others: Registry[Any] = Registry(retrieve=lambda name: _schema(path.with_name(name)))  # type: ignore[call-arg]
    return Draft202012Validator(json.loads(path.read_text()), registry=others)


def _schema(path: Path) -> Any:
    from referencing import Resource
    from referencing.jsonschema import DRAFT202012

    return Resource.from_contents(json.loads(path.read_text()), DRAFT202012)


def duration(text: str) -> timedelta:
    """Return the time that ``30m`` or ``24h`` stands for in a catalogue file."""
    return timedelta(**{_UNITS[text[-1]]: int(text[:-1])})


def _text(path: Path) -> str:
    if not path.is_file():
        raise BadDocument(f"{path.name} does not exist in {path.parent.name}/; the catalogue has one file per entry.")
    if path.stat().st_size > LARGEST_FILE:
        raise BadDocument(f"{path.name} is larger than {LARGEST_FILE} bytes; a catalogue entry is a page at most.")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise BadDocument(f"{path.name} is not UTF-8 at byte {error.start}.") from error
    except OSError as error:
        raise BadDocument(f"{path.name} can't be read here: {error.strerror or error}.") from error


def _parse(path: Path, text: str) -> Any:
    """Compose the node tree; only nodes know lines, anchors and tags."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        node = YAML(typ="safe", pure=True).compose(text)
    except (YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or type(error).__name__
        raise BadDocument(f"{path.name}{where}: not valid YAML: {problem}.") from error
    if node is None:
        raise BadDocument(f"{path.name} is empty.")
    return node


def _plain(node: Any, path: Path, depth: int = 0) -> Any:
    from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode

    line = node.start_mark.line + 1
    if node.anchor:
        raise BadDocument(f"{path.name}, line {line}: anchors and aliases are not allowed; write the value out.")
    if depth > DEEPEST:
        raise BadDocument(f"{path.name}, line {line}: nested deeper than {DEEPEST} levels.")
    if isinstance(node, ScalarNode):
        return _scalar(node, path, line)
    if isinstance(node, SequenceNode):
        return [_plain(item, path, depth + 1) for item in node.value]
    if not isinstance(node, MappingNode):
        raise BadDocument(f"{path.name}, line {line}: an alias is not allowed; write the value out.")
    result: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = key_node.value if isinstance(key_node, ScalarNode) else None
        if key is None or key in result:
            at = key_node.start_mark.line + 1
            raise BadDocument(f"{path.name}, line {at}: the key {key!r} stands here a second time or is not a word.")
        result[key] = _plain(value_node, path, depth + 1)
    return result


def _scalar(node: Any, path: Path, line: int) -> Any:
    """Return text, whole numbers and true/false; everything else YAML guesses (NO, 1.10, dates) stays text."""
    kind = str(node.tag).rpartition(":")[2]
    if "python" in str(node.tag) or kind not in ("str", "int", "bool", "null", "float", "timestamp"):
        raise BadDocument(f"{path.name}, line {line}: the tag {node.tag} is not allowed.")
    text: str = node.value
    if node.style is None and text in ("true", "false"):
        return text == "true"
    if node.style is None and _WHOLE.fullmatch(text):
        return int(text)
    return text


def _line_of(node: Any, error: ValidationError) -> int:
    """Return the line of the deepest node on the error's path; of the unknown key itself where there is one."""
    for step in error.absolute_path:
        if isinstance(step, int):
            node = node.value[step]
        else:
            node = next(value for key, value in node.value if key.value == step)
    if error.validator == "additionalProperties":
        unknown = _unknown(error)
        return next(int(key.start_mark.line) for key, _ in node.value if key.value in unknown) + 1
    return int(node.start_mark.line) + 1


def _explain(error: ValidationError) -> str:
    field = _dotted(error.absolute_path) or "the document"
    explain = _SENTENCES.get(str(error.validator), _not_that)
    return f"{field}: {explain(error)}"


def _not_that(error: ValidationError) -> str:
    told = error.schema.get("description") if isinstance(error.schema, dict) else None
    if told is None and error.validator == "type":
        told = TYPES.get(str(error.validator_value))
    return f"{error.instance!r:.100} is not {told}" if told else error.message


def _nothing_known(error: ValidationError) -> str:
    known, unknown = _known(error), _unknown(error)
    nearest = {name: difflib.get_close_matches(name, known, n=1) for name in unknown}
    asked = [f"{name} (do you mean {near[0]}?)" if near else name for name, near in nearest.items()]
    return f"has no field {', '.join(asked)}; known are {', '.join(known) or 'none'}"


def _missing(error: ValidationError) -> str:
    names = [name for name in cast("list[str]", error.validator_value) if name not in _fields(error)]
    return f"needs {', '.join(names)}"


def _alone(error: ValidationError) -> str:
    needs = cast("dict[str, list[str]]", error.validator_value)
    found = _fields(error)
    pairs = [(name, other) for name in needs if name in found for other in needs[name]]
    return ", ".join(f"{name} needs {other} beside it" for name, other in pairs if other not in found)


_SENTENCES: Mapping[str, Callable[[ValidationError], str]] = {
    "additionalProperties": _nothing_known,
    "dependentRequired": _alone,
    "enum": lambda error: error.message,
    "required": _missing,
}


def _known(error: ValidationError) -> list[str]:
    return sorted(error.schema.get("properties", ()) if isinstance(error.schema, dict) else ())


def _unknown(error: ValidationError) -> list[str]:
    known = _known(error)
    return [name for name in _fields(error) if name not in known]


def _fields(error: ValidationError) -> dict[str, Any]:
    return cast("dict[str, Any]", error.instance)


def _dotted(path: Iterable[str | int]) -> str:
    return ".".join(str(step) for step in path)
