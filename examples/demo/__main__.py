"""Show the life of one worker node, live: `make demo`. HTCondor is real if this machine can run it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from examples.demo.demo_node import DemoNode
from examples.demo.real import RealNode
from examples.demo.stand_in import StandInNode
from examples.demo.story import run_story
from examples.demo.timeline import Timeline
from lab import real_parts
from lab.lab_errors import LabError

LIFETIME_S = 30  # sites set a day or more


@contextmanager
def start_node(timeline: Timeline, stand_in: bool) -> Iterator[DemoNode]:
    """Run a real node if this machine can have one; else a stand-in, after printing that and the reason."""
    reason = "asked for with --stand-in" if stand_in else _explain_stand_in(timeline)
    if reason is None:
        with RealNode(timeline, LIFETIME_S) as node:
            yield node
    else:
        timeline.print_text(
            "The batch system below is a STAND-IN, a small Python script: this is not HTCondor.",
            f"Why: {reason}.",
            "For the real thing run `sudo make demo` on a machine with a Debian mirror in its apt sources.",
            "The supervisor is the real one; it runs here as a plain process.",
        )
        with StandInNode(timeline, LIFETIME_S) as node:
            yield node


def _explain_stand_in(timeline: Timeline) -> str | None:
    timeline.print_text(
        "Looking for what a real HTCondor needs (the first run builds a Debian tree, about half a minute) ..."
    )
    return real_parts.explain_unavailable("htcondor")


def main() -> int:
    """Run the demo and return its exit code."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument(
        "--stand-in", action="store_true", help="use the stand-in batch system even if HTCondor could run here"
    )
    arguments = parser.parse_args()
    timeline = Timeline(sys.stdout)
    try:
        with start_node(timeline, arguments.stand_in) as node:
            return run_story(node, timeline)
    except LabError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
