"""The demo: one commit from `git push` to production, through every system."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from sandbox import contract, lifecycle
from sandbox.airflow_runs import DAG_ID, WAITING, Runs
from sandbox.checkout import Checkout
from sandbox.merge import merge
from sandbox.processes import SandboxError

SERVICE = "storefront"
PROJECT = "shop/storefront"
RUN_SECONDS = 240.0


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table at the end."""

    step: str
    seconds: float
    link: str


class Demo:
    """One walk through the sample world."""

    def __init__(self, state: Path, environment: Mapping[str, str]) -> None:
        self.state = state
        self.environment = environment
        self.operator = Runs(environment, "OPERATOR")
        self.rows: list[Row] = []
        self._began = time.monotonic()
        self._told: set[tuple[str, str]] = set()

    def tell(self, what: str) -> None:
        print(f"{time.monotonic() - self._began:6.1f} s  {what}", flush=True)

    def wait(self, run_id: str, *until: str) -> str:
        """Wait for a run, telling each of its steps once."""

        def told(change: str) -> None:
            if (run_id, change) not in self._told:
                self._told.add((run_id, change))
                self.tell(f"    {change}")

        return self.operator.wait(run_id, until=until, seconds=RUN_SECONDS, told=told)

    def page(self, run_id: str) -> str:
        return f"{self.environment['AIRFLOW_URL']}/platform-ops/runs/{DAG_ID}/{quote(run_id, safe='')}"

    def push(self) -> str:
        """Push a change to dev, as a developer does."""
        url = f"{self.environment['GITLAB_URL']}/{PROJECT}.git"
        with Checkout(url, "dana", self.environment["GITLAB_DEVELOPER_TOKEN"]) as work:
            work.switch("dev")
            now = datetime.now(UTC).isoformat(timespec="milliseconds")
            work.write({"CHANGES.md": f"# Changes\n\n- shown in the demo of {now}\n"})
            commit = work.commit("Show the newest offers first")
            work.push("dev")
        return commit

    def follow(self, commit: str, environment_name: str, began: float) -> str:
        """Wait for the release a push started; return the digest that runs."""
        run_id = f"release__{SERVICE}__{environment_name}__{commit[:12]}"
        state = self.wait(run_id)
        return self.ended(run_id, state, environment_name, began)

    def ended(self, run_id: str, state: str, environment_name: str, began: float) -> str:
        """Note how a run ended; return the digest that runs."""
        self.rows.append(Row(f"healthy in {environment_name}", time.monotonic() - began, self.page(run_id)))
        if state != "success":
            raise SandboxError(f"The release to {environment_name} failed; its page says why: {self.page(run_id)}")
        evidence = self.operator.report(run_id, "record_evidence").get("facts", {})
        if evidence.get("verdict") != "released":
            raise SandboxError(f"The release to {environment_name} ended as {evidence.get('verdict')}.")
        digest = str(self.operator.report(run_id, "verify_running")["facts"]["digest"])
        self.tell(f"healthy in {environment_name}: {digest}")
        return digest

    def to_rc(self) -> str:
        """Bring a new commit to rc; return its digest."""
        began = time.monotonic()
        commit = self.push()
        self.tell(f"pushed {commit[:12]} to dev")
        in_dev = self.follow(commit, "dev", began)
        began = time.monotonic()
        commit = merge(self.environment, PROJECT, "dev", "rc")
        self.tell(f"merged dev into rc: {commit[:12]}")
        in_rc = self.follow(commit, "rc", began)
        if in_rc != in_dev:
            raise SandboxError(f"rc runs {in_rc}, dev runs {in_dev}: the same tree must be the same image.")
        return in_rc

    def ask_for_production(self) -> str:
        """Start the production release and wait until it asks; return the run."""
        began = time.monotonic()
        commit = merge(self.environment, PROJECT, "rc", "master")
        run_id = f"release__{SERVICE}__prod__{commit[:12]}"
        conf = {"service": SERVICE, "environment": "prod", "commit": commit, "reason": "the demo"}
        answer = self.operator.start(conf, run_id)
        if answer.status_code != 200:
            raise SandboxError(f"Airflow did not start the production release: {answer.text[:300]}")
        self.tell(f"merged rc into master: {commit[:12]}, started its release to production")
        state = self.wait(run_id, WAITING)
        if state != WAITING:
            raise SandboxError(f"The production release ended as {state} before it asked: {self.page(run_id)}")
        self.rows.append(Row("production asks", time.monotonic() - began, self.page(run_id)))
        return run_id

    def approve(self, run_id: str) -> str:
        """Say yes as one approver after the other, until nobody else is asked; return the digest that runs."""
        began = time.monotonic()
        for role in ("APPROVER", "APPROVER2"):
            answer = Runs(self.environment, role).answer(run_id, "Approve")
            if answer.status_code == 403:
                continue
            if answer.status_code != 200:
                raise SandboxError(f"Airflow did not take the approval: {answer.status_code} {answer.text[:300]}")
            self.tell(f"{self.environment[f'AIRFLOW_{role}_USER']} approved the release to production")
            state = self.wait(run_id, WAITING)
            if state != WAITING:
                return self.ended(run_id, state, "prod", began)
        raise SandboxError(f"The production release still waits for an approver: {self.page(run_id)}")

    def walk(self, *, approve: bool) -> None:
        """Go the way to production, or answer the release that waits there."""
        waiting = self.operator.waiting("prod") if approve else None
        if waiting:
            self.tell("a release to production waits already")
            self.approve(waiting)
            return
        in_rc = self.to_rc()
        run_id = self.ask_for_production()
        if approve and self.approve(run_id) != in_rc:
            raise SandboxError("Production does not run the image that was proven in rc.")

    def table(self) -> None:
        """Print what happened, and where to look."""
        print(f"\n{'step':<18} {'seconds':>8}  page")
        for row in self.rows:
            print(f"{row.step:<18} {row.seconds:8.1f}  {row.link}")
        print("\nsystem             address")
        names = ("AIRFLOW", "GITLAB", "JENKINS", "HARBOR", "ARGOCD", "OBJECT_STORE")
        for name in names:
            print(f"{name.lower():<18} {self.environment[f'{name}_URL']}")
        print(f"{'releases':<18} {self.environment['AIRFLOW_URL']}/platform-ops/releases")
        print("\nAirflow account    password          may")
        told = {
            "OPERATOR": "start releases",
            "APPROVER": "approve them",
            "APPROVER2": "approve them",
            "VIEWER": "look",
            "ADMIN": "everything",
        }
        for role, may in told.items():
            user, password = (self.environment[f"AIRFLOW_{role}_{part}"] for part in ("USER", "PASSWORD"))
            print(f"{user:<18} {password:<17} {may}")
        print(f"\nAll addresses and credentials: {self.state / 'env'}")


def demo(state: Path, base_port: int | None, *, approve: bool) -> None:
    """Bring everything up and walk.

    :param approve: answer the production release as the approver.
    :raises SandboxError: something on the way did not end well.
    """
    lifecycle.up(state, base_port)
    walk = Demo(state, contract.read(state))
    try:
        walk.walk(approve=approve)
    finally:
        walk.table()
    if not approve:
        print("\nProduction waits for an approver: open its page above, or run `make demo APPROVE=yes`.")
    print("`make down` stops everything.")
