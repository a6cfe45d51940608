"""Build the supervised program: compiled, or in Python if there is no compiler."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.supervised_program import Program
from benchmarks.timed_life import TimedLife
from lab import system_packages
from lab.lab_errors import LabError

HERE = Path(__file__).parent


def build_program(folder: Path, runs: int) -> Program:
    """Return the supervised program, built in `folder`; without a compiler the Python one, timed in `runs` starts."""
    try:
        return Program([str(_compile(folder))], "C")
    except LabError as error:
        print(f"the job is in Python, its own start is subtracted: {error}", file=sys.stderr)
    interpreted = Program([sys.executable, "-S", "-I", str(HERE / "marking_job.py")], "Python")
    starts = sorted(_measure_own_start(interpreted, folder / "bare") for _ in range(runs))
    return Program(interpreted.argv, interpreted.language, starts[len(starts) // 2])


def _compile(folder: Path) -> Path:
    """Return the compiled job.c.

    Raises:
        LabError: there is no compiler and none may be installed, or it fails.
    """
    if not shutil.which("cc"):
        system_packages.install("gcc", "libc6-dev")
    target = folder / "job"
    errors = ""
    for options in (["-static"], []):  # static: no dynamic linking before the first instruction
        command = ["cc", "-O2", "-Wall", *options, "-o", str(target), str(HERE / "job.c")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return target
        errors = done.stderr.strip()[-300:]
    raise LabError(f"cannot compile job.c: {errors}")


def _measure_own_start(program: Program, folder: Path) -> float:
    folder.mkdir(exist_ok=True)
    with TimedLife(program, program.build_command("wait", folder / "marks"), folder) as life:
        return (life.marks.wait("start")[0].at_ns - life.exec_at_ns) / 1e6
