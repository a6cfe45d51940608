"""Notice that the agent is lost, and find it again as soon as it answers.

A refused connection is tried again soon. A request to an agent that hangs stays open, so that the agent's first answer
ends the loss.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress

from autopilot.adapters.condition_reporter import ConditionReporter
from autopilot.adapters.consul.consul_client import ConsulClient
from autopilot.adapters.consul.consul_errors import ConsulRefusedError, ConsulUnreachableError
from autopilot.retry_delay import RetryDelay
from autopilot.runtime.observer_loop import Work

RECONNECT_DELAY = RetryDelay(first_s=0.05, max_s=0.25)  # an attempt takes 0.2 ms of CPU
RECONNECT_TIMEOUT_S = 30.0  # for a request to an agent that hangs
LEADER_TIMEOUT_S, LEADER_POLL_INTERVAL_S = 0.3, 0.02
LOST_CONDITION = "consul-lost"
START_PATIENCE_S = 10.0  # for an agent that is a job of ours, and starts as we do


class AgentPresence:
    """The connection to the agent: reachable, or lost and being looked for."""

    def __init__(
        self,
        client: ConsulClient,
        *,
        base_url: str,
        conditions: ConditionReporter,
        get_service_id: Callable[[], str],
        on_change: Callable[[bool], None],
        start_task: Callable[[Work], asyncio.Task[None]],
        starts_with_us: bool,
    ) -> None:
        """Assume that the agent is reachable.

        Args:
            client: The client of the agent.
            base_url: The agent's address, for messages.
            conditions: Takes the condition that the agent is lost.
            get_service_id: Returns the id of any service, which is asked for to find the agent again.
            on_change: Called with False at the loss of the agent and with True at its return.
            start_task: Starts the task that looks for the agent.
            starts_with_us: True for an agent that is a job of ours: a loss is only told if it is still lost when it
                has had START_PATIENCE_S seconds to start.
        """
        self._client, self._base_url, self._conditions = client, base_url, conditions
        self._get_service_id, self._on_change, self._start_task = get_service_id, on_change, start_task
        self.is_reachable = True
        self._loop = asyncio.get_running_loop()
        self._quiet_until = self._loop.time() + (START_PATIENCE_S if starts_with_us else 0.0)
        self._report: asyncio.TimerHandle | None = None

    def handle_loss(self, reason: str) -> None:
        """Report the loss and look for the agent until it answers; nothing if it is lost already."""
        if not self.is_reachable:
            return
        self.is_reachable = False
        consequence = "jobs keep running, services are registered again when it returns"
        message = f"cannot reach Consul at {self._base_url}: {reason}; {consequence}"
        if self._loop.time() < self._quiet_until:
            self._report = self._loop.call_at(
                self._quiet_until, self._conditions.raise_condition, LOST_CONDITION, message
            )
        else:
            self._conditions.raise_condition(LOST_CONDITION, message)
        self._on_change(False)
        self._start_task(self._wait_for_agent)

    def stop_reporting(self) -> None:
        """Tell nothing of a loss that was not told yet: the agent is back, or nobody asks for it any more."""
        if self._report is not None:
            self._report.cancel()

    async def _wait_for_agent(self) -> None:
        failures = 0
        while True:
            try:
                await self._client.get_service(self._get_service_id(), timeout_s=RECONNECT_TIMEOUT_S)
                break
            except ConsulRefusedError:
                break
            except ConsulUnreachableError:
                failures += 1
            await asyncio.sleep(RECONNECT_DELAY.compute(failures, random.random()))
        await self._wait_for_leader()
        self.is_reachable = True
        self.stop_reporting()
        self._conditions.clear_condition(LOST_CONDITION)
        self._client.notify_reachable()
        self._on_change(True)

    async def _wait_for_leader(self) -> None:
        """Wait until the agent has a leader, LEADER_TIMEOUT_S at most.

        An agent answers before it has one, and a registration at that moment holds up all later calls for up to
        0.44 s.
        """
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + LEADER_TIMEOUT_S
        while (remaining_s := give_up_at - loop.time()) > 0:
            with suppress(ConsulUnreachableError, ConsulRefusedError):
                if await self._client.get_leader(timeout_s=remaining_s):
                    return
            await asyncio.sleep(LEADER_POLL_INTERVAL_S)
