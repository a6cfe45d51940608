"""Find out from /proc whether the startd holds a connection to its collector.

The startd sends its updates over one TCP connection that stays open. The loss of this connection shows at once that
something changed, and costs nothing to see; so the collector of a large pool need not be asked often.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

TCP_ESTABLISHED = "01"
DEFAULT_COLLECTOR_PORT = 9618


def parse_collectors(collector_host: str) -> list[tuple[str, int]]:
    """Return (host, port) for each collector in COLLECTOR_HOST.

    Its value is a list of names, name:port, [v6]:port or <sinful> strings with options after `?`.
    """
    collectors = []
    for word in re.split(r"[,\s]+", collector_host):
        text = word.strip("<>").partition("?")[0]
        matched = re.fullmatch(r"\[([^\]]+)\](?::(\d+))?|([^:\[\]]+)(?::(\d+))?", text)
        if matched:
            port = matched[2] or matched[4]
            collectors.append((matched[1] or matched[3], int(port) if port else DEFAULT_COLLECTOR_PORT))
    return collectors


def parse_outgoing_connections(table: str) -> Iterator[tuple[int, int]]:
    """Yield (remote port, inode) of each established connection in a /proc/PID/net/tcp table."""
    for line in table.splitlines()[1:]:
        words = line.split()
        if len(words) > 9 and words[3] == TCP_ESTABLISHED:
            yield int(words[2].rpartition(":")[2], 16), int(words[9])


def is_connected(pid: int, ports: frozenset[int], proc: Path = Path("/proc")) -> bool | None:
    """Return True while process `pid` has a connection to one of these ports, on any host; None when /proc hides it."""
    try:
        folder = proc / str(pid) / "fd"
        links = {_read_link(folder / number) for number in os.listdir(folder)}
        tables = [(proc / str(pid) / "net" / name).read_text() for name in ("tcp", "tcp6")]
    except OSError:
        return None
    return any(
        port in ports and f"socket:[{inode}]" in links
        for table in tables
        for port, inode in parse_outgoing_connections(table)
    )


def _read_link(path: Path) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""
