"""Send the calls that registrations decide on: a few at a time, heartbeats after changes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from typing import Any

from autopilot.adapters.consul import registration_state as r
from autopilot.adapters.consul.consul_client import ConsulClient
from autopilot.adapters.consul.consul_errors import ConsulRefusedError, ConsulUnreachableError, NotRegisteredError
from autopilot.adapters.consul.service_definition import build_registration_body, trim_output

MAX_CONCURRENT_CALLS = 8
MIN_HEARTBEAT_CALLS = 2  # always possible: a registration may take 7 s while the servers have no quorum


@dataclass(slots=True)
class _Lane:
    waiting: deque[tuple[str, r.Call]] = field(default_factory=deque)
    in_flight: int = 0


class CallQueue:
    """The calls that wait and those in flight, in two lanes: changes, and heartbeats of passing services."""

    def __init__(
        self,
        client: ConsulClient,
        *,
        is_current: Callable[[str, r.Call], bool],
        on_result: Callable[[str, r.Call, r.Input, str], None],
        start_task: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
    ) -> None:
        """Prepare an empty queue.

        Args:
            client: The client that sends the calls.
            is_current: Tells if a service still waits for that call; one that lost its agent does not.
            on_result: Called with the service id, the call, the machine's input and the reason of a refusal.
            start_task: Starts a task that the owner of the queue ends.
        """
        self._client, self._is_current, self._on_result = client, is_current, on_result
        self._start_task = start_task
        self._changes, self._heartbeats = _Lane(), _Lane()

    def add(self, id: str, call: r.Call) -> None:
        """Append a call of a service; `start_calls` sends it."""
        is_heartbeat = isinstance(call, r.UpdateCheck) and call.status == "passing"
        (self._heartbeats if is_heartbeat else self._changes).waiting.append((id, call))

    def start_calls(self) -> None:
        """Send as many waiting calls as the limits allow."""
        self._start_lane(self._changes, MAX_CONCURRENT_CALLS)
        self._start_lane(self._heartbeats, max(MIN_HEARTBEAT_CALLS, MAX_CONCURRENT_CALLS - self._changes.in_flight))

    def _start_lane(self, lane: _Lane, max_in_flight: int) -> None:
        while lane.waiting and lane.in_flight < max_in_flight:
            id, call = lane.waiting.popleft()
            if self._is_current(id, call):
                lane.in_flight += 1
                self._start_task(self._run_call(id, call, lane))

    async def _run_call(self, id: str, call: r.Call, lane: _Lane) -> None:
        on, reason = await self._try_call(call)
        lane.in_flight -= 1
        self._on_result(id, call, on, reason)
        self.start_calls()

    async def _try_call(self, call: r.Call) -> tuple[r.Input, str]:
        try:
            await self._send(call)
        except NotRegisteredError:
            return (r.Input.CALL_SUCCEEDED if isinstance(call, r.Deregister) else r.Input.SERVICE_MISSING), ""
        except ConsulRefusedError as refused:
            return r.Input.CALL_REFUSED, str(refused)
        except ConsulUnreachableError as unreachable:
            return r.Input.AGENT_LOST, str(unreachable)
        return r.Input.CALL_SUCCEEDED, ""

    async def _send(self, call: r.Call) -> None:
        match call:
            case r.Register(definition, status, tags):
                body = build_registration_body(definition if tags is None else replace(definition, tags=tags), status)
                await self._client.register(body)
            case r.UpdateCheck(definition, status, output):
                await self._client.update_check(definition.check_id, status, trim_output(output))
            case r.SetMaintenance(id, enable):
                flag, reason = str(enable).lower(), "autopilot maintenance"
                request = self._client.api.agent.service.maintenance(id, flag, reason if enable else None)
                if not await self._client.call(request):
                    raise NotRegisteredError(id)
            case r.Deregister(id):
                await self._client.call(self._client.api.agent.service.deregister(id))
