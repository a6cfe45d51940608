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

from autopilot.spec.outcome import Loaded, Problem, SpecError, ValidatorFailed
from autopilot.spec.plandata import plan_from_data, plan_to_data

PATIENCE = 60.0  # s; a cold start from a slow disk takes some, an endless loop would take for ever


def validated_in_child(
    path: str | os.PathLike[str],
    env: Mapping[str, str] | None = None,
    *,
    here: bool = True,
    patience: float = PATIENCE,
) -> Loaded:
    """As `load`, in a child. Raises SpecError as `load` does, ValidatorFailed when the child gives no answer.

    To be called before there are threads or an event loop. Only this child is waited for, by its pid.
    """
    reading, writing = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        _answer(writing, path, env, here)
    os.close(writing)
    data: bytes | None = None
    try:
        data = _all_of(reading, patience)
    finally:
        os.close(reading)
        status = _reaped(pid, patience=1.0 if data is not None else 0.0)
    return _understood(data, status, patience)


def _answer(pipe: int, path: str | os.PathLike[str], env: Mapping[str, str] | None, here: bool) -> NoReturn:
    """The child's whole life. It ends by _exit: what the parent has buffered or registered is not ours to run."""
    status = 70
    try:
        payload = json.dumps(_outcome(path, env, here)).encode()
        with open(pipe, "wb") as file:
            file.write(payload)
        status = 0
    finally:
        os._exit(status)


def _outcome(path: str | os.PathLike[str], env: Mapping[str, str] | None, here: bool) -> dict[str, Any]:
    try:
        from autopilot.spec.loading import load

        loaded = load(path, env, here=here)
    except SpecError as error:
        return {"problems": _data(error.problems), "warnings": _data(error.warnings)}
    except Exception:
        return {"trace": traceback.format_exc()}
    return {"plan": plan_to_data(loaded.plan), "warnings": _data(loaded.warnings), "text": loaded.rendered_text}


def _data(problems: tuple[Problem, ...]) -> list[dict[str, Any]]:
    return [problem.to_data() for problem in problems]


def _all_of(pipe: int, patience: float) -> bytes | None:
    """All that the child writes, or None when it takes too long."""
    deadline = time.monotonic() + patience
    chunks: list[bytes] = []
    while True:
        ready, _, _ = select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            return None
        chunk = os.read(pipe, 1 << 16)
        if not chunk:
            return b"".join(chunks)
        chunks.append(chunk)


def _reaped(pid: int, patience: float) -> int:
    """The child's exit code, after a moment to end by itself once it has answered."""
    descriptor = os.pidfd_open(pid)
    try:
        if not select.select([descriptor], [], [], patience)[0]:
            os.kill(pid, signal.SIGKILL)
    finally:
        os.close(descriptor)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _understood(data: bytes | None, status: int, patience: float) -> Loaded:
    if data is None:
        raise ValidatorFailed(f"internal error: the job spec was not validated within {patience:g} s")
    how = f"signal {-status}" if status < 0 else f"exit code {status}"
    return answered(data, how)


def answered(data: bytes, how: str) -> Loaded:
    """What the child found. `how` it ended is said when it has not answered. Raises as `validated_in_child`."""
    try:
        answer = json.loads(data)
    except ValueError:
        raise ValidatorFailed(f"internal error: the validation of the job spec ended early ({how})") from None
    if "trace" in answer:
        raise ValidatorFailed(f"internal error while validating the job spec:\n{answer['trace']}")
    warnings = tuple(map(Problem.from_data, answer["warnings"]))
    if "problems" in answer:
        raise SpecError(map(Problem.from_data, answer["problems"]), warnings)
    return Loaded(plan_from_data(answer["plan"]), warnings, answer["text"])


def main(config: str, answer: str) -> None:
    """Write what `load` gives, or its problems, to the file `answer`, which only we may read."""
    with open(os.open(answer, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        json.dump(_outcome(config, None, True), file)
