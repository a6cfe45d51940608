"""PID 1 of a worker in the adapter's own tests: the adapter, condor_master, and nothing of the core.

Each cue and each answer is one line of JSON on standard output. Lines written to the FIFO /run/ask are calls of the
adapter: `drain`, `soften`, `harden`, `evict`, `emergency`, `probe ASPECT TIMEOUT`, `status`, `quit`.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import signal
import sys
from importlib import import_module
from pathlib import Path

sys.path.insert(0, "/usr/lib/condor-autopilot")

from autopilot.adapters.htcondor import Htcondor
from autopilot.machines.cues import Cue
from autopilot.runtime.commands import Commands
from autopilot.runtime.processes import Process, Processes
from autopilot.spec.plan import Command, Drain, HtcondorNode, Lifetime
from autopilot.spec.plan import Htcondor as Plan

ASK = "/run/ask"


def say(said: str, **fields: object) -> None:
    print(json.dumps({"said": said, "at": round(asyncio.get_running_loop().time(), 3), **fields}), flush=True)


def report(cue: Cue) -> None:
    say(type(cue).__name__, **dataclasses.asdict(cue))


class Driver:
    def __init__(self, options: dict[str, object]) -> None:
        self.loop = asyncio.get_running_loop()
        self.processes = Processes(self.loop)
        self.commands = Commands(self.processes, lambda: os.environ)
        self.over = asyncio.Event()
        self.master: Process | None = None
        node = options.pop("node", {})
        for name, value in options.pop("constants", {}).items():  # a minute's patience is too long for a test
            module, _, constant = name.partition(".")
            setattr(import_module(f"autopilot.adapters.htcondor.{module}"), constant, value)
        plan = Plan(job="condor-master", node=HtcondorNode(**node) if node is not None else None, **options)
        self.condor = Htcondor(
            plan,
            Lifetime(drain=Drain(htcondor=True)),
            run=self.commands,
            report=report,
            state=Path("/var/lib/autopilot"),
            life=f"life-{os.uname().nodename}",
            env=os.environ,
        )
        signal.set_wakeup_fd(self._wakeup(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def _wakeup(self) -> int:
        reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.loop.add_reader(reader, lambda: (os.read(reader, 4096), self.processes.reap()))
        return writer

    def start(self) -> None:
        def exited(status: int, problem: str | None, left: int) -> None:
            self.condor.master_exited()
            say("MasterExited", status=status, problem=problem, left=left)

        self.master = self.processes.start(
            Command(argv=("condor_master", "-f")),
            {**os.environ, **self.condor.environment()},
            sink=lambda _, lines: [say("line", text=line.decode()) for line in lines],
            on_exit=exited,
            on_empty=lambda: say("Emptied"),
            own_pid_in=self.condor.own_pid_in,
        )
        self.condor.master_started(self.master.pid)

    async def obey(self, line: str) -> None:
        verb, *rest = line.split()
        match verb:
            case "drain":
                self.condor.begin_drain("lifetime expired")
            case "soften" | "harden" | "evict" | "emergency":
                getattr(self.condor, verb)()
            case "term":
                self.master.signal(signal.SIGTERM, group=False)
            case "probe":
                began = self.loop.time()
                passed, output = await self.condor.probe(rest[0], float(rest[1]))
                say("Probed", aspect=rest[0], passed=passed, output=output, seconds=round(self.loop.time() - began, 3))
            case "status":
                say("Status", **self.condor.status())
            case "quit":
                self.over.set()
        say("did", verb=verb)

    async def run(self) -> None:
        os.mkfifo(ASK)
        ask = os.open(ASK, os.O_RDWR | os.O_NONBLOCK)
        loop = self.loop

        async with asyncio.TaskGroup() as group:

            def read() -> None:
                for line in os.read(ask, 4096).decode().splitlines():
                    group.create_task(self.obey(line))

            loop.add_reader(ask, read)
            while problems := await self.condor.prepare():
                say("Problems", lines=problems)
                await asyncio.sleep(1)
            say("Prepared")
            watch = group.create_task(self.condor.watch())
            self.start()
            await self.over.wait()
            watch.cancel()


async def main() -> None:
    await Driver(json.loads(sys.argv[1])).run()


asyncio.run(main())
