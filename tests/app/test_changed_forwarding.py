"""Lines and secrets outlive a change of the receivers and of the environment."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any, cast

import pytest

from autopilot.adapters.logs.log_entry import ForwardedLine
from autopilot.app.container_info import detect_container_info
from autopilot.app.integrations.log_integration import LogIntegration
from autopilot.machines.cues import ConditionResolved
from autopilot.process.spawn import spawn
from autopilot.spec.plan import Command, LogDestination, Logging, Plan


def make_plan(*destinations):
    return Plan(logging=Logging(forward=destinations))


def make_destination(port=1, protocol="tcp", **fields):
    return LogDestination(
        url=f"{protocol}://localhost:{port}", protocol=protocol, host="localhost", port=port, **fields
    )


def start_no_task(_name, _work):
    return SimpleNamespace(cancel=print)


def read_no_payload(_pid):
    return None


class Forwarding:
    """A log integration whose receivers are never connected."""

    def __init__(self, state, plan):
        self.cues: list[Any] = []
        self.events: list[tuple[str, str]] = []
        self.log = cast("Any", SimpleNamespace(forward=None, log=self.note_event))
        life = SimpleNamespace(container_info=detect_container_info({}), env={}, state_directory=state, life_id="1")
        context: Any = SimpleNamespace(
            life=life, report=self.cues.append, log_moved_file=print, start_task=start_no_task
        )
        self.integration = LogIntegration(plan, context, self.log, read_no_payload)

    def note_event(self, _level, event, sentence):
        self.events.append((event, sentence))

    def write(self, *messages):
        for message in messages:
            self.log.forward(ForwardedLine(0, "info", "", message, {}))

    def list_waiting(self):
        """List the messages that wait, of all receivers."""
        forwarders = self.integration._forwarders.values()
        return [frame.decode().rsplit(" ", 1)[-1].strip() for forwarder in forwarders for frame in forwarder._queue]


@pytest.fixture
def forwarding(tmp_path):
    return Forwarding(tmp_path, make_plan(make_destination()))


def test_put_variable(forwarding):
    """The value before a change stays hidden: running jobs still have it."""
    forwarding.integration.hide_variables({"A_TOKEN": "first-value"})
    forwarding.integration.hide_variables({"A_TOKEN": "second-value"})
    forwarding.write("first-value", "second-value")
    assert forwarding.list_waiting() == ["[redacted]", "[redacted]"]


def test_environment_of_a_new_process(forwarding, tmp_path):
    """The values that a process really gets are hidden, also when its env_file was written anew."""
    (tmp_path / "env").write_text("A_TOKEN=rewritten-value\n")
    spawned = spawn(Command(argv=("true",), env_file=str(tmp_path / "env")), {"PATH": "/usr/bin:/bin"})
    spawned_fds = (spawned.stdout_fd, spawned.stderr_fd, spawned.problem_fd)
    os.waitpid(spawned.pid, 0)
    for descriptor in spawned_fds:
        os.close(descriptor)
    forwarding.integration.hide_environment(spawned.environment)
    forwarding.write("rewritten-value")
    assert forwarding.list_waiting() == ["[redacted]"]


@pytest.mark.parametrize("began", [False, True])
@pytest.mark.parametrize("spill_bytes", [None, 1 << 20])
def test_changed_receiver(tmp_path, spill_bytes, began):
    """Lines that wait for a receiver are not lost when only its token, its files or its buffer change."""
    forwarding = Forwarding(tmp_path, make_plan(make_destination(spill_bytes=spill_bytes, buffer_bytes=300)))
    if began:
        forwarding.integration.begin()
    messages = [str(number) for number in range(40)]
    forwarding.write(*messages)
    before = forwarding.integration.dropped_count, forwarding.integration.waiting_bytes
    changed = make_destination(spill_bytes=spill_bytes, headers=(("Authorization", "new"),))
    forwarding.integration.apply_plan(make_plan(changed))
    assert forwarding.integration.dropped_count == before[0] and forwarding.integration.waiting_bytes >= before[1] > 0
    forwarding.integration.apply_plan(make_plan(make_destination(buffer_bytes=0)))
    assert spill_bytes or len(messages) == forwarding.integration.dropped_count
    assert not forwarding.events


def test_removed_receiver(tmp_path):
    """The lines of a receiver that is removed are dropped with a word, and the number of all dropped lines stays."""
    forwarding = Forwarding(tmp_path, make_plan(make_destination(1), make_destination(2, buffer_bytes=0)))
    forwarding.write("1", "2")
    assert forwarding.integration.dropped_count == 2
    forwarding.integration.apply_plan(make_plan(make_destination(3)))
    assert forwarding.integration.dropped_count == 4
    sentence = "2 lines of log dropped: tcp://localhost:1 is not used any more"
    assert forwarding.events == [("log_lines_dropped", sentence)]
    forwarding.integration.apply_plan(make_plan())
    assert forwarding.integration.dropped_count == 4


def test_trouble_of_a_receiver(forwarding):
    """A trouble with a receiver stays known through a change of its token, and ends when the receiver is removed."""
    (forwarder,) = forwarding.integration._forwarders.values()
    forwarder._conditions.raise_condition("log-forward tcp://localhost:1", "cannot send")
    forwarding.integration.apply_plan(make_plan(make_destination(headers=(("Authorization", "new"),))))
    forwarding.integration.apply_plan(make_plan())
    assert forwarding.cues[1:] == [ConditionResolved("log-forward tcp://localhost:1")]
