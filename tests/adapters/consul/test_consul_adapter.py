"""A Consul that is no longer used leaves nothing behind in this process."""

from __future__ import annotations

import asyncio
import gc
from types import SimpleNamespace
from typing import Any

from autopilot.adapters.consul.consul_adapter import ConsulAdapter
from autopilot.adapters.consul.desired_services import DesiredServices, LifeIdentity
from autopilot.app.supervisor import Supervisor
from autopilot.machines.cues import ConditionDetected, ConditionResolved
from autopilot.spec.spec_loading import load_text

PLAN = load_text('{consul: "127.0.0.1:1", watches: [{name: "w", interval: 1}], jobs: [{name: "a", exec: "true"}]}').plan


class UnreachableConsul:
    """An adapter for a Consul that cannot be reached, and its cues."""

    def __init__(self) -> None:
        self.cues: list[Any] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.lost = asyncio.Event()
        life = LifeIdentity("h", {"life": "1"}, 0.0)
        desired = DesiredServices(PLAN, life, {"": ""})
        self.consul = ConsulAdapter(
            PLAN, env={}, desired_services=desired, report=self.report, start_task=self.background
        )
        self.consul.subscribe("key", "k", self.cues.append)
        self.consul.begin()

    def report(self, cue):
        self.cues.append(cue)
        if isinstance(cue, ConditionDetected) and cue.kind == "consul-lost":
            self.lost.set()

    def background(self, work):
        task = asyncio.get_running_loop().create_task(work, name=work.__name__)
        self.tasks.append(task)
        return task


async def test_a_retired_consul_is_closed():
    """After its retirement no session is open, no task runs, and no condition is active."""
    complaints = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context["message"]))
    reached = UnreachableConsul()
    await reached.lost.wait()
    await reached.consul.retire()
    assert all(task.done() for task in reached.tasks)
    ended = {cue.kind for cue in reached.cues if isinstance(cue, ConditionResolved)}
    assert ended == {cue.kind for cue in reached.cues if isinstance(cue, ConditionDetected)} >= {"consul-lost"}
    del reached
    gc.collect()
    assert not complaints


async def test_a_retired_consul_is_silent_at_once():
    """A retired adapter reports nothing more, however long its deregistration takes."""
    reached = UnreachableConsul()
    await reached.lost.wait()
    farewell = reached.consul.retire()
    assert [bool(task.cancelling()) for task in reached.tasks if task.get_name() == "run_blocking_query"] == [
        True,
        True,
    ]
    told = len(reached.cues)
    reached.consul.conditions.raise_condition("consul-lost", "said too late")
    await farewell
    assert {cue.kind for cue in reached.cues[told:]} <= {"consul-left-behind"}


async def test_retired_before_it_is_loaded():
    """An adapter that is retired before its client is loaded begins nothing."""
    reached = UnreachableConsul()
    await reached.consul.retire()
    assert [task.get_name() for task in reached.tasks] == ["_begin"] and reached.tasks[0].cancelled()


def test_a_complaint_of_the_event_loop_ends_nothing():
    """A complaint of the event loop is logged; an uncaught exception ends the life."""
    said: list[Any] = []
    failed: list[BaseException] = []
    loop: Any = None  # not used
    supervisor: Any = SimpleNamespace(log=SimpleNamespace(log=lambda *line: said.append(line)), _fail=failed.append)
    Supervisor._handle_loop_error(supervisor, loop, {"message": "Unclosed client session"})
    assert not failed and "Unclosed client session" in said[0][2]
    error = ValueError()
    Supervisor._handle_loop_error(supervisor, loop, {"message": "never retrieved", "exception": error})
    assert failed == [error]
