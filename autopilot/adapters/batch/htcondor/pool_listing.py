"""List the slots of our nodes that a collector knows, through a child process with a time limit."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from typing import IO

from autopilot.adapters.batch.htcondor.collector_query import ATTRIBUTES, MAX_TEXT_CHARS
from autopilot.errors import AutopilotError

BINDINGS_MODULE = "htcondor2"
QUERY_TIMEOUT_S = 30.0
MAX_ANSWER_BYTES = 64 << 20  # some 300,000 slots
MAX_LINE_CHARS = (MAX_TEXT_CHARS * 12 + 32) * len(ATTRIBUTES)  # JSON writes a character as up to 12
# the child imports what its parent would, and nothing from its working directory
_CHILD_PROGRAM = (
    "import json, sys; sys.path[:] = json.loads(sys.argv.pop(1)); "
    "from autopilot.adapters.batch.htcondor.collector_query import main; main()"
)


class BindingsMissingError(AutopilotError):
    """HTCondor's Python bindings are not installed."""


class CollectorError(AutopilotError):
    """The collector gives no answer that can be used."""


@dataclass(frozen=True, slots=True)
class PoolSlot:
    """A slot as the collector shows it. Every text may be a stranger's, and "" when it is not known."""

    life: str
    name: str
    machine: str
    state: str
    activity: str

    @property
    def node(self) -> str:
        """Name of the startd: that of the slot without its first part, `slot1_2@`."""
        first, _, rest = self.name.partition("@")
        return rest or first


def list_pool_slots(collector: str = "", *, timeout: float = QUERY_TIMEOUT_S) -> list[PoolSlot]:
    """Return the slots of all nodes that a supervisor runs, as the collector knows them.

    Args:
        collector: Host and port of the collector; "" for that of HTCondor's configuration, else $CONDOR_HOST.
        timeout: Seconds until the child is killed.

    Raises:
        BindingsMissingError: The bindings are not installed.
        CollectorError: The collector cannot be reached, refuses, or answers too late or too much.
    """
    if find_spec(BINDINGS_MODULE) is None:
        raise BindingsMissingError("HTCondor's Python bindings are not installed: pip install htcondor")
    argv = [sys.executable, "-I", "-X", "utf8", "-c", _CHILD_PROGRAM, json.dumps(sys.path)]
    argv += [collector, str(MAX_ANSWER_BYTES)]
    with tempfile.TemporaryFile() as answer:  # a file, because its size is limited in the child
        child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=answer, stderr=subprocess.DEVNULL)
        try:
            status = child.wait(timeout)
        except subprocess.TimeoutExpired:
            raise CollectorError(f"no answer within {timeout:g} s") from None
        finally:
            child.kill()
            with suppress(subprocess.TimeoutExpired):
                child.wait(1)  # the kernel may not let go of it
        if answer.seek(0, 2) >= MAX_ANSWER_BYTES:
            raise CollectorError(f"its answer is longer than {MAX_ANSWER_BYTES >> 20} MiB")
        answer.seek(0)
        if status != 0:
            raise CollectorError(_read_reason(answer, status))
        return list(parse_slots(iter(lambda: answer.readline(MAX_LINE_CHARS), b"")))


def parse_slots(lines: Iterable[bytes]) -> Iterator[PoolSlot]:
    """Yield the slots of an answer.

    Raises:
        CollectorError: A line is not one of a slot.
    """
    for line in lines:
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict) or not all(isinstance(found.get(name), str) for name in ATTRIBUTES):
            raise CollectorError("its answer cannot be read")
        life, name, machine, state, activity = (found[attribute][:MAX_TEXT_CHARS] for attribute in ATTRIBUTES)
        yield PoolSlot(life, name, machine, state, activity)


def _read_reason(answer: IO[bytes], status: int) -> str:
    """Return the last line of a child that failed, or how it ended."""
    answer.seek(max(0, answer.seek(0, 2) - MAX_TEXT_CHARS * 4))
    lines = answer.read().decode(errors="replace").splitlines()
    if status == 1 and lines:
        return lines[-1][:MAX_TEXT_CHARS]
    end = f"signal {-status}" if status < 0 else f"exit code {status}"
    return f"the bindings ended with {end}"
