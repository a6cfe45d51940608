"""Ask a web site without a break until the standard input ends, then print the answers as JSON.

This is a program of its own: it runs on a host of the lab. Usage: steady_requests.py URL
"""

from __future__ import annotations

import collections
import json
import select
import sys
import urllib.request

PAUSE_S = 0.02  # between two requests


def main(url: str) -> None:
    """Send one request after the other, each on a connection of its own."""
    served: collections.Counter[str] = collections.Counter()
    failures: list[str] = []
    while not select.select([sys.stdin], [], [], PAUSE_S)[0]:
        try:
            with urllib.request.urlopen(url, timeout=60) as answer:
                answer.read()
                served[answer.headers["X-Served-By"]] += 1
        except OSError as error:  # refused, reset, timed out, or a status that is no success
            failures.append(repr(error))
    print(json.dumps({"served": served, "failures": failures}))


if __name__ == "__main__":
    main(sys.argv[1])
