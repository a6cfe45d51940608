"""Validate a job spec in a short-lived child, so that the supervisor stays small and never loads pydantic.

Before the event loop runs, `validate_in_child` forks the child and waits for it. Later the child is an ordinary command
that calls `main`, and `parse_answer` reads the file that it wrote.
"""

from __future__ import annotations

import json
import os
import select
import signal
import time
import traceback
from collections.abc import Mapping
from typing import Any, NoReturn

from autopilot.safe_files import replace_file
from autopilot.spec.load_result import LoadedSpec, Problem, SpecError, ValidatorError
from autopilot.spec.plan_data import deserialize_plan, serialize_plan

VALIDATION_TIMEOUT_S = 60.0  # a cold start from a slow disk takes several seconds; an endless loop must end


def validate_in_child(
    path: str | os.PathLike[str],
    env: Mapping[str, str] | None = None,
    *,
    runs_here: bool = True,
    timeout: float = VALIDATION_TIMEOUT_S,
) -> LoadedSpec:
    """Load a job spec as `spec_loading.load` does, in a forked child.

    Call it before the first thread and before the event loop. Only this child is waited for, by its pid.

    Args:
        path: The job spec, or "-" for standard input.
        env: Variables that templates see; None: this process's environment.
        runs_here: True when the spec is to run on this machine.
        timeout: Seconds until the child is killed.

    Raises:
        SpecError: The job spec cannot be used.
        ValidatorError: The child gave no answer.
    """
    reading, writing = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        _run_child(writing, path, env, runs_here)
    os.close(writing)
    data: bytes | None = None
    try:
        data = _read_all(reading, timeout)
    finally:
        os.close(reading)
        status = _reap_child(pid, timeout=1.0 if data is not None else 0.0)
    return _interpret_result(data, status, timeout)


def _run_child(pipe: int, path: str | os.PathLike[str], env: Mapping[str, str] | None, runs_here: bool) -> NoReturn:
    """Run the child from fork to end. It ends by _exit: buffers and exit handlers belong to the parent."""
    status = 70
    try:
        payload = json.dumps(_build_answer(path, env, runs_here)).encode()
        with open(pipe, "wb") as file:
            file.write(payload)
        status = 0
    finally:
        os._exit(status)


def _build_answer(path: str | os.PathLike[str], env: Mapping[str, str] | None, runs_here: bool) -> dict[str, Any]:
    try:
        from autopilot.spec.spec_loading import load

        loaded = load(path, env, runs_here=runs_here)
    except SpecError as error:
        return {"problems": _serialize_problems(error.problems), "warnings": _serialize_problems(error.warnings)}
    except Exception:
        return {"trace": traceback.format_exc()}
    return {
        "plan": serialize_plan(loaded.plan),
        "warnings": _serialize_problems(loaded.warnings),
        "text": loaded.rendered_text,
    }


def _serialize_problems(problems: tuple[Problem, ...]) -> list[dict[str, Any]]:
    return [problem.serialize() for problem in problems]


def _read_all(pipe: int, timeout: float) -> bytes | None:
    """Return everything that the child writes, or None after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    chunks: list[bytes] = []
    while True:
        ready, _, _ = select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            return None
        chunk = os.read(pipe, 1 << 16)
        if not chunk:
            return b"".join(chunks)
        chunks.append(chunk)


def _reap_child(pid: int, timeout: float) -> int:
    """Return the child's exit code, or minus the signal; kill it if it has not ended after `timeout` seconds."""
    descriptor = os.pidfd_open(pid)
    try:
        if not select.select([descriptor], [], [], timeout)[0]:
            os.kill(pid, signal.SIGKILL)
    finally:
        os.close(descriptor)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _interpret_result(data: bytes | None, status: int, timeout: float) -> LoadedSpec:
    if data is None:
        raise ValidatorError(f"internal error: the job spec was not validated within {timeout:g} s")
    exit_description = f"signal {-status}" if status < 0 else f"exit code {status}"
    return parse_answer(data, exit_description)


def parse_answer(data: bytes, exit_description: str) -> LoadedSpec:
    """Return the loaded spec from the child's answer.

    Args:
        data: The JSON text that the child wrote.
        exit_description: The end of the child ("exit code 3", "signal 9"), for the message when there is no answer.

    Raises:
        SpecError: The child found problems.
        ValidatorError: The child gave no answer, or failed itself.
    """
    try:
        answer = json.loads(data)
    except ValueError:
        raise ValidatorError(
            f"internal error: the validation of the job spec ended early ({exit_description})"
        ) from None
    if "trace" in answer:
        raise ValidatorError(f"internal error while validating the job spec:\n{answer['trace']}")
    warnings = tuple(map(Problem.deserialize, answer["warnings"]))
    if "problems" in answer:
        raise SpecError(map(Problem.deserialize, answer["problems"]), warnings)
    return LoadedSpec(deserialize_plan(answer["plan"]), warnings, answer["text"])


def main(config_path: str, answer_path: str) -> None:
    """Load a job spec and write the answer to a file that only this user may read."""
    replace_file(answer_path, json.dumps(_build_answer(config_path, None, True)).encode(), 0o600)
