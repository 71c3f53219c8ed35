"""What a measurement gives: figures with their bars, and tables, written for people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median, quantiles


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value.

    :param bar: what it may be at most, in the same unit; None for a figure that is only told.
    """

    name: str
    value: float
    unit: str
    bar: float | None = None

    @property
    def holds(self) -> bool:
        """Say whether the bar holds."""
        return self.bar is None or self.value <= self.bar

    def row(self) -> tuple[str, ...]:
        """Return it as a row of a table."""
        bar = "" if self.bar is None else f"≤ {_number(self.bar)} {self.unit}"
        held = "" if self.bar is None else "holds" if self.holds else "**does not hold**"
        return (self.name, f"{_number(self.value)} {self.unit}", bar, held)


@dataclass(frozen=True, slots=True)
class Result:
    """What one measurement found.

    :param tables: title, head and rows of each.
    """

    title: str
    figures: tuple[Figure, ...]
    tables: tuple[tuple[str, Sequence[str], Sequence[Sequence[str]]], ...] = ()

    def text(self) -> str:
        """Return it as Markdown."""
        parts = [f"## {self.title}", "", table(("figure", "measured", "bar", ""), [one.row() for one in self.figures])]
        for title, head, rows in self.tables:
            parts += ["", title, "", table(head, rows)]
        return "\n".join(parts) + "\n"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table whose columns line up."""
    lines = [list(head), *(list(row) for row in rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(head))]
    told = [f"| {' | '.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))} |" for line in lines]
    told.insert(1, f"|{'|'.join('-' * (width + 2) for width in widths)}|")
    return "\n".join(told)


def percentile_95(values: Sequence[float]) -> float:
    """Return the 95th percentile."""
    return quantiles(values, n=20, method="inclusive")[-1]


def middle(values: Sequence[float]) -> str:
    """Return median and span of some seconds, as a cell."""
    return f"{median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
