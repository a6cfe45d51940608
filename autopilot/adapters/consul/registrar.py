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
from autopilot.adapters.consul.client import Client, Gone, Refused, Unreachable, next_index
from autopilot.adapters.consul.definition import differs, registration_body, shortened

SENTINELS = 4  # an agent allows 200 connections from one address (limits.http_max_conns_per_client)
CALLS = 8  # at the same time
REPEATS = 2  # of them at least for what only repeats: a registration may take 7 s when there is no quorum
SEEK_FIRST, SEEK_LAST = 0.05, 0.25  # s between two attempts to connect, give or take a half; each takes 0.2 ms of CPU
ELECTION, LEADER_LOOKS = 0.3, 0.02  # s that a new agent has to find a leader, and between two looks
PATIENCE = 30.0  # s that a seeker's request may stay with an agent that hangs
BRIEF = 1.0  # s; a held query that breaks sooner is not held again at once
TOKEN_LOOKS = 0.5  # s between two looks at a token's file while the token is refused
LOOKS = 0.25  # s between two looks at all services: our own registrations wake their sentinel too


class Report(Protocol):
    """What the registrar says."""

    def troubled(self, kind: str, sentence: str) -> None: ...

    def mended(self, kind: str) -> None: ...


@dataclass(slots=True)
class _Lane:
    waiting: deque[tuple[str, r.Call]] = field(default_factory=deque)
    out: int = 0


def _repeats(call: r.Call) -> bool:
    return isinstance(call, r.Update) and call.status == "passing"


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
        self._news, self._repeats = _Lane(), _Lane()
        self._timer: asyncio.TimerHandle | None = None
        self._registered: dict[str, asyncio.Event] = {}
        self._quiet: dict[str, asyncio.Event] = {}  # no call of the service is out
        self._moved = asyncio.Event()  # something about a registration has changed
        self._seeking = False
        self._renewing = False
        self._left = False  # all is taken out, and nothing is wanted: Consul may go

    # --- what is wanted ---

    def want(self, id: str, wanted: r.Wanted | None) -> None:
        if id not in self._services:
            if wanted is None:
                return
            self._services[id] = r.Registration(id, phase=r.Phase.CUT if self._seeking else r.Phase.SETTLED)
            self._registered[id], self._quiet[id] = asyncio.Event(), asyncio.Event()
            self._quiet[id].set()
            if len(self._services) <= SENTINELS:
                self._background(self._guard(id))
            elif len(self._services) == SENTINELS + 1:
                self._background(self._guard_all())
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
        for event, holds in ((self._registered[id], state.registered), (self._quiet[id], state.call is None)):
            event.set() if holds else event.clear()
        for effect in effects:
            match effect:
                case r.Troubled(service, said):
                    self._report.troubled(f"consul-{service}", f"Consul does not take the service {service}: {said}")
                    if not self._renewing and self._client.renewable:
                        self._renewing = True
                        self._background(self._await_new_token())
                case r.Mended(service):
                    self._report.mended(f"consul-{service}")
                    self._retry_refused()
                case _:
                    (self._repeats if _repeats(effect) else self._news).waiting.append((id, effect))
        self._place_calls()
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

    def close(self) -> None:
        """Nothing is due any more; whoever ran our work has ended it."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # --- a token that was refused ---

    async def _await_new_token(self) -> None:
        """Until nothing is refused any more. Nobody tells of a file's new content everywhere, so it is looked at."""
        token = self._client.token
        while any(state.failures for state in self._services.values()):
            await asyncio.sleep(TOKEN_LOOKS)
            if self._client.token != token:
                token = self._client.token
                self._retry_refused()
                self._client.answers_again()
        self._renewing = False

    def _retry_refused(self) -> None:
        for id, state in list(self._services.items()):
            if state.phase is r.Phase.RESTING and state.failures:
                self._step(id, r.On.ELAPSED)

    # --- calls ---

    def _place_calls(self) -> None:
        self._place(self._news, CALLS)
        self._place(self._repeats, max(REPEATS, CALLS - self._news.out))

    def _place(self, lane: _Lane, room: int) -> None:
        while lane.waiting and lane.out < room:
            id, call = lane.waiting.popleft()
            if self._services[id].call is call:  # else the agent was lost meanwhile
                lane.out += 1
                self._background(self._call(id, call, lane))

    async def _call(self, id: str, call: r.Call, lane: _Lane) -> None:
        on, why = await self._answer(call)
        lane.out -= 1
        if on is r.On.LOST:
            self._lost(why)
        elif self._services[id].call is call:
            self._step(id, on, why=why)
        self._place_calls()

    async def _answer(self, call: r.Call) -> tuple[r.On, str]:
        try:
            await self._do(call)
        except Gone:
            return (r.On.DONE if isinstance(call, r.Deregister) else r.On.GONE), ""
        except Refused as refused:
            return r.On.REFUSED, str(refused)
        except Unreachable as unreachable:
            return r.On.LOST, str(unreachable)
        return r.On.DONE, ""

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
        await self._await_leader()
        self._seeking = False
        self._report.mended("consul-lost")
        self._client.answers_again()
        for id in self._services:
            self._step(id, r.On.BACK)

    async def _await_leader(self) -> None:
        """For a moment: an agent answers before it has a leader, and what it is told then holds up all that comes after
        it, for up to 0.44 s at random."""
        until = self._loop.time() + ELECTION
        while (left := until - self._loop.time()) > 0:
            with suppress(Unreachable, Refused):
                if await self._client.leader(limit=left):
                    return
            await asyncio.sleep(LEADER_LOOKS)

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
            if not self._quiet[id].is_set():  # it may be ours, not yet answered: look again when it is
                await self._quiet[id].wait()
            elif not self._services[id].registered or not self._compare(id, found):
                return
            else:
                seen = str(found and found.get("ContentHash", ""))

    async def _guard_all(self) -> None:
        """The one sentinel of those that have none of their own, for as long as we live: the servers tell that
        something about our node's services has changed, the agent what it holds."""
        index, failures, node = 0, 0, ""
        while True:
            since = self._loop.time()
            try:
                node = node or await self._client.node_of(next(iter(self._services)))
                answered = await self._client.await_node(node, index)
                settled = [id for id, state in self._services.items() if state.registered and state.call is None]
                held = await self._client.services()
                for id in settled:
                    if self._services[id].registered and self._services[id].call is None:
                        self._compare(id, held.get(id))
                index, failures = next_index(index, answered), 0
            except (Unreachable, Refused):  # the first sentinels and the heartbeats tell what that is
                index, failures, node = 0, min(failures + 1, 10), ""
                await self._client.rest(min(r.FIRST_RETRY * 2**failures, r.LAST_RETRY) * (0.5 + random.random()))
            await asyncio.sleep(max(0.0, since + LOOKS - self._loop.time()))

    def _compare(self, id: str, found: Mapping[str, Any] | None) -> bool:
        """Whether the agent holds what it should; when not, the registration knows it now."""
        state = self._services[id]
        assert state.seen is not None and state.seen.definition is not None, "registered"
        if found is None:
            self._step(id, r.On.GONE)
            return False
        if state.seen.definition.enable_tag_override:
            self._services[id] = replace(state, tags=tuple(found.get("Tags") or ()))
        if differs(state.seen.definition, found):
            self._step(id, r.On.REDEFINED)
            return False
        return True
