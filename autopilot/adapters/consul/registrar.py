"""Keeps our services registered: does what the registrations decide, and holds queries that wake it.

Three things run here. Calls: at most a few at a time, each with a time limit, never awaited by anybody else; what
only repeats that a service passes lets what is new go first. Sentinels: for the first few services a query held by
the agent, which it answers at once when the service is deregistered or redefined, and which breaks when the agent
dies; for all others together one query held by the servers. And, while the agent cannot be reached, one seeker: a
refused connection is tried again soon; a request to an agent that hangs stays there, and the first answer after it
wakes up is the news.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from autopilot.adapters.consul import registration as r
from autopilot.adapters.consul.consul_client import (
    ConsulClient,
    ConsulRefusedError,
    ConsulUnreachableError,
    NotRegisteredError,
    compute_next_index,
)
from autopilot.adapters.consul.service_definition import build_registration_body, is_redefined, trim_output

MAX_SERVICE_WATCHERS = 4  # an agent allows 200 connections from one address (limits.http_max_conns_per_client)
MAX_CONCURRENT_CALLS = 8  # at the same time
MIN_HEARTBEAT_CALLS = 2  # of them at least for what only repeats: a registration may take 7 s when there is no quorum
FIRST_RECONNECT_DELAY_S, MAX_RECONNECT_DELAY_S = (
    0.05,
    0.25,
)  # s between two attempts to connect, give or take a half; each takes 0.2 ms of CPU
LEADER_TIMEOUT_S, LEADER_POLL_INTERVAL_S = 0.3, 0.02  # s that a new agent has to find a leader, and between two looks
RECONNECT_TIMEOUT_S = 30.0  # s that a seeker's request may stay with an agent that hangs
MIN_QUERY_DURATION_S = 1.0  # s; a held query that breaks sooner is not held again at once
TOKEN_POLL_INTERVAL_S = 0.5  # s between two looks at a token's file while the token is refused
NODE_QUERY_INTERVAL_S = 0.25  # s between two looks at all services: our own registrations wake their sentinel too


class ConditionReporter(Protocol):
    """What the registrar says."""

    def raise_condition(self, kind: str, message: str) -> None: ...

    def clear_condition(self, kind: str) -> None: ...


@dataclass(slots=True)
class _CallQueue:
    waiting: deque[tuple[str, r.Call]] = field(default_factory=deque)
    in_flight: int = 0


def _is_heartbeat(call: r.Call) -> bool:
    return isinstance(call, r.UpdateCheck) and call.status == "passing"


class Registrar:
    def __init__(
        self,
        client: ConsulClient,
        *,
        base_url: str,
        reporter: ConditionReporter,
        start_task: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
    ) -> None:
        self._client, self._base_url, self._reporter, self._start_task = client, base_url, reporter, start_task
        self._loop = asyncio.get_running_loop()
        self._registrations: dict[str, r.Registration] = {}
        self._change_calls, self._heartbeat_calls = _CallQueue(), _CallQueue()
        self._timer: asyncio.TimerHandle | None = None
        self._registered_flags: dict[str, asyncio.Event] = {}
        self._idle_flags: dict[str, asyncio.Event] = {}  # no call of the service is out
        self._registrations_changed = asyncio.Event()  # something about a registration has changed
        self._reconnecting = False
        self._awaiting_token = False
        self._deregistered_all = False  # all is taken out, and nothing is wanted: Consul may go

    # --- what is wanted ---

    def set_desired(self, id: str, desired: r.Desired | None) -> None:
        if id not in self._registrations:
            if desired is None:
                return
            self._registrations[id] = r.Registration(
                id, phase=r.Phase.UNREACHABLE if self._reconnecting else r.Phase.IDLE
            )
            self._registered_flags[id], self._idle_flags[id] = asyncio.Event(), asyncio.Event()
            self._idle_flags[id].set()
            if len(self._registrations) <= MAX_SERVICE_WATCHERS:
                self._start_task(self._watch_service(id))
            elif len(self._registrations) == MAX_SERVICE_WATCHERS + 1:
                self._start_task(self._watch_node_services())
        self._deregistered_all = self._deregistered_all and desired is None
        if self._registrations[id].desired != desired:
            self._step(id, r.Input.DESIRED_CHANGED, desired=desired)

    async def deregister_all(self, timeout_s: float) -> list[str]:
        """Take all services out of Consul, within `budget` seconds; at once when it cannot be reached. Those that may
        still be there."""
        for id in self._registrations:
            self.set_desired(id, None)
        self._deregistered_all = True
        try:
            async with asyncio.timeout(timeout_s):
                while not self._reconnecting and self._list_remaining():
                    self._registrations_changed.clear()
                    await self._registrations_changed.wait()
        except TimeoutError:
            pass
        return self._list_remaining()

    def _list_remaining(self) -> list[str]:
        return [id for id, state in self._registrations.items() if not state.fully_deregistered]

    @property
    def reachable(self) -> bool:
        return not self._reconnecting

    def get_registered(self) -> dict[str, r.Registration]:
        return {id: state for id, state in self._registrations.items() if state.registered}

    # --- the machines ---

    def _step(self, id: str, on: r.Input, *, desired: r.Desired | None = None, reason: str = "") -> None:
        now = self._loop.time()
        state, effects = r.step(self._registrations[id], on, now, desired=desired, reason=reason, draw=random.random())
        self._registrations[id] = state
        for event, holds in (
            (self._registered_flags[id], state.registered),
            (self._idle_flags[id], state.call is None),
        ):
            event.set() if holds else event.clear()
        for effect in effects:
            match effect:
                case r.RaiseCondition(service, said):
                    self._reporter.raise_condition(
                        f"consul-{service}", f"Consul does not take the service {service}: {said}"
                    )
                    if not self._awaiting_token and self._client.token_renewable:
                        self._awaiting_token = True
                        self._start_task(self._await_new_token())
                case r.ClearCondition(service):
                    self._reporter.clear_condition(f"consul-{service}")
                    self._retry_refused()
                case _:
                    (self._heartbeat_calls if _is_heartbeat(effect) else self._change_calls).waiting.append(
                        (id, effect)
                    )
        self._start_queued_calls()
        self._registrations_changed.set()
        self._set_timer()

    def _set_timer(self) -> None:
        deadlines = [s.deadline for s in self._registrations.values() if s.deadline is not None]
        due = min(deadlines, default=None)
        if self._timer is not None:
            if due == self._timer.when():
                return
            self._timer.cancel()
        self._timer = None if due is None else self._loop.call_at(due, self._fire_deadlines)

    def _fire_deadlines(self) -> None:
        self._timer = None
        now = self._loop.time() + 0.001  # the loop's clock has a resolution
        for id, state in list(self._registrations.items()):
            if state.deadline is not None and state.deadline <= now:
                self._step(id, r.Input.DEADLINE_ELAPSED)
        self._set_timer()

    def close(self) -> None:
        """Nothing is due any more; whoever ran our work has ended it."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # --- a token that was refused ---

    async def _await_new_token(self) -> None:
        """Until nothing is refused any more. Nobody tells of a file's new content everywhere, so it is looked at."""
        token = self._client.token
        while any(state.consecutive_refusals for state in self._registrations.values()):
            await asyncio.sleep(TOKEN_POLL_INTERVAL_S)
            if self._client.token != token:
                token = self._client.token
                self._retry_refused()
                self._client.notify_reachable()
        self._awaiting_token = False

    def _retry_refused(self) -> None:
        for id, state in list(self._registrations.items()):
            if state.phase is r.Phase.BACKING_OFF and state.consecutive_refusals:
                self._step(id, r.Input.DEADLINE_ELAPSED)

    # --- calls ---

    def _start_queued_calls(self) -> None:
        self._start_calls_from(self._change_calls, MAX_CONCURRENT_CALLS)
        self._start_calls_from(
            self._heartbeat_calls, max(MIN_HEARTBEAT_CALLS, MAX_CONCURRENT_CALLS - self._change_calls.in_flight)
        )

    def _start_calls_from(self, call_queue: _CallQueue, max_in_flight: int) -> None:
        while call_queue.waiting and call_queue.in_flight < max_in_flight:
            id, call = call_queue.waiting.popleft()
            if self._registrations[id].call is call:  # else the agent was lost meanwhile
                call_queue.in_flight += 1
                self._start_task(self._run_call(id, call, call_queue))

    async def _run_call(self, id: str, call: r.Call, call_queue: _CallQueue) -> None:
        on, why = await self._try_call(call)
        call_queue.in_flight -= 1
        if on is r.Input.AGENT_LOST:
            self._handle_agent_loss(why)
        elif self._registrations[id].call is call:
            self._step(id, on, reason=why)
        self._start_queued_calls()

    async def _try_call(self, call: r.Call) -> tuple[r.Input, str]:
        try:
            await self._send_call(call)
        except NotRegisteredError:
            return (r.Input.CALL_SUCCEEDED if isinstance(call, r.Deregister) else r.Input.SERVICE_MISSING), ""
        except ConsulRefusedError as refused:
            return r.Input.CALL_REFUSED, str(refused)
        except ConsulUnreachableError as unreachable:
            return r.Input.AGENT_LOST, str(unreachable)
        return r.Input.CALL_SUCCEEDED, ""

    async def _send_call(self, call: r.Call) -> None:
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

    # --- the agent's presence ---

    def _handle_agent_loss(self, reason: str) -> None:
        if self._reconnecting or (self._deregistered_all and not self._list_remaining()):
            return
        self._reconnecting = True
        said = f"cannot reach Consul at {self._base_url}: {reason}; jobs go on, services are registered again on its return"
        self._reporter.raise_condition("consul-lost", said)
        for id in self._registrations:
            self._step(id, r.Input.AGENT_LOST)
        self._start_task(self._wait_for_agent())

    async def _wait_for_agent(self) -> None:
        attempt = 0
        while True:
            try:
                await self._client.get_service(next(iter(self._registrations)), timeout_s=RECONNECT_TIMEOUT_S)
                break
            except ConsulRefusedError:
                break
            except ConsulUnreachableError:
                pass
            await asyncio.sleep(
                min(FIRST_RECONNECT_DELAY_S * 2**attempt, MAX_RECONNECT_DELAY_S) * (0.5 + random.random())
            )
            attempt = min(attempt + 1, 10)
        await self._await_leader()
        self._reconnecting = False
        self._reporter.clear_condition("consul-lost")
        self._client.notify_reachable()
        for id in self._registrations:
            self._step(id, r.Input.AGENT_RETURNED)

    async def _await_leader(self) -> None:
        """For a moment: an agent answers before it has a leader, and what it is told then holds up all that comes after
        it, for up to 0.44 s at random."""
        until = self._loop.time() + LEADER_TIMEOUT_S
        while (left := until - self._loop.time()) > 0:
            with suppress(ConsulUnreachableError, ConsulRefusedError):
                if await self._client.get_leader(timeout_s=left):
                    return
            await asyncio.sleep(LEADER_POLL_INTERVAL_S)

    async def _watch_service(self, id: str) -> None:
        """The sentinel of one service, for as long as we live."""
        breaks = 0
        while True:
            await self._registered_flags[id].wait()
            since = self._loop.time()
            try:
                await self._wait_for_difference(id)
                breaks = 0
            except ConsulUnreachableError as unreachable:
                self._handle_agent_loss(str(unreachable))
            except ConsulRefusedError:
                breaks += 1  # may not read what it may write: heartbeats alone tell then
            breaks = breaks + 1 if self._loop.time() - since < MIN_QUERY_DURATION_S else 0
            if breaks > 1:
                await asyncio.sleep(
                    min(r.FIRST_RETRY_DELAY_S * 2**breaks, r.MAX_RETRY_DELAY_S) * (0.5 + random.random())
                )

    async def _wait_for_difference(self, id: str) -> None:
        """Returns when the agent does not hold what it should, and the registration knows."""
        seen = ""
        while self._registered_flags[id].is_set():
            found = await self._client.get_service(id, content_hash=seen)
            if not self._idle_flags[id].is_set():  # it may be ours, not yet answered: look again when it is
                await self._idle_flags[id].wait()
            elif not self._registrations[id].registered or not self._compare_with_agent(id, found):
                return
            else:
                seen = str(found and found.get("ContentHash", ""))

    async def _watch_node_services(self) -> None:
        """The one sentinel of those that have none of their own, for as long as we live: the servers tell that
        something about our node's services has changed, the agent what it holds."""
        index, failures, node = 0, 0, ""
        while True:
            since = self._loop.time()
            try:
                node = node or await self._client.find_node_name(next(iter(self._registrations)))
                answered = await self._client.await_node_change(node, index)
                settled = [id for id, state in self._registrations.items() if state.registered and state.call is None]
                held = await self._client.list_services()
                for id in settled:
                    if self._registrations[id].registered and self._registrations[id].call is None:
                        self._compare_with_agent(id, held.get(id))
                index, failures = compute_next_index(index, answered), 0
            except (
                ConsulUnreachableError,
                ConsulRefusedError,
            ):  # the first sentinels and the heartbeats tell what that is
                index, failures, node = 0, min(failures + 1, 10), ""
                await self._client.wait_until_reachable(
                    min(r.FIRST_RETRY_DELAY_S * 2**failures, r.MAX_RETRY_DELAY_S) * (0.5 + random.random())
                )
            await asyncio.sleep(max(0.0, since + NODE_QUERY_INTERVAL_S - self._loop.time()))

    def _compare_with_agent(self, id: str, agent_service: Mapping[str, Any] | None) -> bool:
        """Whether the agent holds what it should; when not, the registration knows it now."""
        state = self._registrations[id]
        assert state.observed is not None and state.observed.definition is not None, "registered"
        if agent_service is None:
            self._step(id, r.Input.SERVICE_MISSING)
            return False
        if state.observed.definition.enable_tag_override:
            self._registrations[id] = replace(state, foreign_tags=tuple(agent_service.get("Tags") or ()))
        if is_redefined(state.observed.definition, agent_service):
            self._step(id, r.Input.REDEFINED)
            return False
        return True
