"""`python -m benchmarks.consul_scale`: many services of one supervisor, many supervisors on one Consul agent.

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

from autopilot.adapters.consul.connection_settings import ConnectionSettings
from autopilot.adapters.consul.consul_client import ConsulClient
from autopilot.adapters.consul.service_definition import ServiceDefinition, build_registration_body
from lab import consul_agents
from lab.cache import create_run_folder
from lab.consul_agents import Agent

REGISTRATION_TIMEOUT_S = 120.0  # s
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class CaseResult:
    """What one case costs."""

    supervisors: int
    services: int
    registered_s: float  # s from the first start until all pass
    supervisor_cpu_share: float  # share of one core, all supervisors together
    agent_cpu_share: float
    supervisor_memory_mb: float  # MB, one of them
    agent_memory_mb: float  # MB
    recovered_s: float  # s from the agent's return without memory until all pass again
    baseline_s: float  # s for as many registrations, eight at a time

    def format_row(self) -> str:
        return (
            f"| {self.supervisors} | {self.services} | {self.registered_s:.1f} | {self.supervisor_cpu_share:.1%} "
            f"| {self.agent_cpu_share:.1%} | {self.supervisor_memory_mb:.1f} | {self.agent_memory_mb:.1f} "
            f"| {self.recovered_s:.2f} | {self.baseline_s:.2f} |"
        )


HEADER = (
    "| supervisors | services | all registered s | CPU of all supervisors | CPU of the agent | MB a supervisor "
    "| MB of the agent | all back s | bare s |\n|---|---|---|---|---|---|---|---|---|"
)


def measure_case(supervisors: int, jobs: int, seconds: float) -> CaseResult:
    """`jobs` services of each supervisor, beside its own."""
    services = supervisors * (jobs + 1)
    limits = {"limits": {"http_max_conns_per_client": 1000}}
    with create_run_folder() as place, consul_agents.start_agent(limits) as agent:
        with ExitStack() as stack:
            started = time.monotonic()
            processes = [
                stack.enter_context(run_supervisor(place / str(number), number, jobs, agent))
                for number in range(supervisors)
            ]
            await_all_passing(agent, services)
            registered = time.monotonic() - started
            pids = [process.pid for process in processes]
            before, agent_before, at = sum(map(read_cpu_time, pids)), read_cpu_time(agent.pid), time.monotonic()
            time.sleep(seconds)
            lasted = time.monotonic() - at
            used, agent_used = sum(map(read_cpu_time, pids)) - before, read_cpu_time(agent.pid) - agent_before
            memory, agent_memory = sum(map(read_private_memory, pids)) / supervisors, read_private_memory(agent.pid)
            agent.kill()
            agent.start()
            agent.await_leader()
            returned = time.monotonic()
            await_all_passing(agent, services)
            back = time.monotonic() - returned
        agent.kill()
        agent.start()
        agent.await_leader()
        bare = asyncio.run(measure_bare_registrations(agent, services))
    cpus = used / lasted, agent_used / lasted
    return CaseResult(supervisors, services, registered, *cpus, memory, agent_memory, back, bare)


async def measure_bare_registrations(agent: Agent, services: int) -> float:
    """Seconds for so many registrations with our client, and nothing else."""
    client, lanes = ConsulClient(ConnectionSettings(f"http://{agent.http_address}")), asyncio.Semaphore(8)

    async def register_one(number: int) -> None:
        definition = ServiceDefinition(id=f"bare-{number}", name=f"bare-{number}", ttl=150.0, port=80)
        async with lanes:
            await client.register(build_registration_body(definition, "passing"))

    began = time.monotonic()
    await asyncio.gather(*map(register_one, range(services)))
    lasted = time.monotonic() - began
    await client.close()
    return lasted


@contextmanager
def run_supervisor(place: Path, number: int, jobs: int, agent: Agent) -> Iterator[subprocess.Popen[bytes]]:
    place.mkdir()
    spec = place / "autopilot.json"
    spec.write_text(
        json.dumps({"consul": agent.http_address, "jobs": [build_job(f"s{number}-{index}") for index in range(jobs)]})
    )
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


def build_job(name: str, *, interval: str = "60s", ttl: str = "150s") -> dict[str, Any]:
    health = {"exec": "true", "interval": interval, "ttl": ttl}
    return {"name": name, "exec": ["sleep", "100000"], "port": 80, "interfaces": "lo", "health": health}


def await_all_passing(agent: Agent, services: int) -> None:
    until = time.monotonic() + REGISTRATION_TIMEOUT_S
    while count_passing(agent) < services:
        if time.monotonic() > until:
            raise SystemExit(
                f"only {count_passing(agent)} of {services} services pass after {REGISTRATION_TIMEOUT_S:g} s"
            )
        time.sleep(0.05)  # a list of 200 checks costs the agent 3 ms


def count_passing(agent: Agent) -> int:
    try:
        checks = agent.request("/v1/agent/checks")
    except OSError:
        return 0
    return sum(check["Status"] == "passing" for check in checks.values())


def read_cpu_time(pid: int) -> float:
    """Seconds it has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def read_private_memory(pid: int) -> float:
    """MB that only it has."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.consul_scale", description=__doc__)
    parser.add_argument("--seconds", type=float, default=30, help="to watch each case (default: 30)")
    parser.add_argument("--case", action="append", metavar="SUPERVISORS,JOBS", help="default: 1,1 1,200 50,1")
    arguments = parser.parse_args()
    print(HEADER)
    for case in arguments.case or ["1,1", "1,200", "50,1"]:
        supervisors, jobs = map(int, case.split(","))
        print(measure_case(supervisors, jobs, arguments.seconds).format_row(), flush=True)


if __name__ == "__main__":
    main()
