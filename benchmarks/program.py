"""The supervised program: compiled, or in Python where there is no compiler."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.life import Life
from lab import packages
from lab.errors import LabError

HERE = Path(__file__).parent
LINE = 100  # bytes of each line a flood writes


@dataclass(frozen=True)
class Program:
    """`argv` takes a verb and its arguments; see job.c. `own_start`: ms from its exec to its first mark."""

    argv: Sequence[str]
    language: str
    own_start: float = 0.0

    def __call__(self, verb: str, *arguments: object) -> list[str]:
        return [*self.argv, verb, *map(str, arguments)]


def make(folder: Path, runs: int) -> Program:
    try:
        return Program([str(_compiled(folder))], "C")
    except LabError as error:
        print(f"the job is in Python, its own start is subtracted: {error}", file=sys.stderr)
    slow = Program([sys.executable, "-S", "-I", str(HERE / "job.py")], "Python")
    starts = sorted(_own_start(slow, folder / "bare") for _ in range(runs))
    return Program(slow.argv, slow.language, starts[len(starts) // 2])


def _compiled(folder: Path) -> Path:
    """Raises LabError when there is no compiler and none may be installed."""
    if not shutil.which("cc"):
        packages.install("gcc", "libc6-dev")
    target = folder / "job"
    said = ""
    for options in (["-static"], []):  # static: no dynamic linking before the first instruction
        command = ["cc", "-O2", "-Wall", *options, "-o", str(target), str(HERE / "job.c")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return target
        said = done.stderr.strip()[-300:]
    raise LabError(f"cannot compile job.c: {said}")


def _own_start(program: Program, folder: Path) -> float:
    folder.mkdir(exist_ok=True)
    with Life(program, program("wait", folder / "marks"), folder) as life:
        return (life.marks.wait("start")[0].when - life.begun) / 1e6
