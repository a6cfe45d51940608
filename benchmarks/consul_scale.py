"""Measure many services of one supervisor, and many supervisors on one Consul agent.

Run `python -m benchmarks.consul_scale`.

Each case waits until all services pass, watches them for a while, then deletes the agent's data and measures the time
until all are registered again. CPU is that of the supervisors' own processes, without their jobs; memory is private
(USS). "bare" is the time the same agent takes to register as many services for one client that does nothing else: the
agent's own share of "all back".
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
from benchmarks.process_figures import measure_memory, read_cpu_time
from lab import consul_agents
from lab.cache import create_run_folder
from lab.consul_agents import Agent
from lab.polling import poll_until

REGISTRATION_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class CaseResult:
    """Costs of one case.

    Attributes:
        registered_s: seconds from the first start until all services pass.
        supervisor_cpu_share: share of one core, all supervisors together.
        agent_cpu_share: share of one core.
        supervisor_memory_mb: MB of one supervisor, on average.
        recovered_s: seconds from the agent's restart without data until all services pass again.
        baseline_s: seconds for as many registrations, eight at a time.
    """

    supervisors: int
    services: int
    registered_s: float
    supervisor_cpu_share: float
    agent_cpu_share: float
    supervisor_memory_mb: float
    agent_memory_mb: float
    recovered_s: float
    baseline_s: float

    def format_row(self) -> str:
        """Return the case as a row of the table."""
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
    """Measure one case.

    Args:
        supervisors: number of supervisors.
        jobs: number of services of each supervisor.
        seconds: length of the quiet time in which CPU is measured.
    """
    services = supervisors * jobs
    limits = {"limits": {"http_max_conns_per_client": 1000}}
    with create_run_folder() as folder, consul_agents.start_agent(limits) as agent:
        with ExitStack() as stack:
            started = time.monotonic()
            processes = [
                stack.enter_context(run_supervisor(folder / str(number), number, jobs, agent))
                for number in range(supervisors)
            ]
            await_all_passing(agent, services)
            registered = time.monotonic() - started
            pids = [process.pid for process in processes]
            cpu_before, agent_cpu_before = sum(map(read_cpu_time, pids)), read_cpu_time(agent.pid)
            watch_started = time.monotonic()
            time.sleep(seconds)
            watched = time.monotonic() - watch_started
            cpu, agent_cpu = sum(map(read_cpu_time, pids)) - cpu_before, read_cpu_time(agent.pid) - agent_cpu_before
            memory = measure_memory(pids).private_mib / supervisors
            agent_memory = measure_memory([agent.pid]).private_mib
            agent.kill()
            agent.start()
            agent.await_leader()
            returned = time.monotonic()
            await_all_passing(agent, services)
            recovered = time.monotonic() - returned
        agent.kill()
        agent.start()
        agent.await_leader()
        bare = asyncio.run(measure_bare_registrations(agent, services))
    shares = cpu / watched, agent_cpu / watched
    return CaseResult(supervisors, services, registered, *shares, memory, agent_memory, recovered, bare)


async def measure_bare_registrations(agent: Agent, services: int) -> float:
    """Return the seconds that so many registrations take with autopilot's client and nothing else."""
    client, lanes = ConsulClient(ConnectionSettings(f"http://{agent.http_address}")), asyncio.Semaphore(8)

    async def register_one(number: int) -> None:
        definition = ServiceDefinition(id=f"bare-{number}", name=f"bare-{number}", ttl=150.0, port=80)
        async with lanes:
            await client.register(build_registration_body(definition, "passing"))

    started = time.monotonic()
    await asyncio.gather(*map(register_one, range(services)))
    elapsed = time.monotonic() - started
    client.close()
    return elapsed


@contextmanager
def run_supervisor(folder: Path, number: int, jobs: int, agent: Agent) -> Iterator[subprocess.Popen[bytes]]:
    """Run one supervisor with `jobs` services and its own host name, and stop it at the end."""
    folder.mkdir()
    spec = folder / "autopilot.json"
    spec.write_text(
        json.dumps({"consul": agent.http_address, "jobs": [build_job(f"s{number}-{index}") for index in range(jobs)]})
    )
    # its own host name, as in a container, and therefore its own service ids
    command = ["unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', f"{socket.gethostname()}-{number}"]
    process = subprocess.Popen(
        [*command, sys.executable, "-m", "autopilot", "run", str(spec)],
        env={**os.environ, "AUTOPILOT_STATE": str(folder / "state")},
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def build_job(name: str, *, interval: str = "60s", ttl: str = "150s") -> dict[str, Any]:
    """Return the spec of a job that sleeps and has a health check."""
    health = {"exec": "true", "interval": interval, "ttl": ttl}
    return {"name": name, "exec": ["sleep", "100000"], "port": 80, "interfaces": "lo", "health": health}


def await_all_passing(agent: Agent, services: int) -> None:
    """Wait until so many services pass.

    Raises:
        LabError: not within REGISTRATION_TIMEOUT_S.
    """
    poll_until(  # a list of 200 checks costs the agent 3 ms
        lambda: count_passing(agent) >= services,
        REGISTRATION_TIMEOUT_S,
        lambda _: f"only {count_passing(agent)} of {services} services pass after {REGISTRATION_TIMEOUT_S:g} s",
    )


def count_passing(agent: Agent) -> int:
    """Return the number of passing checks; 0 while the agent does not answer."""
    try:
        checks = agent.request("/v1/agent/checks")
    except OSError:
        return 0
    return sum(check["Status"] == "passing" for check in checks.values())


def main() -> None:
    """Measure the cases of the command line and print one row for each."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.consul_scale", description=__doc__)
    parser.add_argument("--seconds", type=float, default=30, help="length of the quiet time in each case (default: 30)")
    parser.add_argument("--case", action="append", metavar="SUPERVISORS,JOBS", help="default: 1,1 1,200 50,1")
    arguments = parser.parse_args()
    print(HEADER)
    for case in arguments.case or ["1,1", "1,200", "50,1"]:
        supervisors, jobs = map(int, case.split(","))
        print(measure_case(supervisors, jobs, arguments.seconds).format_row(), flush=True)


if __name__ == "__main__":
    main()
