"""What a run's page says, ready to be written: plain values, no rules, no HTML."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from platform_ops.common.report import Link
from platform_ops.common.words import Moment


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
class Fact:
    """A label and a value; ``code`` values are set in a fixed-width face."""

    label: str
    value: str
    code: bool = False


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
    facts: tuple[Fact, ...] = ()
    links: tuple[Link, ...] = ()
    log: str = ""


class Kind(StrEnum):
    """How a step spent a stretch of time."""

    WORK = "worked"
    EARLIER = "worked in an earlier try"
    PERSON = "waited for a person"
    QUEUE = "waited for a free worker"
    RETRY = "waited for the next try"

    @property
    def mark(self) -> str:
        """Return the name of the shape and the colour."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Bar:
    """A stretch of time on the axis; ``start`` and ``end`` are percent of it."""

    kind: Kind
    start: float
    end: float
    words: str


@dataclass(frozen=True, slots=True)
class ChartRow:
    """One step of the chart; ``words`` say all that its bars show."""

    title: str
    mark: str
    bars: tuple[Bar, ...]
    worked: str
    waited: str
    words: str


@dataclass(frozen=True, slots=True)
class Tick:
    """A line across the chart at ``at`` percent of the axis.

    :param time: UTC; empty where there is no room for it.
    :param day: said where another day begins.
    :param anchor: SVG's ``text-anchor``.
    :param crowded: a narrow page has no room for the time.
    """

    at: float
    time: str
    day: str
    anchor: str
    crowded: bool


@dataclass(frozen=True, slots=True)
class Break:
    """A stretch that the axis leaves out; ``start`` and ``end`` are percent of it."""

    start: float
    end: float
    words: str


@dataclass(frozen=True, slots=True)
class Chart:
    """Where the run's time went.

    :param kinds: of the bars that are there, for the legend.
    :param words: say what the axis shows.
    :param summary: how the whole time divides.
    """

    rows: tuple[ChartRow, ...]
    ticks: tuple[Tick, ...]
    breaks: tuple[Break, ...]
    kinds: tuple[Kind, ...]
    words: str
    summary: str


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

    :param live: the run is still going.
    :param again: after how many seconds the page of a live run looks again.
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
    again: int = 0
    chart: Chart | None = None
    question: Question | None = None
    troubles: tuple[Trouble, ...] = ()
    digests: tuple[DigestRow, ...] = ()
    commits: tuple[Commit, ...] = ()
    commits_count: int = 0
    commits_more: int = 0
    diff: tuple[DiffLine, ...] = ()
    diff_title: str = ""
    evidence: Evidence | None = None
