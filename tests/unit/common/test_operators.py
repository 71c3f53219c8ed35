"""Steps and remote work, without Airflow's server."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from airflow.sdk.exceptions import (
    AirflowNotFoundException,
    AirflowSecretsBackendAccessDenied,
    AirflowSkipException,
    TaskDeferred,
)

from platform_ops.common.errors import (
    AuthenticationFailed,
    PlatformError,
    Refused,
    Superseded,
    TimedOut,
    Unreachable,
    WorkerTrouble,
)
from platform_ops.common.operators import NoConnection, RemoteWorkOperator, StepOperator
from platform_ops.common.remote_work import TROUBLES_IN_A_ROW, Handle, Probe, Watch, WorkSpec
from platform_ops.common.report import Link, StepReport


class Context(dict[str, Any]):
    def __init__(self) -> None:
        self.reports: list[dict[str, Any]] = []
        super().__init__(ti=SimpleNamespace(xcom_push=lambda key, value: self.reports.append(value | {"key": key})))


class Step(StepOperator):
    def __init__(self, *, ends: StepReport | Exception, **options: Any) -> None:
        super().__init__(**options)
        self.ends = ends

    def run_step(self, context: Any) -> StepReport:
        if isinstance(self.ends, Exception):
            raise self.ends
        return self.ends


def step_that(ends: StepReport | Exception) -> Step:
    return Step(task_id="step", ends=ends)


def test_a_step_leaves_its_report_and_its_link() -> None:
    context = Context()
    step = step_that(StepReport("Done.", links=(Link("there", "https://example.com"),)))
    step.execute(context)
    assert context.reports[0]["summary"] == "Done."
    assert context.reports[0]["key"] == "report"
    assert step.operator_extra_links[0].get_link(step, ti_key=None) == "https://example.com"


def test_a_failed_step_leaves_its_reason_and_fails() -> None:
    context = Context()
    with pytest.raises(Refused):
        step_that(Refused("No.", facts={"why": 1})).execute(context)
    assert context.reports[0] | {"key": ""} == {
        "summary": "No.", "outcome": "refused", "facts": {"why": 1}, "links": [], "error": "Refused", "key": "",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("raised", "error", "said"),
    [
        (AirflowNotFoundException("The conn_id `nosuch` isn't defined"), NoConnection, "isn't defined, or its"),
        (AirflowSecretsBackendAccessDenied("Access to secret 'x' denied"), AuthenticationFailed, "'x' denied. Let"),
        (PermissionError(13, "Permission denied", "/srv/x"), WorkerTrouble, "says: Permission denied (/srv/x)."),
        (OSError("https://user:S3CRET@gitlab"), WorkerTrouble, "says: OSError."),
    ],
)
def test_what_airflow_and_the_worker_say_is_reported_and_no_client_is_quoted(
    raised: Exception, error: type[PlatformError], said: str
) -> None:
    context = Context()
    with pytest.raises(error):
        step_that(raised).execute(context)
    assert context.reports[0]["error"] == error.__name__
    assert said in context.reports[0]["summary"]
    assert "S3CRET" not in context.reports[0]["summary"]


def test_a_superseded_step_is_skipped_and_says_so() -> None:
    context = Context()
    with pytest.raises(AirflowSkipException):
        step_that(Superseded("Newer.")).execute(context)
    assert context.reports[0]["outcome"] == "superseded"


class Work:
    """Remote work that plays a list of looks."""

    script: ClassVar[list[Any]] = []
    found: Handle | None = None
    started = 0

    def find(self) -> Handle | None:
        return Work.found

    def start(self) -> Handle:
        Work.started += 1
        return {"id": 1}

    def probe(self, handle: Handle) -> Probe:
        look = Work.script.pop(0)
        if isinstance(look, Exception):
            raise look
        return Probe(look, f"is {look}", handle)

    def judge(self, handle: Handle) -> StepReport:
        return StepReport(f"Judged {handle['id']}.")

    def cancel(self, handle: Handle) -> None: ...

    def link(self, handle: Handle) -> Link | None:
        return Link("work", f"https://example.com/{handle['id']}")


SPEC = WorkSpec(f"{__name__}.Work")


class Follow(RemoteWorkOperator):
    def plan(self, context: Any) -> WorkSpec:
        return SPEC


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WorkSpec, "load", lambda _self: Work())
    monkeypatch.setattr("platform_ops.common.operators.time.sleep", lambda _: None)
    Work.script, Work.found, Work.started = [], None, 0


def follow(**options: Any) -> Follow:
    return Follow(task_id="follow", deadline=options.pop("deadline", timedelta(hours=1)), **options)


def test_short_work_is_awaited_in_the_task() -> None:
    Work.script = ["running", "running", "ended"]
    context = Context()
    follow().execute(context)
    assert context.reports[0]["summary"] == "Judged 1."
    assert context.reports[0]["links"] == [{"title": "work", "url": "https://example.com/1"}]
    assert Work.started == 1


def test_work_that_is_found_is_joined_and_not_started() -> None:
    Work.found, Work.script = {"id": 7}, ["ended"]
    context = Context()
    follow().execute(context)
    assert context.reports[0]["summary"] == "Judged 7."
    assert Work.started == 0


@pytest.mark.parametrize(("look", "patience"), [("queued", 20.0), ("running", 0.0)])
def test_queued_or_long_work_is_handed_to_the_trigger(look: str, patience: float) -> None:
    Work.script = [look]
    with pytest.raises(TaskDeferred) as caught:
        follow(patience=patience).execute(Context())
    path, arguments = caught.value.trigger.serialize()
    assert path == "platform_ops.common.triggers.RemoteWorkTrigger"
    assert arguments["path"] == SPEC.path
    assert arguments["handle"] == {"id": 1}
    assert caught.value.method_name == "resume"


def resume(deadline: datetime) -> dict[str, Any]:
    event = {"path": SPEC.path, "arguments": {}, "handle": {"id": 5}, "deadline": deadline.isoformat()}
    context = Context()
    follow().resume(context, event)
    return context.reports[0]


def test_a_resumed_task_looks_again_and_judges() -> None:
    Work.script = ["ended"]
    assert resume(datetime.now(UTC) + timedelta(hours=1))["summary"] == "Judged 5."


def test_work_past_its_deadline_fails_the_step() -> None:
    Work.script = ["running"]
    with pytest.raises(TimedOut, match="did not end before its deadline"):
        resume(datetime.now(UTC) - timedelta(seconds=1))


def test_passing_trouble_is_borne_a_few_times_and_no_longer() -> None:
    trouble = Unreachable("gone")
    Work.script = [trouble] * (TROUBLES_IN_A_ROW - 1) + ["running"] + [trouble] * TROUBLES_IN_A_ROW
    watch = Watch(Work(), {"id": 1})
    for _ in range(2 * TROUBLES_IN_A_ROW - 1):
        watch.look()
    with pytest.raises(Unreachable):
        watch.look()
