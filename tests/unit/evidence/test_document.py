import json
from datetime import UTC, datetime
from pathlib import Path

from jsonschema import Draft202012Validator

from platform_ops.backups import verdicts as backups
from platform_ops.common.records import RunRecord, TaskRecord
from platform_ops.common.report import Link, StepReport
from platform_ops.delivery import verdicts as delivery
from platform_ops.evidence.document import build, canonical, key, sha256
from platform_ops.upkeep import verdicts as upkeep

SCHEMA = json.loads((Path(__file__).resolve().parents[3] / "include/schemas/evidence.schema.json").read_text())
AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
REPORT = StepReport("Fine.", facts={"digest": "sha256:1"}, links=(Link("there", "https://example.com"),)).as_dict()
RUN = RunRecord(
    "release_service", "r1", "running", "oscar", AT, AT, None, {},
    (
        TaskRecord("resolve_commit", "success", AT, AT, 1, REPORT),
        TaskRecord("pin_image", "upstream_failed", None, None, 0, None),
    ),
)  # fmt: skip


def document(late: str = "") -> dict[str, object]:
    return build(RUN, number=1, verdict="failed", subject={"service": "web"}, observed={}, differences=["x"], late=late)


def test_the_document_follows_its_schema_also_for_steps_that_never_ran() -> None:
    Draft202012Validator(SCHEMA).validate(document())


def test_a_document_that_came_late_says_why() -> None:
    assert "late" not in document()
    told = document(late="Airflow ended the run.")
    Draft202012Validator(SCHEMA).validate(told)
    assert told["late"] == "Airflow ended the run."


def test_the_schema_refuses_an_unknown_verdict() -> None:
    assert not Draft202012Validator(SCHEMA).is_valid(document() | {"verdict": "fine"})


def test_the_schema_knows_how_the_runs_of_each_area_end() -> None:
    verdicts = {verdict.value for area in (backups, delivery, upkeep) for verdict in area.Verdict}
    assert set(SCHEMA["properties"]["verdict"]["enum"]) == verdicts


def test_the_hash_does_not_depend_on_the_order_of_keys() -> None:
    turned = dict(reversed(list(document().items())))
    assert sha256(turned) == sha256(document())
    assert json.loads(canonical(turned)) == document()
    assert sha256(document() | {"number": 2}) != sha256(document())


def test_each_end_of_a_run_has_its_own_place() -> None:
    assert key("release_service", "r1", 2) == "runs/release_service/r1/2.json"
