"""Act as job.c where there is no C compiler. Its own start takes milliseconds, so it is measured and subtracted."""

from __future__ import annotations

import time

STARTED_NS = time.monotonic_ns()

import os  # noqa: E402 - the first mark is taken before anything else
import signal  # noqa: E402
import sys  # noqa: E402

LOG_LINE = b"~ 2026-01-01 00:00:00 a line of a job's log, one hundred bytes with its end, as daemons write them.\n"


def main(verb: str, pipe: str, rest: list[str]) -> None:
    """Run one verb of job.c, writing marks to the named pipe `pipe`."""
    marks = os.open(pipe, os.O_WRONLY | os.O_CLOEXEC)

    def write_mark(event: str, when: int, number: int = 0) -> None:
        os.write(marks, f"{event} {when} {os.getpid()} {number}\n".encode())

    def on_term(_number: int, _frame: object) -> None:
        write_mark("term", time.monotonic_ns())
        received.append(signal.SIGTERM)

    received: list[int] = []
    if verb == "launch":
        write_mark("exec", time.monotonic_ns())
        os.execvp(rest[0], rest)
    if verb == "count":
        lines, last = 0, time.monotonic_ns()
        while block := os.read(0, 1 << 16):
            count = block.count(b"~")
            if count:
                lines, last = lines + count, time.monotonic_ns()
        write_mark("counted", last, lines)
        return
    signal.signal(signal.SIGTERM, on_term)
    signal.signal(signal.SIGUSR1, lambda number, _frame: received.append(number))
    write_mark("start", STARTED_NS)
    while not received:
        signal.pause()
    if verb == "flood" and received == [signal.SIGUSR1]:
        write_mark("flood", time.monotonic_ns())
        with open(1, "wb", buffering=4000) as out:
            for _ in range(int(rest[0]) // len(LOG_LINE)):
                out.write(LOG_LINE)
    write_mark("end", time.monotonic_ns())
    os._exit(0)


main(sys.argv[1], sys.argv[2], sys.argv[3:])
