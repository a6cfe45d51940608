"""`python -m benchmarks`: install the peers, measure, print one table."""

from __future__ import annotations

import argparse
import datetime
import os
import sys
from collections import defaultdict

from benchmarks import measures, results_table, supervised_program, supervisors
from benchmarks.measures import LIFE_KINDS, Bench
from benchmarks.supervisors import Supervisor
from lab.cache import create_run_folder
from lab.lab_errors import LabError


def print_progress(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)


class BenchmarkRun:
    """All measurements of one call. Rounds go through all supervisors, so that what disturbs one disturbs all."""

    def __init__(self, bench: Bench, measured: list[Supervisor]) -> None:
        self._bench, self._measured = bench, measured
        self.values: dict[tuple[str, str], list[float]] = defaultdict(list)
        self.failures: dict[tuple[str, str], str] = {}
        self._errors: dict[tuple[str, str], list[str]] = defaultdict(list)

    def run_rounds(self, kind: str, runs: int) -> None:
        take, figures, most = LIFE_KINDS[kind]
        able = [supervisor for supervisor in self._measured if figures[0] not in supervisor.missing_figures]
        runs = min(runs, most)
        print_progress(f"{kind}: {runs} runs of {', '.join(supervisor.name for supervisor in able)}")
        for number in range(runs + 1):  # the first is not counted: it fills caches and compiles plans
            for supervisor in able:
                try:
                    taken = take(self._bench, supervisor)
                except (LabError, OSError, IndexError) as error:
                    self._record_failure(supervisor, kind, figures, error)
                    continue
                for figure, value in taken.items():
                    if number and figure not in supervisor.missing_figures:
                        self.values[figure, supervisor.name].append(value)

    def measure_idle_lives(self, seconds: float) -> None:
        able = [supervisor for supervisor in self._measured if "wakeups" not in supervisor.missing_figures]
        print_progress(f"idle: {seconds:g} s of {', '.join(supervisor.name for supervisor in able)}")
        for name, taken in measures.measure_idle(self._bench, able, seconds).items():
            for figure, value in taken.items():
                self.values[figure, name].append(value)

    def describe_failed_lives(self) -> list[str]:
        """What went wrong, a sentence for each kind of life: such lives are missing in the figures."""
        return [
            f"Failed: {len(all_of_them)} lives of {name}, {kind}: {all_of_them[0]}."
            for (name, kind), all_of_them in self._errors.items()
        ]

    def _record_failure(self, supervisor: Supervisor, kind: str, figures: tuple[str, ...], error: Exception) -> None:
        print_progress(" ".join([f"{supervisor.name}, {kind}: {error}", *getattr(error, "__notes__", [])]).strip())
        self._errors[supervisor.name, kind].append(str(error))
        count = len(self._errors[supervisor.name, kind])
        for figure in figures:
            self.failures[figure, supervisor.name] = f"{count} lives failed and are in no figure: {error}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--runs", type=int, default=20, help="of each life; the dear ones at most 5 (default: 20)")
    parser.add_argument("--only", action="append", metavar="NAME", help="this supervisor (may be repeated)")
    parser.add_argument(
        "--life", action="append", choices=[*LIFE_KINDS, "idle"], help="this kind of life (may be repeated)"
    )
    parser.add_argument("--idle", type=float, default=60, metavar="SECONDS", help="of the idle life (default: 60)")
    arguments = parser.parse_args()
    load = os.getloadavg()[0]  # before we install anything
    absent: list[str] = []
    with create_run_folder() as folder:
        job = supervised_program.build_program(folder, arguments.runs)
        measured = supervisors.find_supervisors(absent.append)
        measured = [one for one in measured if not arguments.only or one.name in arguments.only]
        about = results_table.describe_machine(job, datetime.datetime.now(tz=datetime.UTC).date().isoformat(), load)
        run = BenchmarkRun(Bench(job, folder), measured)
        for kind in LIFE_KINDS:
            if not arguments.life or kind in arguments.life:
                run.run_rounds(kind, arguments.runs)
        if not arguments.life or "idle" in arguments.life:
            run.measure_idle_lives(arguments.idle)
    print(about)
    print(
        f"{arguments.runs} runs each (20 jobs and floods: at most 5): median (least-most). The aims are autopilot's.\n"
    )
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
