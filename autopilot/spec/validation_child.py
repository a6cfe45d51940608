"""Validation in a short-lived child: the supervisor stays small and never loads pydantic.

Before there is an event loop the child is forked and waited for (`validated_in_child`). Later it is a command like any
other, that calls `main`, and `answered` reads the file it leaves.
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

from autopilot.spec.load_result import LoadedSpec, Problem, SpecError, ValidatorError
from autopilot.spec.plan_data import deserialize_plan, serialize_plan

VALIDATION_TIMEOUT_S = 60.0  # s; a cold start from a slow disk takes some, an endless loop would take for ever


def validate_in_child(
    path: str | os.PathLike[str],
    env: Mapping[str, str] | None = None,
    *,
    runs_here: bool = True,
    timeout: float = VALIDATION_TIMEOUT_S,
) -> LoadedSpec:
    """As `load`, in a child. Raises SpecError as `load` does, ValidatorFailed when the child gives no answer.

    To be called before there are threads or an event loop. Only this child is waited for, by its pid.
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
    """The child's whole life. It ends by _exit: what the parent has buffered or registered is not ours to run."""
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
    """All that the child writes, or None when it takes too long."""
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
    """The child's exit code, after a moment to end by itself once it has answered."""
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
    how = f"signal {-status}" if status < 0 else f"exit code {status}"
    return parse_answer(data, how)


def parse_answer(data: bytes, exit_description: str) -> LoadedSpec:
    """What the child found. `how` it ended is said when it has not answered. Raises as `validated_in_child`."""
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
    """Write what `load` gives, or its problems, to the file `answer`, which only we may read."""
    with open(os.open(answer_path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        json.dump(_build_answer(config_path, None, True), file)
