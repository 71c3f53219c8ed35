"""What a run's page says, ready to be written: plain values, no rules, no HTML."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from platform_ops.common.report import Link


class State(StrEnum):
    """Where a step stands, in the words the page uses."""

    WAITING = "waiting"
    RUNNING = "running"
    ASKING = "waiting for a person"
    RETRYING = "will be tried again"
    DONE = "done"
    REUSED = "reused"
    NOT_NEEDED = "not needed"
    SUPERSEDED = "superseded"
    FAILED = "failed"
    NOT_REACHED = "not reached"

    @property
    def mark(self) -> str:
        """Return the name of the sign and the colour that go with the word."""
        return self.name.lower().replace("_", "-")


class Tone(StrEnum):
    """How a verdict is coloured; the word beside it says the same."""

    LIVE = "live"
    ASKING = "asking"
    GOOD = "good"
    CALM = "calm"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Moment:
    """A time for machines and for people, both UTC."""

    iso: str
    words: str


@dataclass(frozen=True, slots=True)
class Fact:
    """A label and a value; ``code`` values are set in a fixed-width face."""

    label: str
    value: str
    code: bool = False


@dataclass(frozen=True, slots=True)
class Bar:
    """Which part of the run's time a step took, in percent."""

    start: float
    width: float


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the story.

    :param tasks: Airflow's names of it.
    :param note: what a reader should know about the state: tries, a state set by hand.
    :param log: Airflow's page of the task; empty while there is none.
    """

    title: str
    tasks: tuple[str, ...]
    state: State
    summary: str = ""
    note: str = ""
    started: Moment | None = None
    duration: str = ""
    bar: Bar | None = None
    facts: tuple[Fact, ...] = ()
    links: tuple[Link, ...] = ()
    log: str = ""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that is wrong, and where."""

    where: str
    sentence: str


@dataclass(frozen=True, slots=True)
class DigestRow:
    """One of the places that must hold the digest that was built.

    :param same: whether it equals the built one; None when one of both is not known.
    :param basis: ``as reported`` by the step, or ``re-read`` from the system at the end.
    """

    place: str
    digests: tuple[str, ...]
    same: bool | None
    comparison: str
    basis: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit that this release brings."""

    sha: str
    title: str
    author: str


@dataclass(frozen=True, slots=True)
class DiffLine:
    """A line of a unified diff; ``kind`` is ``add``, ``del``, ``hunk``, ``file`` or ``same``."""

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """The document that remains."""

    key: str
    sha256: str
    number: str
    links: tuple[Link, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came out, or where the run stands.

    :param word: for the headline.
    :param title: says more than the word; empty where the word says it all.
    """

    word: str
    tone: Tone
    sentence: str
    title: str = ""


@dataclass(frozen=True, slots=True)
class Question:
    """An approval that waits.

    :param so_far: who has said yes already.
    :param left: how long until no answer means no.
    """

    people: str
    so_far: str
    until: Moment | None
    left: str
    url: str


@dataclass(frozen=True, slots=True)
class Story:
    """Everything the page of one run says.

    :param live: the run is still going; the page loads itself again.
    :param commits_more: how many commits are not listed.
    """

    headline: str
    verdict: Verdict
    live: bool
    dag_id: str
    run_id: str
    airflow_run: str
    facts: tuple[Fact, ...]
    started: Moment | None
    ended: Moment | None
    duration: str
    told_at: Moment
    steps: tuple[Step, ...]
    question: Question | None = None
    troubles: tuple[Trouble, ...] = ()
    digests: tuple[DigestRow, ...] = ()
    commits: tuple[Commit, ...] = ()
    commits_count: int = 0
    commits_more: int = 0
    diff: tuple[DiffLine, ...] = ()
    diff_title: str = ""
    evidence: Evidence | None = None
