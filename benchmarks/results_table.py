"""Format the results as a Markdown table with notes."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Mapping, Sequence

from benchmarks.figures import FIGURES
from benchmarks.supervised_program import Program
from benchmarks.supervisors import Supervisor

MAX_IDLE_LOAD = 0.3  # runnable processes, average of the last minute

Values = Mapping[tuple[str, str], Sequence[float]]  # (figure, supervisor) -> one for each run


def describe_machine(program: Program, day: str, load: float) -> str:
    """Return a line about date and machine; it says so if the load makes a comparison with the aims invalid."""
    idle = "" if load < MAX_IDLE_LOAD else ": not idle, so the figures are too high"
    return (
        f"{day}: {os.cpu_count()} cores, Linux {platform.release().split('-')[0]} {platform.machine()}, "
        f"Python {platform.python_version()}, the job in {program.language}; load at the start {load:.1f}{idle}."
    )


def format_table(supervisors: Sequence[Supervisor], values: Values, failures: Mapping[tuple[str, str], str]) -> str:
    """Return the table: a row for each figure, a column for each supervisor, and notes below.

    Args:
        supervisors: the columns.
        values: (figure, supervisor) -> one value for each run; cells show the median (least-most).
        failures: (figure, supervisor) -> reason that values are missing.
    """
    notes: list[str] = []
    header = ["", "aim", *(supervisor.name for supervisor in supervisors)]
    rows = [header]
    for figure in FIGURES:
        aim = "" if figure.target is None else f"≤ {figure.target:g}"
        row = [f"{figure.title}{f', {figure.unit}' if figure.unit else ''}", aim]
        for supervisor in supervisors:
            key = (figure.key, supervisor.name)
            if key in values:
                cell, why = format_summary(values[key]), failures.get(key)  # of the lives that succeeded
            else:
                cell, why = "n/a", supervisor.missing_figures.get(figure.key) or failures.get(key, "not asked for")
            if why is not None:
                if why not in notes:
                    notes.append(why)
                cell += f" [{notes.index(why) + 1}]"
            row.append(cell)
        rows.append(row)
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    rows.insert(1, ["-" * width for width in widths])
    lines = [f"| {' | '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))} |" for row in rows]
    return "\n".join([*lines, "", *(f"[{number}] {why}  " for number, why in enumerate(notes, 1))])


def format_summary(values: Sequence[float]) -> str:
    """Return the median, with least and most if there are several values."""
    median = _format_number(statistics.median(values))
    return median if len(values) == 1 else f"{median} ({_format_number(min(values))}-{_format_number(max(values))})"


def format_meanings() -> str:
    """Return a list that explains each figure."""
    return "\n".join(f"- **{figure.title}**: {figure.meaning}." for figure in FIGURES)


def format_versions(supervisors: Sequence[Supervisor]) -> str:
    """Return a line with the versions of all supervisors."""
    return f"Versions: {', '.join(f'{each.name} {each.version}' for each in supervisors if each.version)}."


def _format_number(value: float) -> str:
    """Return the number with three significant digits."""
    for digits, limit in ((2, 10), (1, 100)):
        if abs(value) < limit:
            return f"{value:.{digits}f}"
    return f"{value:.0f}"
