"""`make demo`: the life of one worker node, live. With a real HTCondor where this machine can have one."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from examples.demo.life import Life
from examples.demo.real import RealLife
from examples.demo.stand_in import StandInLife
from examples.demo.story import tell
from examples.demo.timeline import Timeline
from lab import parts
from lab.errors import LabError

LIFETIME = 30  # s; a site says a day or more


@contextmanager
def born(timeline: Timeline, stand_in: bool) -> Iterator[Life]:
    """The real life if this machine can have it; else the stand-in, saying so and why."""
    reason = "asked for with --stand-in" if stand_in else _why_not_real(timeline)
    if reason is None:
        with RealLife(timeline, LIFETIME) as life:
            yield life
    else:
        timeline.head(
            "The batch system below is a STAND-IN, a small Python script: this is not HTCondor.",
            f"Why: {reason}.",
            "For the real thing run `sudo make demo` on a machine with a Debian mirror in its apt sources.",
            "The supervisor is the real one; it runs here as a plain process.",
        )
        with StandInLife(timeline, LIFETIME) as life:
            yield life


def _why_not_real(timeline: Timeline) -> str | None:
    timeline.head(
        "Looking for what a real HTCondor needs (the first run builds a Debian tree, about half a minute) ..."
    )
    return parts.reason("htcondor")


def main() -> int:
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument(
        "--stand-in", action="store_true", help="the stand-in batch system even where HTCondor could run"
    )
    arguments = parser.parse_args()
    timeline = Timeline(sys.stdout)
    try:
        with born(timeline, arguments.stand_in) as life:
            return tell(life, timeline)
    except LabError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
