"""Find in an engine's events whether somebody asked the engine to kill a container.

An engine calls a container short of memory as soon as the kernel killed any process in it for that. If the container
ends later with SIGKILL, only the events tell whether an operator's `kill` or `stop` ended it. Engines keep few events:
Docker the latest 256 of all kinds. If the event is gone, nobody is known to have asked.
"""

from __future__ import annotations

import http.client
import itertools
import json
import math
import time
from collections.abc import Collection

from autopilot_watchdog.bounded_json import get_object, get_text
from autopilot_watchdog.core.exit_verdict import SIGKILL_EXIT_CODE
from autopilot_watchdog.core.observation import Container
from autopilot_watchdog.engine.engine import EngineRefusedError, EngineUnreachableError
from autopilot_watchdog.engine.engine_http import EngineClient

KILL_SPAN_S = 30.0  # from an engine's SIGKILL to the end of the container
ANSWER_LIMIT_S = 5.0  # for the whole answer
MAX_EVENTS = 100
SIGKILL_WORDS = frozenset({"9", "KILL"})


def needs_kill_events(container: Container) -> bool:
    """Return True if the engine's account leaves open whether a lack of memory or somebody's kill ended a container."""
    return (
        not container.alive
        and container.oom_killed
        and container.exit_code == SIGKILL_EXIT_CODE
        and container.ended > 0
    )


def was_kill_asked(client: EngineClient, container: Container, actions: Collection[str]) -> bool:
    """Return True if somebody asked the engine to kill the container, or to stop it and it had to be killed.

    Args:
        client: The engine.
        container: The dead container.
        actions: The engine's words for the events of a kill. One that tells no signal is taken for a SIGKILL.

    Returns:
        False also if the engine does not tell.
    """
    query = {
        "since": str(math.floor(container.ended - KILL_SPAN_S)),
        "until": f"{time.time():.6f}",  # not later, or the engine would wait for further events
        "stream": "false",  # for Podman, which waits all the same
        "filters": json.dumps({"type": ["container"], "container": [container.id], "event": sorted(actions)}),
    }
    try:
        with client.open_response("GET", "/events", query, timeout=ANSWER_LIMIT_S) as response:
            events = itertools.islice(client.read_json_lines(response), MAX_EVENTS)
            return any(_is_kill(event, actions) for event in events)
    except (EngineRefusedError, EngineUnreachableError, http.client.HTTPException, OSError, ValueError):
        return False


def _is_kill(event: object, actions: Collection[str]) -> bool:
    if (get_text(event, "Action") or get_text(event, "status")) not in actions:
        return False
    signal = get_text(get_object(get_object(event, "Actor"), "Attributes"), "signal")
    return not signal or signal.upper().removeprefix("SIG") in SIGKILL_WORDS
