"""`python -m benchmarks`: install the peers, measure, print one table."""

from __future__ import annotations

import argparse
import datetime
import os
import sys
from collections import defaultdict

from benchmarks import measures, program, supervisors, table
from benchmarks.measures import LIVES, Bench
from benchmarks.supervisors import Supervisor
from lab.cache import workplace
from lab.errors import LabError


def say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)


class Run:
    """All measurements of one call. Rounds go through all supervisors, so that what disturbs one disturbs all."""

    def __init__(self, bench: Bench, measured: list[Supervisor]) -> None:
        self._bench, self._measured = bench, measured
        self.values: dict[tuple[str, str], list[float]] = defaultdict(list)
        self.failures: dict[tuple[str, str], str] = {}
        self._troubles: dict[tuple[str, str], list[str]] = defaultdict(list)

    def rounds(self, kind: str, runs: int) -> None:
        take, figures, most = LIVES[kind]
        able = [supervisor for supervisor in self._measured if figures[0] not in supervisor.cannot]
        runs = min(runs, most)
        say(f"{kind}: {runs} runs of {', '.join(supervisor.name for supervisor in able)}")
        for number in range(runs + 1):  # the first is not counted: it fills caches and compiles plans
            for supervisor in able:
                try:
                    taken = take(self._bench, supervisor)
                except (LabError, OSError, IndexError) as error:
                    self._failed(supervisor, kind, figures, error)
                    continue
                for figure, value in taken.items():
                    if number and figure not in supervisor.cannot:
                        self.values[figure, supervisor.name].append(value)

    def idle(self, seconds: float) -> None:
        able = [supervisor for supervisor in self._measured if "wakeups" not in supervisor.cannot]
        say(f"idle: {seconds:g} s of {', '.join(supervisor.name for supervisor in able)}")
        for name, taken in measures.idle(self._bench, able, seconds).items():
            for figure, value in taken.items():
                self.values[figure, name].append(value)

    def troubles(self) -> list[str]:
        """What went wrong, a sentence for each kind of life: such lives are missing in the figures."""
        return [
            f"Failed: {len(all_of_them)} lives of {name}, {kind}: {all_of_them[0]}."
            for (name, kind), all_of_them in self._troubles.items()
        ]

    def _failed(self, supervisor: Supervisor, kind: str, figures: tuple[str, ...], error: Exception) -> None:
        say(" ".join([f"{supervisor.name}, {kind}: {error}", *getattr(error, "__notes__", [])]).strip())
        self._troubles[supervisor.name, kind].append(str(error))
        count = len(self._troubles[supervisor.name, kind])
        for figure in figures:
            self.failures[figure, supervisor.name] = f"{count} lives failed and are in no figure: {error}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--runs", type=int, default=20, help="of each life; the dear ones at most 5 (default: 20)")
    parser.add_argument("--only", action="append", metavar="NAME", help="this supervisor (may be repeated)")
    parser.add_argument("--life", action="append", choices=[*LIVES, "idle"], help="this kind of life (may be repeated)")
    parser.add_argument("--idle", type=float, default=60, metavar="SECONDS", help="of the idle life (default: 60)")
    arguments = parser.parse_args()
    load = os.getloadavg()[0]  # before we install anything
    absent: list[str] = []
    with workplace() as folder:
        job = program.make(folder, arguments.runs)
        measured = supervisors.found(absent.append)
        measured = [one for one in measured if not arguments.only or one.name in arguments.only]
        about = table.machine(job, datetime.datetime.now(tz=datetime.UTC).date().isoformat(), load)
        run = Run(Bench(job, folder), measured)
        for kind in LIVES:
            if not arguments.life or kind in arguments.life:
                run.rounds(kind, arguments.runs)
        if not arguments.life or "idle" in arguments.life:
            run.idle(arguments.idle)
    print(about)
    print(
        f"{arguments.runs} runs each (20 jobs and floods: at most 5): median (least-most). The aims are autopilot's.\n"
    )
    print(table.table(measured, run.values, run.failures))
    print("", table.meanings(), "", table.versions(measured), sep="\n")
    for sentence in (*absent, *run.troubles()):
        print(sentence)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except LabError as error:
        sys.exit(f"benchmarks: {error}")
