"""The supervised program: compiled, or in Python where there is no compiler."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.timed_life import TimedLife
from lab import system_packages
from lab.lab_errors import LabError

HERE = Path(__file__).parent
LINE_BYTES = 100  # bytes of each line a flood writes


@dataclass(frozen=True)
class Program:
    """`argv` takes a verb and its arguments; see job.c. `own_start`: ms from its exec to its first mark."""

    argv: Sequence[str]
    language: str
    own_start_ms: float = 0.0

    def __call__(self, verb: str, *arguments: object) -> list[str]:
        return [*self.argv, verb, *map(str, arguments)]


def build_program(folder: Path, runs: int) -> Program:
    try:
        return Program([str(_compile(folder))], "C")
    except LabError as error:
        print(f"the job is in Python, its own start is subtracted: {error}", file=sys.stderr)
    slow = Program([sys.executable, "-S", "-I", str(HERE / "marking_job.py")], "Python")
    starts = sorted(_measure_own_start(slow, folder / "bare") for _ in range(runs))
    return Program(slow.argv, slow.language, starts[len(starts) // 2])


def _compile(folder: Path) -> Path:
    """Raises LabError when there is no compiler and none may be installed."""
    if not shutil.which("cc"):
        system_packages.install("gcc", "libc6-dev")
    target = folder / "job"
    said = ""
    for options in (["-static"], []):  # static: no dynamic linking before the first instruction
        command = ["cc", "-O2", "-Wall", *options, "-o", str(target), str(HERE / "job.c")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return target
        said = done.stderr.strip()[-300:]
    raise LabError(f"cannot compile job.c: {said}")


def _measure_own_start(program: Program, folder: Path) -> float:
    folder.mkdir(exist_ok=True)
    with TimedLife(program, program("wait", folder / "marks"), folder) as life:
        return (life.marks.wait("start")[0].at_ns - life.exec_at_ns) / 1e6
