"""The base operators: one that reports, a step, and a step that follows remote work."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, BaseOperatorLink
from airflow.sdk.exceptions import (
    AirflowNotFoundException,
    AirflowSecretsBackendAccessDenied,
    AirflowSkipException,
)

from platform_ops.common.errors import (
    AuthenticationFailed,
    PlatformError,
    Refused,
    Superseded,
    TimedOut,
    TryAgain,
    WorkerTrouble,
)
from platform_ops.common.remote_work import Watch, WorkSpec
from platform_ops.common.report import REPORT_KEY, StepReport
from platform_ops.common.triggers import RemoteWorkTrigger

if TYPE_CHECKING:
    from airflow.sdk import Context

PROGRESS_SECONDS = 5.0


class NoConnection(TryAgain):
    """Airflow finds no connection of a name."""


@contextmanager
def as_ours() -> Iterator[None]:
    """Turn what Airflow and the worker's system say into errors that a person can read; all others stay as they are."""
    try:
        yield
    except AirflowNotFoundException as error:
        # Airflow says the same of a secrets backend that does not answer, so it may pass.
        raise NoConnection(
            f"{str(error).rstrip('.')}, or its secrets backend does not answer. Enter it as docs/connections.md says."
        ) from error
    except AirflowSecretsBackendAccessDenied as error:
        raise AuthenticationFailed(f"{error}. Let the workers read it in the secrets backend.") from error
    except OSError as error:
        # Its own words and no more: clients' errors are of this class too, and may hold what they sent.
        where = f" ({error.filename})" if error.strerror and error.filename else ""
        raise WorkerTrouble(
            f"The worker's system says: {error.strerror or type(error).__name__}{where}. Look at its disks and at what "
            "the account of the worker may do; clear this task when that is in order."
        ) from error


class StepLink(BaseOperatorLink):
    """The button on the task that opens the thing the step touched."""

    name = "Open what this step touched"

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:  # noqa: ARG002
        """Return the address the step left."""
        return operator.link_url if isinstance(operator, ReportingOperator) else ""


class ReportingOperator(BaseOperator):
    """An operator that leaves a report under ``report``, whatever its end."""

    operator_extra_links = (StepLink(),)

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.link_url = ""

    def hand_on(self, context: Context, report: StepReport) -> None:
        """Leave the report for the page, the evidence and the later steps."""
        if report.links:
            self.link_url = report.links[0].url
        self.log.info("%s: %s", report.outcome, report.summary)
        context["ti"].xcom_push(key=REPORT_KEY, value=report.as_dict())

    @contextmanager
    def reporting(self, context: Context) -> Iterator[None]:
        """Turn errors into a report and Airflow's own ends: skipped when superseded, else failed or retried."""
        try:
            with as_ours():
                yield
        except Superseded as newer:
            self.hand_on(context, StepReport(str(newer), "superseded", newer.facts))
            raise AirflowSkipException(str(newer)) from newer
        except PlatformError as error:
            outcome = "refused" if isinstance(error, Refused) else "failed"
            self.hand_on(context, StepReport(str(error), outcome, error.facts, error=type(error).__name__))
            raise


class StepOperator(ReportingOperator):
    """A step of a workflow."""

    @abstractmethod
    def run_step(self, context: Context) -> StepReport:
        """Do the step.

        :raises PlatformError: it failed.
        :raises Superseded: there is nothing left to do.
        """

    def execute(self, context: Context) -> Any:
        """Run the step and leave its report; its facts are the run's result where the DAG says so."""
        with self.reporting(context):
            report = self.run_step(context)
            self.hand_on(context, report)
            return self.result(report)

    def result(self, report: StepReport) -> Any:
        """Return what Airflow keeps as the task's result: the facts where the DAG calls them its own result."""
        return report.facts if self.returns_dag_result else None


class RemoteWorkOperator(StepOperator):
    """A step that finds or starts remote work, follows it and judges its end.

    It looks by itself for ``patience`` seconds while the work runs, then hands the waiting to the trigger.

    :param deadline: from the start of a try to the end of the work; Airflow's retry of a passing error begins anew.
    :param patience: seconds; a deferral costs about 1.5 s, so short work is awaited here.
    """

    def __init__(self, *, deadline: timedelta, patience: float = 20.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.deadline = deadline
        self.patience = patience
        self._watch: Watch | None = None

    @abstractmethod
    def plan(self, context: Context) -> WorkSpec | StepReport:
        """Return the work to follow, or the report when there is none."""

    def conclude(self, context: Context, ended: StepReport) -> StepReport:  # noqa: ARG002
        """Do what follows work that ended well; by default nothing."""
        return ended

    def run_step(self, context: Context) -> StepReport:
        """Plan, find or start, follow."""
        planned = self.plan(context)
        if isinstance(planned, StepReport):
            return planned
        work = planned.load()
        handle = work.find()
        if handle is None:
            handle = work.start()
        return self._follow(context, planned, Watch(work, handle), datetime.now(UTC) + self.deadline, self.patience)

    def resume(self, context: Context, event: dict[str, Any]) -> None:
        """Go on after the trigger: look once more and judge."""
        with self.reporting(context):
            spec = WorkSpec(event["path"], event["arguments"])
            deadline = datetime.fromisoformat(event["deadline"])
            watch = Watch(spec.load(), event["handle"])
            self.hand_on(context, self._follow(context, spec, watch, deadline, 0.0))

    def _follow(
        self, context: Context, spec: WorkSpec, watch: Watch, deadline: datetime, patience: float
    ) -> StepReport:
        self._watch = watch
        link = watch.work.link(watch.handle)
        if link:
            self.link_url = link.url
        began = told = time.monotonic()
        for pause in watch.pauses():
            probe = watch.look()
            if probe.state == "ended":
                ended = watch.work.judge(watch.handle)
                found = watch.work.link(watch.handle)
                if found and found not in ended.links:
                    ended = replace(ended, links=(found, *ended.links))
                return self.conclude(context, ended)
            if datetime.now(UTC) >= deadline:
                raise TimedOut(
                    f"{self.task_id} did not end before its deadline of {self.deadline}: {probe.detail}. "
                    "Look at the linked page; when the cause is gone, clear this task."
                )
            now = time.monotonic()
            if now - told >= PROGRESS_SECONDS:
                told = now
                self.log.info("%s, %d s so far, until %s at most", probe.detail, now - began, f"{deadline:%H:%M:%S}")
            if probe.state == "queued" or now - began >= patience:
                self.defer(
                    trigger=RemoteWorkTrigger(
                        path=spec.path, arguments=spec.arguments, handle=watch.handle, deadline=deadline.isoformat()
                    ),
                    method_name="resume",
                )
            time.sleep(pause)
        raise AssertionError  # pragma: no cover

    def on_kill(self) -> None:
        """Cancel the work only if a person ended this task; a drain or a lost heartbeat leaves it running."""
        from airflow.sdk import get_current_context

        from platform_ops.common.airflow_api import AirflowApi

        if self._watch is None:
            return
        ti = get_current_context()["ti"]
        try:
            state, newest_try = AirflowApi().task_state(ti.dag_id, ti.run_id, ti.task_id)
        except PlatformError as error:
            self.log.warning("Airflow did not say why this task ends; the remote work is left running: %s", error)
            return
        if state not in (None, "running", "deferred", "up_for_retry", "restarting") and newest_try == ti.try_number:
            self._watch.work.cancel(self._watch.handle)
