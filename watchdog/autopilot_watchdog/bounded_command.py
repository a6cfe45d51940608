"""Run a program of the host with a limit on its time and on its output.

The program gets a session of its own, so that its children end with it. A child that keeps the pipes open delays
nothing: the end of the program itself counts.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from autopilot_watchdog.errors import WatchdogError

READ_BYTES = 1 << 16


class CommandTimeoutError(WatchdogError, OSError):
    """The program took too long and was killed."""


@dataclass(frozen=True, slots=True)
class CommandResult:
    """Exit status and output of a program."""

    status: int  # negative: killed by that signal
    output: str
    error_output: str


def run_bounded_command(
    words: Sequence[str], *, timeout: float, text: str = "", env: Mapping[str, str] | None = None, max_bytes: int
) -> CommandResult:
    """Run a program without a shell.

    Args:
        words: The program and its arguments.
        timeout: Seconds until it is killed.
        text: Its standard input.
        env: Its environment; None for our own.
        max_bytes: Bytes of standard output and of standard error that are kept; the rest is thrown away.

    Raises:
        CommandTimeoutError: The program took too long.
        OSError: The program cannot be started.
    """
    end = time.monotonic() + timeout
    process = subprocess.Popen(
        words,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=None if env is None else dict(env),
        start_new_session=True,
    )
    assert process.stdin is not None and process.stdout is not None and process.stderr is not None
    exit_descriptor = os.pidfd_open(process.pid)
    kept = {process.stdout.fileno(): bytearray(), process.stderr.fileno(): bytearray()}
    try:
        with selectors.DefaultSelector() as selector:
            for pipe in (process.stdin, process.stdout, process.stderr):
                os.set_blocking(pipe.fileno(), False)
            selector.register(exit_descriptor, selectors.EVENT_READ)
            for descriptor in kept:
                selector.register(descriptor, selectors.EVENT_READ)
            _exchange(selector, process, exit_descriptor, kept, text.encode(), end=end, max_bytes=max_bytes)
    except TimeoutError:
        raise CommandTimeoutError(f"{words[0]} took longer than {timeout:g} s") from None
    finally:
        with suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)  # it, or the children that it left behind
        status = process.wait()
        os.close(exit_descriptor)
        for pipe in (process.stdin, process.stdout, process.stderr):
            with suppress(OSError):
                pipe.close()
    output, error_output = (bytes(part).decode(errors="replace") for part in kept.values())
    return CommandResult(status, output, error_output)


def _exchange(
    selector: selectors.BaseSelector,
    process: subprocess.Popen[bytes],
    exit_descriptor: int,
    kept: dict[int, bytearray],
    input_bytes: bytes,
    *,
    end: float,
    max_bytes: int,
) -> None:
    """Feed the program and read its output until it ends.

    Raises:
        TimeoutError: It does not end in time.
    """
    assert process.stdin is not None
    stdin = process.stdin.fileno()
    remaining = memoryview(input_bytes)
    selector.register(stdin, selectors.EVENT_WRITE)
    while True:
        limit_s = end - time.monotonic()
        if limit_s <= 0:
            raise TimeoutError
        ready = [key.fd for key, _ in selector.select(limit_s)]
        for descriptor in ready:
            if descriptor == stdin:
                remaining = _write_part(stdin, remaining)
                if not remaining:
                    selector.unregister(stdin)
                    process.stdin.close()
            elif descriptor in kept and not _read_part(descriptor, kept[descriptor], max_bytes):
                selector.unregister(descriptor)
        if exit_descriptor in ready:
            for descriptor, part in kept.items():  # the rest that it wrote before its end
                while len(part) < max_bytes and _read_part(descriptor, part, max_bytes):
                    pass
            return


def _write_part(descriptor: int, remaining: memoryview) -> memoryview:
    """Write the next part of the input; return the rest, nothing of it if the program closed its end."""
    try:
        return remaining[os.write(descriptor, remaining[:READ_BYTES]) :] if remaining else remaining
    except BlockingIOError:
        return remaining
    except OSError:
        return remaining[:0]


def _read_part(descriptor: int, kept: bytearray, max_bytes: int) -> bool:
    """Read the next part of a pipe; return False at its end, or if nothing is there now."""
    try:
        part = os.read(descriptor, READ_BYTES)
    except OSError:
        return False
    kept += part[: max(0, max_bytes - len(kept))]
    return bool(part)
