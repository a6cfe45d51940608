"""Install the peers, measure them and autopilot, and print one table: `python -m benchmarks`."""

from __future__ import annotations

import argparse
import datetime
import os
import sys
from collections import defaultdict

from benchmarks import measures, program_build, results_table, supervisors
from benchmarks.measures import LIFE_KINDS, Bench
from benchmarks.supervisors import Supervisor
from lab.cache import create_run_folder
from lab.lab_errors import LabError


def print_progress(sentence: str) -> None:
    """Print a sentence for the waiting user to stderr."""
    print(sentence, file=sys.stderr, flush=True)


class BenchmarkRun:
    """Measurements of one call. Each round runs every supervisor, so that a disturbance affects all of them alike."""

    def __init__(self, bench: Bench, measured: list[Supervisor]) -> None:
        self._bench, self._measured = bench, measured
        self.values: dict[tuple[str, str], list[float]] = defaultdict(list)
        self.failures: dict[tuple[str, str], str] = {}
        self._errors: dict[tuple[str, str], list[str]] = defaultdict(list)

    def run_rounds(self, kind: str, runs: int) -> None:
        """Measure `runs` lives of this kind for every supervisor that supports it, after one that is not counted."""
        measure, figures, max_runs = LIFE_KINDS[kind]
        capable = [supervisor for supervisor in self._measured if figures[0] not in supervisor.missing_figures]
        runs = min(runs, max_runs)
        print_progress(f"{kind}: {runs} runs of {', '.join(supervisor.name for supervisor in capable)}")
        for number in range(runs + 1):  # the first only fills caches and compiles plans
            for supervisor in capable:
                try:
                    taken = measure(self._bench, supervisor)
                except (LabError, OSError, IndexError) as error:
                    self._record_failure(supervisor, kind, figures, error)
                    continue
                for figure, value in taken.items():
                    if number and figure not in supervisor.missing_figures:
                        self.values[figure, supervisor.name].append(value)

    def measure_idle_lives(self, seconds: float) -> None:
        """Measure all supervisors together for so many idle seconds."""
        capable = [supervisor for supervisor in self._measured if "wakeups" not in supervisor.missing_figures]
        print_progress(f"idle: {seconds:g} s of {', '.join(supervisor.name for supervisor in capable)}")
        for name, taken in measures.measure_idle(self._bench, capable, seconds).items():
            for figure, value in taken.items():
                self.values[figure, name].append(value)

    def describe_failed_lives(self) -> list[str]:
        """Return a sentence for each kind of life that failed: such lives are missing in the figures."""
        return [
            f"Failed: {len(errors)} lives of {name}, {kind}: {errors[0]}."
            for (name, kind), errors in self._errors.items()
        ]

    def _record_failure(self, supervisor: Supervisor, kind: str, figures: tuple[str, ...], error: Exception) -> None:
        print_progress(" ".join([f"{supervisor.name}, {kind}: {error}", *getattr(error, "__notes__", [])]).strip())
        self._errors[supervisor.name, kind].append(str(error))
        count = len(self._errors[supervisor.name, kind])
        for figure in figures:
            self.failures[figure, supervisor.name] = f"{count} lives failed and are in no figure: {error}"


def main() -> int:
    """Run the benchmarks that the command line selects and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--runs", type=int, default=20, help="number of lives of each kind; expensive kinds at most 5 (default: 20)"
    )
    parser.add_argument(
        "--only", action="append", metavar="NAME", help="measure only this supervisor (may be repeated)"
    )
    parser.add_argument(
        "--life",
        action="append",
        choices=[*LIFE_KINDS, "idle"],
        help="measure only this kind of life (may be repeated)",
    )
    parser.add_argument(
        "--idle", type=float, default=60, metavar="SECONDS", help="length of the idle life (default: 60)"
    )
    arguments = parser.parse_args()
    load = os.getloadavg()[0]  # before the installation of the peers raises it
    absent: list[str] = []
    with create_run_folder() as folder:
        job = program_build.build_program(folder, arguments.runs)
        measured = supervisors.find_supervisors(absent.append)
        measured = [each for each in measured if not arguments.only or each.name in arguments.only]
        about = results_table.describe_machine(job, datetime.datetime.now(tz=datetime.UTC).date().isoformat(), load)
        run = BenchmarkRun(Bench(job, folder), measured)
        for kind in LIFE_KINDS:
            if not arguments.life or kind in arguments.life:
                run.run_rounds(kind, arguments.runs)
        if not arguments.life or "idle" in arguments.life:
            run.measure_idle_lives(arguments.idle)
    print(about)
    print(f"{arguments.runs} runs each (20 jobs and floods: at most 5): median (least-most). Aims are autopilot's.\n")
    print(results_table.format_table(measured, run.values, run.failures))
    print("", results_table.format_meanings(), "", results_table.format_versions(measured), sep="\n")
    for sentence in (*absent, *run.describe_failed_lives()):
        print(sentence)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except LabError as error:
        sys.exit(f"benchmarks: {error}")
