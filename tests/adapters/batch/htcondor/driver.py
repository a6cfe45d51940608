"""PID 1 of a worker in the adapter's own tests: the adapter, condor_master, and nothing of the core.

Each cue and each answer is one line of JSON on standard output. Lines written to the FIFO /run/ask are calls of the
adapter: `drain`, `soft_stop`, `hard_stop`, `evict`, `emergency`, `probe ASPECT TIMEOUT`, `status`, `quit`.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from importlib import import_module
from pathlib import Path
from typing import Any

sys.path.insert(0, "/usr/lib/condor-autopilot")

from autopilot.adapters.batch.batch_system import SupervisorServices
from autopilot.adapters.batch.htcondor.htcondor_settings import HtcondorNode, HtcondorSettings
from autopilot.adapters.batch.htcondor.htcondor_system import HtcondorSystem
from autopilot.machines.cues import Cue
from autopilot.runtime.command_runner import ProcessCommandRunner
from autopilot.runtime.process_table import Process, ProcessTable
from autopilot.spec.plan import Command

COMMAND_FIFO = "/run/ask"


def print_report(report: str, **fields: object) -> None:
    print(json.dumps({"report": report, "at": round(asyncio.get_running_loop().time(), 3), **fields}), flush=True)


def report(cue: Cue) -> None:
    print_report(type(cue).__name__, **dataclasses.asdict(cue))


CONDOR_METHODS = {
    "soft_stop": HtcondorSystem.soft_stop,
    "hard_stop": HtcondorSystem.hard_stop,
    "evict": HtcondorSystem.evict,
    "emergency": HtcondorSystem.quit_master,
}


async def run_once(_name: str, observe: Callable[[], Awaitable[None]]) -> None:
    """Await an observer, once: a test sees its failure."""
    await observe()


class Driver:
    def __init__(self, options: dict[str, Any]) -> None:
        self.loop = asyncio.get_running_loop()
        self.processes = ProcessTable(self.loop)
        self.commands = ProcessCommandRunner(self.processes, lambda: os.environ)
        self.stop_requested = asyncio.Event()
        self.master: Process | None = None
        node = options.pop("node", {})
        for name, value in options.pop("constants", {}).items():  # a minute's patience is too long for a test
            module, _, constant = name.partition(".")
            setattr(import_module(f"autopilot.adapters.batch.htcondor.{module}"), constant, value)
        self.tasks: set[asyncio.Task[None]] = set()
        services = SupervisorServices(
            command_runner=self.commands,
            report=report,
            start_task=lambda work: self.tasks.add(self.loop.create_task(work)),
            run_observer=run_once,
            life_id=f"life-{os.uname().nodename}",
            state_directory=Path("/var/lib/autopilot"),
            env=os.environ,
        )
        plan = HtcondorSettings(node=HtcondorNode(**node) if node is not None else None, **options)
        self.condor = HtcondorSystem(plan, services)
        signal.set_wakeup_fd(self._create_wakeup_fd(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def _create_wakeup_fd(self) -> int:
        reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

        def on_wakeup() -> None:
            os.read(reader, 4096)
            self.processes.reap()

        self.loop.add_reader(reader, on_wakeup)
        return writer

    def start_master(self) -> None:
        def on_exit(status: int, problem: str | None, left: int) -> None:
            self.condor.on_exited()
            print_report("MasterExited", status=status, problem=problem, left=left)

        def on_lines(_stream: str, lines: list[bytes]) -> None:
            for line in lines:
                print_report("line", text=line.decode())

        self.master = self.processes.start(
            Command(argv=("condor_master", "-f")),
            {**os.environ, **self.condor.build_environment()},
            on_lines=on_lines,
            on_exit=on_exit,
            on_empty=lambda: print_report("Emptied"),
            own_pid_variables=self.condor.own_pid_variables,
        )
        self.condor.on_started(self.master.pid)

    async def execute_command(self, line: str) -> None:
        verb, *rest = line.split()
        match verb:
            case "drain":
                self.condor.begin_drain("lifetime expired")
            case "soft_stop" | "hard_stop" | "evict" | "emergency":
                CONDOR_METHODS[verb](self.condor)
            case "term":
                assert self.master is not None
                self.master.signal(signal.SIGTERM, group=False)
            case "probe":
                began = self.loop.time()
                passed, output = await self.condor.check(rest[0], float(rest[1]))
                print_report(
                    "Probed", aspect=rest[0], passed=passed, output=output, seconds=round(self.loop.time() - began, 3)
                )
            case "status":
                print_report("Status", **self.condor.get_status())
            case "quit":
                self.stop_requested.set()
        print_report("did", verb=verb)

    async def run(self) -> None:
        os.mkfifo(COMMAND_FIFO)
        ask = os.open(COMMAND_FIFO, os.O_RDWR | os.O_NONBLOCK)
        loop = self.loop

        async with asyncio.TaskGroup() as group:

            def read() -> None:
                for line in os.read(ask, 4096).decode().splitlines():
                    group.create_task(self.execute_command(line))

            loop.add_reader(ask, read)
            while problems := await self.condor.prepare():
                print_report("Problems", lines=problems)
                await asyncio.sleep(1)
            print_report("Prepared")
            watch = group.create_task(self.condor.monitor())
            self.start_master()
            await self.stop_requested.wait()
            watch.cancel()


async def main() -> None:
    await Driver(json.loads(sys.argv[1])).run()


asyncio.run(main())
