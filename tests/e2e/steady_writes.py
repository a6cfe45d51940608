"""Write numbered keys to the primary of a database until the standard input ends, then print the figures as JSON.

The primary is found by Consul. A key counts as written when the server has acknowledged it; until then the same key is
written again, to the primary that Consul lists by then. This is a program of its own: it runs on a host of the lab.
Usage: steady_writes.py CONSUL_ADDRESS SERVICE
"""

from __future__ import annotations

import json
import select
import socket
import sys
import urllib.request

TIMEOUT_S = 2.0  # of one question: a server that has gone never answers
PAUSE_S = 0.005  # between two writes, and between two questions to Consul


class Primary:
    """Connection to a database server that calls itself the primary."""

    def __init__(self, address: str, port: int) -> None:
        """Connect to the server."""
        self.address = address
        self._socket = socket.create_connection((address, port), timeout=TIMEOUT_S)
        self._answers = self._socket.makefile("rb")

    def write_key(self, key: str) -> bool:
        """Write a key, and return True if the server has acknowledged it.

        Raises:
            OSError: The connection broke.
        """
        self._socket.sendall(f"SET {key} {key}\r\n".encode())
        answer = self._answers.readline()
        if not answer:
            raise ConnectionError("closed")
        return answer == b"+OK\r\n"

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()


def find_primary(consul: str, service: str) -> Primary | None:
    """Connect to an instance of the service that Consul lists as healthy; return None if there is none."""
    try:
        with urllib.request.urlopen(
            f"http://{consul}/v1/health/service/{service}?passing", timeout=TIMEOUT_S
        ) as answer:
            instances = [entry["Service"] for entry in json.load(answer)]
        return Primary(instances[-1]["Address"], instances[-1]["Port"]) if instances else None
    except OSError:
        return None


def main(consul: str, service: str) -> None:
    """Write one key after the other."""
    written = repeated = 0
    primaries: list[str] = []
    primary: Primary | None = None
    while not select.select([sys.stdin], [], [], PAUSE_S)[0]:
        primary = primary or find_primary(consul, service)
        if primary is None:
            continue
        try:
            acknowledged = primary.write_key(f"key-{written}")
        except OSError:
            acknowledged = False
        if acknowledged:
            written += 1
            if primaries[-1:] != [primary.address]:
                primaries.append(primary.address)
        else:
            repeated += 1
            primary.close()
            primary = None
    print(json.dumps({"written": written, "repeated": repeated, "primaries": primaries}))


if __name__ == "__main__":
    main(*sys.argv[1:])
