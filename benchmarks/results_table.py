"""The table, in Markdown, and how to read it."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Mapping, Sequence

from benchmarks.figures import FIGURES
from benchmarks.supervised_program import Program
from benchmarks.supervisors import Supervisor

MAX_IDLE_LOAD = 0.3  # processes that want to run, on average over the last minute

Values = Mapping[tuple[str, str], Sequence[float]]  # (figure, supervisor) -> one for each run


def describe_machine(program: Program, day: str, load: float) -> str:
    """Where and when, and whether the figures can be compared with the aims."""
    idle = "" if load < MAX_IDLE_LOAD else ": not idle, so the figures are too high"
    return (
        f"{day}: {os.cpu_count()} cores, Linux {platform.release().split('-')[0]} {platform.machine()}, "
        f"Python {platform.python_version()}, the job in {program.language}; load at the start {load:.1f}{idle}."
    )


def format_table(supervisors: Sequence[Supervisor], values: Values, failures: Mapping[tuple[str, str], str]) -> str:
    """A row for each figure, a column for each supervisor: median (least to most)."""
    notes: list[str] = []
    head = ["", "aim", *(supervisor.name for supervisor in supervisors)]
    rows = [head]
    for figure in FIGURES:
        aim = "" if figure.target is None else f"≤ {figure.target:g}"
        row = [f"{figure.title}{f', {figure.unit}' if figure.unit else ''}", aim]
        for supervisor in supervisors:
            place = (figure.key, supervisor.name)
            if place in values:
                cell, why = format_summary(values[place]), failures.get(place)  # of those lives that did not fail
            else:
                cell, why = "n/a", supervisor.missing_figures.get(figure.key) or failures.get(place, "not asked for")
            if why is not None:
                if why not in notes:
                    notes.append(why)
                cell += f" [{notes.index(why) + 1}]"
            row.append(cell)
        rows.append(row)
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    rows.insert(1, ["-" * width for width in widths])
    lines = [f"| {' | '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))} |" for row in rows]
    return "\n".join([*lines, "", *(f"[{number}] {why}  " for number, why in enumerate(notes, 1))])


def format_summary(values: Sequence[float]) -> str:
    middle = _format_number(statistics.median(values))
    return middle if len(values) == 1 else f"{middle} ({_format_number(min(values))}-{_format_number(max(values))})"


def format_meanings() -> str:
    return "\n".join(f"- **{figure.title}**: {figure.meaning}." for figure in FIGURES)


def format_versions(supervisors: Sequence[Supervisor]) -> str:
    return f"Versions: {', '.join(f'{one.name} {one.version}' for one in supervisors if one.version)}."


def _format_number(value: float) -> str:
    """Three digits that count."""
    for digits, limit in ((2, 10), (1, 100)):
        if abs(value) < limit:
            return f"{value:.{digits}f}"
    return f"{value:.0f}"
