"""Keep our services registered: carry out the decisions of the registrations' machines.

Theory of operation. Each service has a machine (`registration`). Its inputs come from the wanted state, from the
answers of calls (`call_queue`), from its deadline, from watchers of the agent's entries (`service_watchers`) and from
the loss and the return of the agent (`agent_presence`). Its effects are calls and conditions. Nothing here is awaited
by the rest of the process, except `deregister_all`, which has a time limit.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from autopilot.adapters.condition_reporter import ConditionReporter
from autopilot.adapters.consul import registration_state as r
from autopilot.adapters.consul.agent_presence import AgentPresence
from autopilot.adapters.consul.call_queue import CallQueue
from autopilot.adapters.consul.consul_client import ConsulClient
from autopilot.adapters.consul.registration import step
from autopilot.adapters.consul.service_definition import is_redefined
from autopilot.adapters.consul.service_watchers import ServiceWatchers, TrackedService
from autopilot.adapters.service_names import SUPERVISOR_SERVICE
from autopilot.runtime.observer_loop import Work

if TYPE_CHECKING:
    from autopilot.api.messages import RegisteredService

TOKEN_POLL_INTERVAL_S = 0.5  # between two reads of the token's file while Consul refuses the token
CLOCK_RESOLUTION_S = 0.001


class Registrar:
    """The registrations of all services of this process; made inside a running event loop."""

    def __init__(
        self,
        client: ConsulClient,
        *,
        base_url: str,
        conditions: ConditionReporter,
        start_task: Callable[[Work], asyncio.Task[None]],
        agent_starts_with_us: bool = False,
    ) -> None:
        self._client, self._conditions, self._start_task = client, conditions, start_task
        self._loop = asyncio.get_running_loop()
        self._services: dict[str, TrackedService] = {}
        self._calls = CallQueue(
            client, is_current=self._is_current, on_result=self._handle_call_result, start_task=start_task
        )
        self._presence = AgentPresence(
            client,
            base_url=base_url,
            conditions=conditions,
            get_service_id=lambda: next(iter(self._services), SUPERVISOR_SERVICE),
            on_change=self._handle_presence_change,
            start_task=start_task,
            starts_with_us=agent_starts_with_us,
        )
        self._watchers = ServiceWatchers(
            client,
            services=self._services,
            matches_agent=self._matches_agent,
            on_agent_lost=self.handle_agent_loss,
            start_task=start_task,
        )
        self._timer: asyncio.TimerHandle | None = None
        self._registrations_changed = asyncio.Event()
        self._awaiting_token = False
        self._deregistering = False  # all services are to be deregistered: the agent may leave

    # --- the wanted state ---

    def set_desired(self, id: str, desired: r.Desired | None) -> None:
        """Set the state that a service should have in Consul; None: deregistered."""
        if id not in self._services:
            if desired is None:
                return
            phase = r.Phase.IDLE if self.is_reachable else r.Phase.UNREACHABLE
            self._services[id] = TrackedService(r.Registration(id, phase=phase))
            self._watchers.watch(id)
        self._deregistering = self._deregistering and desired is None
        if self._services[id].registration.desired != desired:
            self._step(id, r.Input.DESIRED_CHANGED, desired=desired)

    async def deregister_all(self, timeout_s: float) -> list[str]:
        """Deregister all services within a time limit; give up at once if the agent cannot be reached.

        Returns:
            The ids that may still be registered.
        """
        for id in self._services:
            self.set_desired(id, None)
        self._deregistering = True
        try:
            async with asyncio.timeout(timeout_s):
                while self.is_reachable and self._list_remaining():
                    self._registrations_changed.clear()
                    await self._registrations_changed.wait()
        except TimeoutError:
            pass
        return self._list_remaining()

    def _list_remaining(self) -> list[str]:
        return [id for id, service in self._services.items() if not service.registration.is_fully_deregistered]

    @property
    def is_reachable(self) -> bool:
        """True while the agent answers."""
        return self._presence.is_reachable

    def build_service_status(self) -> list[RegisteredService]:
        """Return the registered services, as `autopilot status` shows them."""
        return [
            {
                "id": id,
                "name": desired.definition.name,
                "address": desired.definition.address,
                "port": desired.definition.port,
                "status": "maintenance" if desired.maintenance else desired.status,
            }
            for id, service in self._services.items()
            if service.registration.is_registered and (desired := service.registration.desired) is not None
        ]

    def close(self) -> None:
        """Cancel the timers; the owner ends the tasks."""
        self._presence.stop_reporting()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # --- the machines ---

    def _step(self, id: str, on: r.Input, *, desired: r.Desired | None = None, reason: str = "") -> None:
        service, now = self._services[id], self._loop.time()
        state, effects = step(service.registration, on, now, desired=desired, reason=reason, draw=random.random())
        service.set_registration(state)
        for effect in effects:
            match effect:
                case r.RaiseCondition(name, why):
                    self._raise_condition(name, why)
                case r.ClearCondition(name):
                    self._conditions.clear_condition(f"consul-{name}")
                    self._retry_refused()
                case _:
                    self._calls.add(id, effect)
        self._calls.start_calls()
        self._registrations_changed.set()
        self._set_timer()

    def _set_timer(self) -> None:
        deadlines = [s.registration.deadline for s in self._services.values() if s.registration.deadline is not None]
        due = min(deadlines, default=None)
        if self._timer is not None:
            if due == self._timer.when():
                return
            self._timer.cancel()
        self._timer = None if due is None else self._loop.call_at(due, self._fire_deadlines)

    def _fire_deadlines(self) -> None:
        self._timer = None
        now = self._loop.time() + CLOCK_RESOLUTION_S
        for id, service in list(self._services.items()):
            deadline = service.registration.deadline
            if deadline is not None and deadline <= now:
                self._step(id, r.Input.DEADLINE_ELAPSED)
        self._set_timer()

    # --- inputs from Consul ---

    def _is_current(self, id: str, call: r.Call) -> bool:
        return self._services[id].registration.call is call

    def _handle_call_result(self, id: str, call: r.Call, on: r.Input, reason: str) -> None:
        if on is r.Input.AGENT_LOST:
            self.handle_agent_loss(reason)
        elif self._is_current(id, call):
            self._step(id, on, reason=reason)

    def handle_agent_loss(self, reason: str) -> None:
        """Report that the agent cannot be reached, and look for it; not while it may leave."""
        if not self._deregistering or self._list_remaining():
            self._presence.handle_loss(reason)

    def _handle_presence_change(self, reachable: bool) -> None:
        for id in self._services:
            self._step(id, r.Input.AGENT_RETURNED if reachable else r.Input.AGENT_LOST)

    def _matches_agent(self, id: str, agent_service: Mapping[str, Any] | None) -> bool:
        """Compare a registered service with the agent's entry; tell its machine of a difference and return False."""
        service = self._services[id]
        observed = service.registration.observed
        assert observed is not None and observed.definition is not None, "registered"
        if agent_service is None:
            self._step(id, r.Input.SERVICE_MISSING)
            return False
        if observed.definition.enable_tag_override:
            tags = tuple(agent_service.get("Tags") or ())
            service.set_registration(replace(service.registration, foreign_tags=tags))
        if is_redefined(observed.definition, agent_service):
            self._step(id, r.Input.REDEFINED)
            return False
        return True

    # --- refusals ---

    def _raise_condition(self, service: str, reason: str) -> None:
        message = f"Consul refuses the service {service}: {reason}; it is not offered, registration is tried again"
        self._conditions.raise_condition(f"consul-{service}", message)
        if not self._awaiting_token and self._client.is_token_renewable:
            self._awaiting_token = True
            self._start_task(self._await_new_token)

    async def _await_new_token(self) -> None:
        """Read the token's file until Consul refuses nothing any more; not every file system reports its change."""
        token = self._client.token
        while any(service.registration.consecutive_refusals for service in self._services.values()):
            await asyncio.sleep(TOKEN_POLL_INTERVAL_S)
            if self._client.token != token:
                token = self._client.token
                self._retry_refused()
                self._client.notify_reachable()
        self._awaiting_token = False

    def _retry_refused(self) -> None:
        for id, service in list(self._services.items()):
            state = service.registration
            if state.phase is r.Phase.BACKING_OFF and state.consecutive_refusals:
                self._step(id, r.Input.DEADLINE_ELAPSED)
