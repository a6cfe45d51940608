"""`python -m benchmarks.consul`: many services of one supervisor, many supervisors on one Consul agent.

Each case waits until all services pass, watches for a while, then lets the agent forget everything and measures how
soon all are back. CPU is of the supervisors' own process, without their jobs; memory is private (USS). "bare"
is what the same agent takes to be told as many services by one client and nothing else: its own share of "all back".
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autopilot.adapters.consul.access import Access
from autopilot.adapters.consul.client import Client
from autopilot.adapters.consul.definition import Definition, registration_body
from lab import consul
from lab.cache import workplace
from lab.consul import Agent

PATIENCE = 120.0  # s
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Figures:
    """What one case costs."""

    supervisors: int
    services: int
    registered: float  # s from the first start until all pass
    supervisor_cpu: float  # share of one core, all supervisors together
    agent_cpu: float
    supervisor_memory: float  # MB, one of them
    agent_memory: float  # MB
    back: float  # s from the agent's return without memory until all pass again
    bare: float  # s for as many registrations, eight at a time

    def row(self) -> str:
        return (
            f"| {self.supervisors} | {self.services} | {self.registered:.1f} | {self.supervisor_cpu:.1%} "
            f"| {self.agent_cpu:.1%} | {self.supervisor_memory:.1f} | {self.agent_memory:.1f} "
            f"| {self.back:.2f} | {self.bare:.2f} |"
        )


HEADER = (
    "| supervisors | services | all registered s | CPU of all supervisors | CPU of the agent | MB a supervisor "
    "| MB of the agent | all back s | bare s |\n|---|---|---|---|---|---|---|---|---|"
)


def measure(supervisors: int, jobs: int, seconds: float) -> Figures:
    """`jobs` services of each supervisor, beside its own."""
    services = supervisors * (jobs + 1)
    limits = {"limits": {"http_max_conns_per_client": 1000}}
    with workplace() as place, consul.agent(limits) as agent:
        with ExitStack() as stack:
            started = time.monotonic()
            processes = [
                stack.enter_context(supervisor(place / str(number), number, jobs, agent))
                for number in range(supervisors)
            ]
            await_all(agent, services)
            registered = time.monotonic() - started
            pids = [process.pid for process in processes]
            before, agent_before, at = sum(map(cpu, pids)), cpu(agent.pid), time.monotonic()
            time.sleep(seconds)
            lasted = time.monotonic() - at
            used, agent_used = sum(map(cpu, pids)) - before, cpu(agent.pid) - agent_before
            memory, agent_memory = sum(map(private, pids)) / supervisors, private(agent.pid)
            agent.kill()
            agent.start()
            agent.await_leader()
            returned = time.monotonic()
            await_all(agent, services)
            back = time.monotonic() - returned
        agent.kill()
        agent.start()
        agent.await_leader()
        bare = asyncio.run(register(agent, services))
    cpus = used / lasted, agent_used / lasted
    return Figures(supervisors, services, registered, *cpus, memory, agent_memory, back, bare)


async def register(agent: Agent, services: int) -> float:
    """Seconds for so many registrations with our client, and nothing else."""
    client, lanes = Client(Access(f"http://{agent.http}")), asyncio.Semaphore(8)

    async def one(number: int) -> None:
        definition = Definition(id=f"bare-{number}", name=f"bare-{number}", ttl=150.0, port=80)
        async with lanes:
            await client.register(registration_body(definition, "passing"))

    began = time.monotonic()
    await asyncio.gather(*map(one, range(services)))
    lasted = time.monotonic() - began
    await client.close()
    return lasted


@contextmanager
def supervisor(place: Path, number: int, jobs: int, agent: Agent) -> Iterator[subprocess.Popen[bytes]]:
    place.mkdir()
    spec = place / "autopilot.json"
    spec.write_text(json.dumps({"consul": agent.http, "jobs": [job(f"s{number}-{index}") for index in range(jobs)]}))
    # a host name of its own, as a container has, and so service ids of its own
    command = ["unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', f"{socket.gethostname()}-{number}"]
    process = subprocess.Popen(
        [*command, sys.executable, "-m", "autopilot", "run", str(spec)],
        env={**os.environ, "AUTOPILOT_STATE": str(place / "state")},
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def job(name: str, *, interval: str = "60s", ttl: str = "150s") -> dict[str, Any]:
    health = {"exec": "true", "interval": interval, "ttl": ttl}
    return {"name": name, "exec": ["sleep", "100000"], "port": 80, "interfaces": "lo", "health": health}


def await_all(agent: Agent, services: int) -> None:
    until = time.monotonic() + PATIENCE
    while passing(agent) < services:
        if time.monotonic() > until:
            raise SystemExit(f"only {passing(agent)} of {services} services pass after {PATIENCE:g} s")
        time.sleep(0.05)  # a list of 200 checks costs the agent 3 ms


def passing(agent: Agent) -> int:
    try:
        checks = agent.ask("/v1/agent/checks")
    except OSError:
        return 0
    return sum(check["Status"] == "passing" for check in checks.values())


def cpu(pid: int) -> float:
    """Seconds it has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def private(pid: int) -> float:
    """MB that only it has."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.consul", description=__doc__)
    parser.add_argument("--seconds", type=float, default=30, help="to watch each case (default: 30)")
    parser.add_argument("--case", action="append", metavar="SUPERVISORS,JOBS", help="default: 1,1 1,200 50,1")
    arguments = parser.parse_args()
    print(HEADER)
    for case in arguments.case or ["1,1", "1,200", "50,1"]:
        supervisors, jobs = map(int, case.split(","))
        print(measure(supervisors, jobs, arguments.seconds).row(), flush=True)


if __name__ == "__main__":
    main()
