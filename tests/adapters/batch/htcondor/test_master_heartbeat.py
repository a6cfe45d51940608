"""The master's heartbeat."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopilot.adapters.batch.htcondor.master_heartbeat import Heartbeat, NotifySocket

SEND = """
import os, socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.connect(chr(0) + sys.argv[1])
r, w = os.pipe()
socket.send_fds(s, [sys.argv[2].encode()], [r] * int(sys.argv[3]))
"""


def test_a_message_is_taken_line_by_line() -> None:
    """READY, STATUS and WATCHDOG in one datagram; unknown names are ignored; the time is that of the last one."""
    beat = (
        Heartbeat()
        .apply_message(b"READY=1\nSTATUS=All daemons are responding\nX_Y=1\n", 5.0)
        .apply_message(b"WATCHDOG=1", 9.0)
    )
    assert beat == Heartbeat(9.0, True, "All daemons are responding")
    assert beat.compute_age(12.0) == 3.0
    assert Heartbeat().compute_age(12.0) is None


def test_what_the_master_does_about_a_daemon_is_told() -> None:
    """The status names each daemon that is not well."""
    beat = Heartbeat().apply_message(b"STATUS=Problems: STARTD=RESTART in 8s", 1.0)
    assert beat.parse_problems() == {"STARTD": "RESTART in 8s"}
    both = Heartbeat().apply_message(b"STATUS=Problems: SCHEDD=Hung, STARTD=RESTART in 11s", 1.0)
    assert both.parse_problems() == {"SCHEDD": "Hung", "STARTD": "RESTART in 11s"}
    assert not Heartbeat().apply_message(b"STATUS=All daemons are responding", 1.0).parse_problems()


@given(st.binary(max_size=5000))
def test_no_message_breaks_it(message: bytes) -> None:
    """Anything may arrive; the status stays short."""
    beat = Heartbeat().apply_message(message, 1.0)
    assert len(beat.status) <= 500
    beat.parse_problems()


@pytest.mark.parametrize("descriptors", [0, 3])
async def test_only_the_master_is_listened_to(descriptors: int) -> None:
    """Another process of the same network cannot keep a dead master alive, nor fill our descriptor table."""
    loop = asyncio.get_running_loop()
    received: list[bytes] = []
    senders: set[int | None] = {os.getpid()}
    name = f"autopilot-test/{os.getpid()}/{descriptors}"
    listener = NotifySocket(name, get_allowed_pids=lambda: senders, on_message=received.append)
    listener.listen(loop)
    before = len(os.listdir("/proc/self/fd"))
    try:
        argv = [sys.executable, "-c", SEND, name, "WATCHDOG=1", str(descriptors)]
        subprocess.run(argv, check=True)  # noqa: ASYNC221 - nothing else runs in this loop
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ours:
            ours.sendto(b"READY=1", "\0" + name)
        async with asyncio.timeout(5):
            while not received:
                await asyncio.sleep(0)
        assert received == [b"READY=1"]
        assert len(os.listdir("/proc/self/fd")) == before
    finally:
        listener.close(loop)
