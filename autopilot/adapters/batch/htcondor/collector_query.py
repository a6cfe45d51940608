"""Ask a collector for the slots of our nodes with HTCondor's Python bindings, in a process that does nothing else.

The bindings are C++ in this process: they may hang, crash or exit, and they keep 20 MB. So neither the supervisor nor a
verb loads them. `autopilot.adapters.batch.htcondor.pool_listing` starts this process, limits its time and reads its
answer.

Every ad may be written by a stranger. The answer holds texts of limited length and nothing else, one slot a line.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from typing import Any

from autopilot.adapters.batch.htcondor.node_config import LIFE_ATTRIBUTE

ATTRIBUTES = (LIFE_ATTRIBUTE, "Name", "Machine", "State", "Activity")
MAX_TEXT_CHARS = 256
MAX_MEMORY_BYTES = 4 << 30  # address space: the library itself maps 0.3 GB


def main() -> None:
    """Ask a collector and print its slots; exit with 0, or with 1 after one line that tells the reason.

    The arguments are the collector, "" for the default, and the most bytes that the answer may have.
    """
    max_answer_bytes = int(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_FSIZE, (max_answer_bytes, max_answer_bytes))
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        _print_slots(sys.argv[1])
    except Exception as error:  # the library's own kinds are not documented
        print(" ".join(f"{error}".split())[:MAX_TEXT_CHARS] or type(error).__name__)
        sys.exit(1)


def _print_slots(collector: str) -> None:
    import htcondor2

    named = collector or htcondor2.param.get("COLLECTOR_HOST") or os.environ.get("CONDOR_HOST")
    if not named:
        raise LookupError("no collector is named: neither COLLECTOR_HOST in HTCondor's configuration nor $CONDOR_HOST")
    constraint = f"{LIFE_ATTRIBUTE} =!= undefined"
    for ad in htcondor2.Collector(named).query(htcondor2.AdType.Startd, constraint, list(ATTRIBUTES)):
        print(json.dumps({name: _read_text(ad, name) for name in ATTRIBUTES}))


def _read_text(ad: Any, name: str) -> str:
    """Return an attribute's text in limited length; "" for anything else, such as an expression.

    The library raises an error for bytes that are no UTF-8. No stranger's ad may hide the others so.
    """
    try:
        value = ad.get(name)
    except Exception:  # the library's own kinds are not documented
        return ""
    return value[:MAX_TEXT_CHARS] if isinstance(value, str) else ""


if __name__ == "__main__":
    main()
