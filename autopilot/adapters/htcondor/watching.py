"""The adapter's long look at the node: what the kernel and the files say (free), and what the daemons answer (by
tool)."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Awaitable, Callable

from autopilot.adapters.htcondor.daemons import send
from autopilot.adapters.htcondor.drain import HOLD
from autopilot.adapters.htcondor.emptying import SETTLE
from autopilot.adapters.htcondor.kernel_events import DirectoryWatch, EndWatch
from autopilot.adapters.htcondor.membership import Membership
from autopilot.adapters.htcondor.picture import Picture, woken
from autopilot.machines.cues import Drained

WATCHDOG = 30.0  # s: condor_master speaks every third of it
PATIENCE = 60.0  # s a startd may be silent; one that waits for an unreachable manager is, too
STARTUP = 30.0  # s for the first startd to appear
AGAIN = 2.0  # s between looks while something is only starting
SLACK = 1.1  # space counts as there again a tenth above the limit


class Watching:
    """`looked` is called after each look; `refuse` closes (True) or opens the node for new jobs."""

    def __init__(
        self,
        picture: Picture,
        membership: Membership,
        looked: Callable[[], None],
        refuse: Callable[[bool], Awaitable[None]],
    ) -> None:
        self._picture, self._membership = picture, membership
        self._looked, self._refuse = looked, refuse
        self._ends = EndWatch(self._wake)
        self._execute = DirectoryWatch(self._wake)
        self._held = False

    def _wake(self) -> None:
        self._picture.changed.set()

    # --- what costs nothing ---

    async def looks(self) -> None:
        """At each event, and every `poll` seconds."""
        loop, picture = asyncio.get_running_loop(), self._picture
        try:
            while True:
                now = loop.time()
                self._execute.start(picture.folder("EXECUTE"), loop)
                picture.look(now)
                self._judge(now)
                daemons = picture.daemons
                self._ends.follow({pid for pid in (daemons.startd, *daemons.starters) if pid is not None}, loop)
                self._looked()
                await woken(
                    picture.changed, min(AGAIN, picture.plan.poll) if picture.unsettled(now) else picture.plan.poll
                )
                await asyncio.sleep(SETTLE)
        finally:
            self._ends.follow(set(), loop)
            self._execute.stop(loop)

    def _judge(self, now: float) -> None:
        picture, note = self._picture, self._picture.troubles.note
        note("execute-full", space_problem(picture, "EXECUTE"), now)
        note("log-full", space_problem(picture, "LOG"), now)
        note("master-silent", self.heartbeat_problem(now), now)
        note("startd-down", self._startd_down(), now, patience=0.0 if picture.startd_seen else STARTUP)
        note("startd-crash-loop", self._crash_loop(now), now)
        if picture.troubles.on("master-silent"):
            self._continue(picture.daemons.master)

    def heartbeat_problem(self, now: float) -> str | None:
        """None while it is fresh, or was never heard: not every build of HTCondor speaks sd_notify."""
        age = self._picture.heartbeat.age(now)
        if self._picture.leader is None or age is None or age <= WATCHDOG:
            return None
        return (
            f"condor_master has been silent for {age:.0f} s: it hangs or is stopped; "
            "see MasterLog, restart its job if it stays so"
        )

    def _startd_down(self) -> str | None:
        picture = self._picture
        if picture.draining or picture.daemons.master is None or picture.daemons.startd is not None:
            return None
        what = picture.heartbeat.problems().get("STARTD", "condor_master starts it again after a delay")
        return f"condor_startd does not run ({what}); {last_words(picture)}"

    def _crash_loop(self, now: float) -> str | None:
        picture = self._picture
        if picture.draining or not picture.restarts.looping(now):
            return None
        return f"condor_startd started {len(picture.restarts.starts)} times in ten minutes; {last_words(picture)}"

    def _continue(self, pid: int | None) -> None:
        """A process that somebody stopped (SIGSTOP) is told to go on: no job is lost."""
        if pid is not None and pid in self._picture.daemons.stopped:
            send(pid, signal.SIGCONT)

    # --- what needs a command ---

    async def asks(self) -> None:
        """Every `poll` seconds: does the startd answer, does the pool know us, is there room again."""
        loop, picture = asyncio.get_running_loop(), self._picture
        while True:
            began = loop.time()
            if picture.daemons.master is not None:
                await self.ask_startd()
                await self._notice_hold()
                if not picture.draining:
                    await self._membership.ask_if_due(random.random())
                await self._refuse(picture.troubles.on("execute-full"))
            soon = not picture.draining and (picture.unsettled(began) or not self._membership.joined)
            pause = min(AGAIN, picture.plan.poll) if soon else picture.plan.poll
            await asyncio.sleep(max(SETTLE, pause - (loop.time() - began)))

    async def _notice_hold(self) -> None:
        """Somebody else told the startd to end for good (`condor_off -peaceful`, by hand or as a job of the spec)."""
        picture = self._picture
        if picture.draining or self._held or not picture.startd_seen or picture.daemons.startd is not None:
            return
        if not picture.daemons.starters and str((await picture.tools.who()).get("STARTD", "")).lower() == HOLD:
            self._held = True
            picture.report(Drained())

    async def ask_startd(self, limit: float | None = None) -> tuple[bool, str]:
        """Ask the startd itself; a process that does not answer for a minute is hung."""
        picture = self._picture
        address, pid = picture.address(), picture.daemons.startd
        if pid is None or address is None:
            picture.troubles.note("startd-hung", None, asyncio.get_running_loop().time())
            return (
                False,
                "condor_startd does not run" if pid is None else "condor_startd is starting (no address file yet)",
            )
        answer = await (picture.tools.slots(address, limit) if limit else picture.tools.slots(address))
        now = asyncio.get_running_loop().time()
        if answer.ads is not None:
            picture.slots = answer.ads
            picture.troubles.note("startd-hung", None, now)
            return True, f"condor_startd answers with {len(answer.ads)} slots"
        stopped = pid in picture.daemons.stopped
        why = (
            "somebody stopped it (SIGSTOP); it is told to go on"
            if stopped
            else "see StartLog; condor_master kills it when it stays so"
        )
        picture.troubles.note("startd-hung", f"{answer.problem} (pid {pid}): {why}", now, patience=PATIENCE)
        if picture.troubles.on("startd-hung"):
            self._continue(pid)
        return False, f"{answer.problem} (pid {pid}{', stopped' if stopped else ''})"


def free_bytes(picture: Picture, name: str) -> int | None:
    try:
        room = os.statvfs(picture.folder(name))
    except OSError:
        return None
    return room.f_bavail * room.f_frsize


def space_problem(picture: Picture, name: str) -> str | None:
    plan = picture.plan
    least = plan.min_execute if name == "EXECUTE" else plan.min_log
    free, where = free_bytes(picture, name), picture.folder(name)
    if free is None:
        return f"{name} = {where} cannot be read: is it still mounted?"
    if picture.troubles.on(f"{name.lower()}-full"):
        least = int(least * SLACK)
    if free >= least:
        return None
    return (
        f"{name} = {where} has {free >> 20} MiB free, less than {least >> 20} MiB: "
        f"make room, or lower htcondor.min_{name.lower()}"
    )


def last_words(picture: Picture) -> str:
    """The last complaint in the startd's log, for the one who has to find out why."""
    path = picture.folder("LOG") / "StartLog"
    try:
        with open(path, "rb") as file:
            file.seek(max(0, path.stat().st_size - 16384))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return f"see {path}"
    said = next(
        (line for line in reversed(lines) if "ERROR" in line or "error" in line or "Caught signal" in line), None
    )
    return f"StartLog says: {said[:200]}" if said else f"see {path}"
