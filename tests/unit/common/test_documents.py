"""What a catalogue file may hold, and that its faults are told in the words of the file."""

import json
from pathlib import Path
from typing import Any

import pytest

from platform_ops.common.documents import BadDocument, load_document

SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["path", "owner"],
    "dependentRequired": {"production": ["approval", "reason"]},
    "properties": {
        "path": {"$ref": "#/$defs/path", "description": "where the files lie"},
        "owner": {"type": "string"},
        "days": {"type": "integer", "minimum": 1},
        "exclude": {"type": "array"},
        "read_all": {"type": "boolean"},
        "production": {"type": "string"},
        "approval": {"type": "string"},
        "reason": {"type": "string"},
        "inner": {"type": "object", "additionalProperties": False},
    },
    "$defs": {"path": {"type": "string", "pattern": "^/", "description": "an absolute path"}},
}
GOOD = "path: /srv\nowner: me\n"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    schemas = tmp_path / "include" / "schemas"
    schemas.mkdir(parents=True)
    (schemas / "entry.schema.json").write_text(json.dumps(SCHEMA))
    monkeypatch.setenv("PLATFORM_OPS_HOME", str(tmp_path))
    return tmp_path


def load(home: Path, text: str) -> Any:
    (home / "entry.yaml").write_text(text)
    return load_document(home / "entry.yaml", "entry.schema.json")


def test_whole_numbers_and_true_and_false_are_read_and_all_else_is_text(home: Path) -> None:
    text = "{path: /srv, owner: '30', days: 7, read_all: true, exclude: [-1, 0, 007, -0, 1.0, NO, 9" + "9" * 5000 + "]}"
    found = load(home, text)
    assert (found["owner"], found["days"], found["read_all"]) == ("30", 7, True)
    assert found["exclude"][:-1] == [-1, 0, "007", "-0", "1.0", "NO"]
    # Python refuses to read a number as long as that.
    assert isinstance(found["exclude"][-1], str)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("days: -1", "line 3: days: -1 is less than the minimum of 1"),
        ("days: 7.5", "line 3: days: '7.5' is not a whole number"),
        ("exclude: '*.tmp'", "line 3: exclude: '*.tmp' is not a list"),
        ("read_all: yes", "line 3: read_all: 'yes' is not true or false"),
        ("inner: 3", "line 3: inner: 3 is not a block of fields"),
        ("inner: {some: 1}", "line 3: inner: has no field some; known are none"),
        (
            "excludes: []",
            "line 3: the document: has no field excludes (do you mean exclude?); known are approval, days,",
        ),
        ("production: x", "line 1: the document: production needs approval beside it, production needs reason beside"),
    ],
)
def test_a_fault_is_told_in_the_words_of_the_file(home: Path, text: str, told: str) -> None:
    with pytest.raises(BadDocument) as caught:
        load(home, GOOD + text)
    assert str(caught.value).startswith(f"entry.yaml, {told}")
    assert str(caught.value).endswith("Correct entry.yaml and start again.")


@pytest.mark.parametrize("path", ["30", "srv", "true"])
def test_what_has_the_wrong_type_or_form_is_told_what_it_should_be(home: Path, path: str) -> None:
    with pytest.raises(BadDocument, match=r"line 1: path: .* is not an absolute path"):
        load(home, f"path: {path}\nowner: me")


def test_fields_that_are_missing_are_named_together_and_once(home: Path) -> None:
    with pytest.raises(BadDocument) as caught:
        load(home, "days: 3")
    assert (
        str(caught.value) == "entry.yaml, line 1: the document: needs path, owner. Correct entry.yaml and start again."
    )
