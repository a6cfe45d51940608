"""Keeps our services registered: does what the registrations decide, and holds queries that wake it.

Three things run here. Calls: at most a few at a time, each with a time limit, never awaited by anybody else.
Sentinels: for the first few services a query held by the agent, which it answers at once when the service is
deregistered or redefined, and which breaks when the agent dies. And, while the agent cannot be reached, one seeker:
a refused connection is tried again within a second; a request to an agent that hangs stays there, and the first
answer after it wakes up is the news.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, Protocol

from autopilot.adapters.consul import registration as r
from autopilot.adapters.consul.client import Client, Gone, Refused, Unreachable
from autopilot.adapters.consul.definition import differs, registration_body, shortened

SENTINELS = 4  # an agent allows 200 connections from one address (limits.http_max_conns_per_client)
CALLS = 8  # at the same time
SEEK_FIRST, SEEK_LAST = 0.05, 0.6  # s between two attempts to connect, give or take a half: back within 1 s
PATIENCE = 30.0  # s that a seeker's request may stay with an agent that hangs
BRIEF = 1.0  # s; a held query that breaks sooner is not held again at once


class Report(Protocol):
    """What the registrar says."""

    def troubled(self, kind: str, sentence: str) -> None: ...

    def mended(self, kind: str) -> None: ...


class Registrar:
    def __init__(
        self,
        client: Client,
        *,
        where: str,
        report: Report,
        background: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
    ) -> None:
        self._client, self._where, self._report, self._background = client, where, report, background
        self._loop = asyncio.get_running_loop()
        self._services: dict[str, r.Registration] = {}
        self._slots = asyncio.Semaphore(CALLS)
        self._timer: asyncio.TimerHandle | None = None
        self._registered: dict[str, asyncio.Event] = {}
        self._moved = asyncio.Event()  # something about a registration has changed
        self._seeking = False
        self._left = False  # all is taken out, and nothing is wanted: Consul may go

    # --- what is wanted ---

    def want(self, id: str, wanted: r.Wanted | None) -> None:
        if id not in self._services:
            if wanted is None:
                return
            self._services[id] = r.Registration(id, phase=r.Phase.CUT if self._seeking else r.Phase.SETTLED)
            self._registered[id] = asyncio.Event()
            if len(self._services) <= SENTINELS:
                self._background(self._guard(id))
        self._left = self._left and wanted is None
        if self._services[id].wanted != wanted:
            self._step(id, r.On.WANTED, wanted=wanted)

    async def leave(self, budget: float) -> list[str]:
        """Take all services out of Consul, within `budget` seconds; at once when it cannot be reached. Those that may
        still be there."""
        for id in self._services:
            self.want(id, None)
        self._left = True
        try:
            async with asyncio.timeout(budget):
                while not self._seeking and self._remaining():
                    self._moved.clear()
                    await self._moved.wait()
        except TimeoutError:
            pass
        return self._remaining()

    def _remaining(self) -> list[str]:
        return [id for id, state in self._services.items() if not state.over]

    @property
    def reachable(self) -> bool:
        return not self._seeking

    def registered(self) -> dict[str, r.Registration]:
        return {id: state for id, state in self._services.items() if state.registered}

    # --- the machines ---

    def _step(self, id: str, on: r.On, *, wanted: r.Wanted | None = None, why: str = "") -> None:
        now = self._loop.time()
        state, effects = r.step(self._services[id], on, now, wanted=wanted, why=why, draw=random.random())
        self._services[id] = state
        event = self._registered[id]
        if state.registered:
            event.set()
        else:
            event.clear()
        for effect in effects:
            match effect:
                case r.Troubled(service, said):
                    self._report.troubled(f"consul-{service}", f"Consul does not take the service {service}: {said}")
                case r.Mended(service):
                    self._report.mended(f"consul-{service}")
                case _:
                    self._background(self._call(id, effect))
        self._moved.set()
        self._set_timer()

    def _set_timer(self) -> None:
        deadlines = [s.deadline for s in self._services.values() if s.deadline is not None]
        due = min(deadlines, default=None)
        if self._timer is not None:
            if due == self._timer.when():
                return
            self._timer.cancel()
        self._timer = None if due is None else self._loop.call_at(due, self._elapse)

    def _elapse(self) -> None:
        self._timer = None
        now = self._loop.time() + 0.001  # the loop's clock has a resolution
        for id, state in list(self._services.items()):
            if state.deadline is not None and state.deadline <= now:
                self._step(id, r.On.ELAPSED)
        self._set_timer()

    # --- calls ---

    async def _call(self, id: str, call: r.Call) -> None:
        async with self._slots:
            if self._services[id].call is not call:
                return  # the agent was lost meanwhile
            on, why = r.On.DONE, ""
            try:
                await self._do(call)
            except Gone:
                on = r.On.DONE if isinstance(call, r.Deregister) else r.On.GONE
            except Refused as refused:
                on, why = r.On.REFUSED, str(refused)
            except Unreachable as unreachable:
                self._lost(str(unreachable))
                return
        if self._services[id].call is call:
            self._step(id, on, why=why)

    async def _do(self, call: r.Call) -> None:
        match call:
            case r.Register(definition, status, tags):
                body = registration_body(definition if tags is None else replace(definition, tags=tags), status)
                await self._client.register(body)
            case r.Update(definition, status, output):
                await self._client.update(definition.check_id, status, shortened(output))
            case r.Maintain(id, enable):
                flag, reason = str(enable).lower(), "autopilot maintenance"
                request = self._client.api.agent.service.maintenance(id, flag, reason if enable else None)
                if not await self._client.call(request):
                    raise Gone(id)
            case r.Deregister(id):
                await self._client.call(self._client.api.agent.service.deregister(id))

    # --- the agent's presence ---

    def _lost(self, why: str) -> None:
        if self._seeking or (self._left and not self._remaining()):
            return
        self._seeking = True
        said = f"cannot reach Consul at {self._where}: {why}; jobs go on, services are registered again on its return"
        self._report.troubled("consul-lost", said)
        for id in self._services:
            self._step(id, r.On.LOST)
        self._background(self._seek())

    async def _seek(self) -> None:
        attempt = 0
        while True:
            try:
                await self._client.service(next(iter(self._services)), limit=PATIENCE)
                break
            except Refused:
                break
            except Unreachable:
                pass
            await asyncio.sleep(min(SEEK_FIRST * 2**attempt, SEEK_LAST) * (0.5 + random.random()))
            attempt = min(attempt + 1, 10)
        self._seeking = False
        self._report.mended("consul-lost")
        for id in self._services:
            self._step(id, r.On.BACK)

    async def _guard(self, id: str) -> None:
        """The sentinel of one service, for as long as we live."""
        breaks = 0
        while True:
            await self._registered[id].wait()
            since = self._loop.time()
            try:
                await self._hold(id)
                breaks = 0
            except Unreachable as unreachable:
                self._lost(str(unreachable))
            except Refused:
                breaks += 1  # may not read what it may write: heartbeats alone tell then
            breaks = breaks + 1 if self._loop.time() - since < BRIEF else 0
            if breaks > 1:
                await asyncio.sleep(min(r.FIRST_RETRY * 2**breaks, r.LAST_RETRY) * (0.5 + random.random()))

    async def _hold(self, id: str) -> None:
        """Returns when the agent does not hold what it should, and the registration knows."""
        seen = ""
        while self._registered[id].is_set():
            found = await self._client.service(id, hash=seen)
            state = self._services[id]
            if state.seen is None or state.seen.definition is None:
                return
            if found is None:
                self._step(id, r.On.GONE)
                return
            if state.call is not None:  # it may be ours, not yet answered: look again when it is
                self._moved.clear()
                await self._moved.wait()
                continue
            if state.seen.definition.enable_tag_override:
                self._services[id] = replace(state, tags=tuple(found.get("Tags") or ()))
            if differs(state.seen.definition, found):
                self._step(id, r.On.REDEFINED)
                return
            seen = str(found.get("ContentHash", ""))
