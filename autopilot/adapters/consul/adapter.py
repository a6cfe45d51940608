"""The adapter: told every fact of this life, it keeps Consul informed, and reports what Consul says as cues.

It is there before the first job starts, so that it misses no fact; the HTTP client, which takes 0.3 s to load, is
loaded beside the running jobs.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping, Sized
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

from autopilot.adapters.consul.access import CannotUseConsul, access
from autopilot.adapters.consul.archive import Archive
from autopilot.adapters.consul.offers import TELEMETRY, Life, Offers
from autopilot.machines import cues, facts
from autopilot.runtime.loading import loaded
from autopilot.spec.plan import Lock, Plan, Watch

if TYPE_CHECKING:
    from autopilot.adapters.consul.client import Client
    from autopilot.adapters.consul.registrar import Registrar

ASKED = 5.0  # s for a question somebody waits for
FAREWELL = 1.0  # s for the deregistration when this life ends
LEFT_BEHIND = "consul-left-behind"


class Consul:
    """Made with a running loop. Nothing here is ever awaited by who tells, but for `leave`, which has its budget."""

    def __init__(
        self,
        plan: Plan,
        *,
        life: Life,
        addresses: Mapping[str, str],
        env: Mapping[str, str],
        report: Callable[[cues.Cue], None],
        background: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
        maintained_away: bool = False,
        offers: Offers | None = None,
    ) -> None:
        """`addresses`: of each job with a port, and ("") of the supervisor itself; `offers`: what another Consul was
        offered before. Raises CannotUseConsul."""
        assert plan.consul is not None, "made for plans with Consul"
        missing = [module for module in ("aiohttp", "consul", "ifaddr") if find_spec(module) is None]
        if missing:
            remedy = "pip install condor-autopilot[consul]"
            raise CannotUseConsul(f"consul: cannot be used: not installed: {', '.join(missing)} ({remedy})")
        self._plan, self.access = plan, access(plan.consul, env)
        self._report, self._all_background = report, background
        self._tasks: set[asyncio.Task[None]] = set()
        self._agent = plan.consul_agent.job if plan.consul_agent else None
        self.offers = offers or Offers(plan, life, addresses, maintained_away=maintained_away)
        self._archive = Archive(life)
        self._registrar: Registrar | None = None
        self._client: Client | None = None
        self._loaded = asyncio.Event()
        self._locks = {lock.holder: lock for lock in plan.locks}
        self._permits: dict[str, asyncio.Task[None]] = {}
        self._followed: list[asyncio.Task[None]] = []  # for others
        self._wishes: list[tuple[Literal["key", "keys", "service"], str, Callable[[Any], None]]] = []
        self._watching: dict[Watch, asyncio.Task[None]] = {}
        self._troubles: set[str] = set()
        self._left_behind = ""
        self._instances = dict.fromkeys(plan.watches, 0)

    def _background(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._all_background(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def begin(self) -> None:
        self._background(self._begin())

    async def _begin(self) -> None:
        await loaded("consul.aio")
        from autopilot.adapters.consul.client import Client
        from autopilot.adapters.consul.registrar import Registrar

        self._client = client = Client(self.access)
        self._background(self._archive.keep(client, self._archive_refused))
        self._registrar = Registrar(client, where=self.access.base, report=self, background=self._background)
        self._express(self.offers.ids)
        self._watch()
        self._loaded.set()
        while self._wishes:
            self._follow(*self._wishes.pop())

    def adopt(self, plan: Plan, addresses: Mapping[str, str], healthy: Collection[str]) -> None:
        """Offer and watch what `plan` does from now on; `healthy`: the jobs that are so now."""
        self._plan = plan
        gone = self.offers.adopt(plan, addresses, healthy=healthy)
        self._instances = {planned: self._instances.get(planned, 0) for planned in plan.watches}
        if self._registrar is not None:
            for id in gone:
                self._registrar.want(id, None)
            self._express(self.offers.ids)
            self._watch()

    def _watch(self) -> None:
        """Follow what the plan watches, and nothing else."""
        from autopilot.adapters.consul import following

        assert self._client is not None, "watched when it is loaded"
        for planned in self._watching.keys() - set(self._plan.watches):
            self._watching.pop(planned).cancel()
            self.mended(f"consul-watch-{planned.name}")
        for planned in self._plan.watches:
            if planned in self._watching:
                continue
            blind = partial(self._blind, f"consul-watch-{planned.name}")
            if planned.key is None:
                service = following.service(planned.name, tag=planned.tag, dc=planned.dc, interval=planned.interval)
                heard, refused = partial(self._watched, planned), partial(blind, "service", planned.name)
                look = following.follow(service, self._client, heard, known=(), refused=refused)
            else:
                key = following.value(planned.key, dc=planned.dc, interval=planned.interval)
                heard, refused = partial(self._watched_key, planned), partial(blind, "key", planned.key)
                look = following.follow(key, self._client, heard, known=None, refused=refused)
            self._watching[planned] = self._background(look)

    # --- told ---

    def hear(self, fact: facts.Fact) -> None:
        changed = self.offers.hear(fact, time.time())
        if isinstance(fact, facts.ShutdownBegun):
            self._archive.ending(fact.reason, time.time())
        match fact:
            case facts.JobStarted(job) if job == self._agent and self.offers.left:
                self.offers.left, changed = False, self.offers.ids
            case facts.JobStopping(job) if job == self._agent:
                self._background(self._before_the_agent_stops())
        self._express(changed)

    def _express(self, services: Iterable[str]) -> None:
        if self._registrar is not None:
            for id in services:
                self._registrar.want(id, self.offers.wanted(id))

    async def _before_the_agent_stops(self) -> None:
        """An agent younger than 5 s that leaves with services comes back as a passing ghost."""
        await self.leave()
        self._report(cues.Deregistered())

    async def leave(self) -> None:
        """Take our services out and give our permits back, within a bound."""
        self.offers.left = True
        if self._registrar is None:
            return
        self._express(self.offers.ids)
        held = list(self._permits.values())
        for holder in tuple(self._permits):
            self.release_permit(holder)
        released = asyncio.wait(held, timeout=FAREWELL) if held else asyncio.sleep(0)
        leave, close = self._registrar.leave(FAREWELL), self._archive.close(FAREWELL)
        remaining, *_ = await asyncio.gather(leave, close, released)
        if remaining:
            within = f"cannot take out of Consul within {FAREWELL:g} s"
            self._left_behind = f"{within}: {remaining}; it finds them critical after their TTL"
            self.troubled(LEFT_BEHIND, self._left_behind)

    async def end(self) -> None:
        """The end of this life: leave, and let go of all that is open."""
        await self.leave()
        await self._close()

    def retire(self) -> Coroutine[Any, Any, None]:
        """Another Consul follows, or none: from now on this one tells nothing, and has no trouble. What is returned is
        `end`, to be awaited by somebody."""
        for task in (*self._watching.values(), *self._followed):
            task.cancel()
        if self._registrar is None:  # nothing is there, and nothing may come any more
            self._cancel()
        for kind in tuple(self._troubles):
            self.mended(kind)
        report, self._report = self._report, _told_to_nobody
        return self._retire(report)

    async def _retire(self, report: Callable[[cues.Cue], None]) -> None:
        await self.end()
        for kind in self._troubles & {LEFT_BEHIND}:  # it is worth a line, and nobody can mend it
            report(cues.NodeTrouble(kind, self._left_behind))
            report(cues.NodeRecovered(kind))

    def _cancel(self) -> list[asyncio.Task[None]]:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        return tasks

    async def _close(self) -> None:
        await asyncio.gather(*self._cancel(), return_exceptions=True)
        if self._registrar is not None:
            self._registrar.close()
        if self._client is not None:
            await self._client.close()

    # --- limits between hosts ---

    def ask_permit(self, holder: str, granted: Callable[[bool], None]) -> None:
        self._permits[holder] = self._background(self._hold_permit(self._locks[holder], granted))

    async def _hold_permit(self, lock: Lock, granted: Callable[[bool], None]) -> None:
        """Held until this task is cancelled."""
        await self._loaded.wait()
        from autopilot.adapters.consul.semaphore import Permit

        assert self._client is not None, "loaded"
        permit = Permit(lock, self._client, granted=granted)
        try:
            await permit.hold()
        finally:
            await permit.release(FAREWELL)

    def release_permit(self, holder: str) -> None:
        task = self._permits.pop(holder, None)
        if task is not None:
            task.cancel()

    # --- reporting ---

    def troubled(self, kind: str, sentence: str) -> None:
        self._troubles.add(kind)
        self._report(cues.NodeTrouble(kind, sentence))

    def _archive_refused(self, why: str) -> None:
        said = f"Consul does not take the record of this life: {why}; allow key_prefix autopilot/ to its token"
        self.troubled("consul-archive", said)

    def mended(self, kind: str) -> None:
        if kind in self._troubles:
            self._troubles.remove(kind)
            self._report(cues.NodeRecovered(kind))

    def _watched(self, watch: Watch, instances: Sized) -> None:
        self._instances[watch] = len(instances)
        self._report(cues.WatchChanged(watch.name, len(instances) > 0))

    def _watched_key(self, watch: Watch, value: bytes | None) -> None:
        self._watched(watch, () if value is None else (value,))

    def _blind(self, kind: str, what: str, name: str, why: str | None) -> None:
        """Consul does not let us look at a service, key or keys; None: it does again."""
        if why is None:
            self.mended(kind)
        else:
            allowed = "key_prefix" if what == "keys" else what
            said = f"Consul does not show the {what} {name}: {why}; what was known of it stays"
            self.troubled(kind, f'{said}; allow {allowed} "{name}" to its token')

    # --- followed for others ---

    def follow(self, kind: Literal["key", "keys", "service"], name: str, changed: Callable[[Any], None]) -> None:
        """`changed` hears what Consul says of it, now and at each change."""
        if self._client is None:
            self._wishes.append((kind, name, changed))
        else:
            self._follow(kind, name, changed)

    def _follow(self, kind: Literal["key", "keys", "service"], name: str, changed: Callable[[Any], None]) -> None:
        from autopilot.adapters.consul import following

        assert self._client is not None, "followed when it is loaded"
        subject = {"key": following.key, "keys": following.keys, "service": following.service}[kind](name)
        refused = partial(self._blind, f"consul-{kind}-{name}", kind, name)
        self._followed.append(self._background(following.follow(subject, self._client, changed, refused=refused)))

    # --- asked for by status ---

    def status(self) -> dict[str, object]:
        if self._registrar is None:
            return {"reachable": None, "services": [], "watches": []}
        services = [
            {
                "id": id,
                "name": state.wanted.definition.name,
                "address": state.wanted.definition.address,
                "port": state.wanted.definition.port,
                "status": "maintenance" if state.wanted.maintenance else state.wanted.status,
            }
            for id, state in self._registrar.registered().items()
            if state.wanted is not None
        ]
        watches = [{"name": watch.name, "instances": count} for watch, count in self._instances.items()]
        return {"reachable": self._registrar.reachable, "services": services, "watches": watches}

    async def targets(self) -> list[dict[str, object]]:
        """Every telemetry port that Consul knows, as http_sd of Prometheus wants it. Raises ConnectionError."""
        from autopilot.adapters.consul.client import Refused, Unreachable
        from autopilot.adapters.consul.targets import target

        if self._client is None:
            raise ConnectionError("Consul's client is not loaded yet")
        try:
            _, found = await self._client.call(self._client.api.health.service(TELEMETRY), limit=ASKED)
        except (Unreachable, Refused) as error:
            raise ConnectionError(str(error)) from None
        return [target(entry) for entry in found]


def _told_to_nobody(_cue: cues.Cue) -> None:
    pass
