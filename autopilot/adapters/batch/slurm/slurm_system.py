"""Implement the port of batch systems for Slurm.

The parts of this package share a `SlurmNodeState`: `SlurmMonitor` keeps it up to date, `SlurmDrainRunner` empties the
node, `JobReturn` gives its jobs back, and this module ties them to the supervisor.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Mapping
from typing import TYPE_CHECKING

from autopilot.adapters.batch.batch_system import SupervisorServices
from autopilot.adapters.batch.slurm.job_return import JobReturn
from autopilot.adapters.batch.slurm.node_arguments import NodeSize, build_arguments, build_slurm_node_name
from autopilot.adapters.batch.slurm.slurm_commands import SlurmCommands
from autopilot.adapters.batch.slurm.slurm_drain_runner import SlurmDrainRunner
from autopilot.adapters.batch.slurm.slurm_monitor import SlurmMonitor
from autopilot.adapters.batch.slurm.slurm_node_state import SlurmNodeState
from autopilot.adapters.batch.slurm.slurm_processes import find_job_id, read_process_title
from autopilot.adapters.batch.slurm.slurm_settings import SlurmNode, SlurmSettings
from autopilot.adapters.batch.slurm.spool_directory import list_config_paths
from autopilot.machines.cues import Evicted
from autopilot.process import cgroup

if TYPE_CHECKING:
    from autopilot.api.messages import SlurmAdapterStatus

PROGRAMS = ("slurmd", "scontrol", "squeue", "munge")


class SlurmSystem:
    """Slurm's node in this container; implements `autopilot.adapters.batch.batch_system.BatchSystem`."""

    own_pid_variables: tuple[str, ...] = ()

    def __init__(self, settings: SlurmSettings, services: SupervisorServices) -> None:
        """Wire the parts; nothing is opened or asked yet."""
        self._settings, self._services = settings, services
        controller = settings.node.controller if settings.node is not None else None
        self._config_paths = list_config_paths(services.env.get("SLURM_CONF"), controller)
        self._commands = SlurmCommands(services.command_runner, services.job_env)
        self._node_state = SlurmNodeState(self._commands, services.report, settings.poll)
        self._drain_runner = SlurmDrainRunner(self._node_state)
        self._monitor = SlurmMonitor(self._node_state, self._config_paths, self._drain_runner.node_changed.set)
        self._job_return = JobReturn(self._node_state, services.env)
        self._arguments: tuple[str, ...] = ()
        self._eviction_begun = False

    # --- before slurmd ---

    async def prepare(self) -> list[str]:
        """Check that a slurmd can work here, and choose its name and size. May be called again after a wait.

        Returns:
            One line for each problem, with its remedy; empty when slurmd can be started.
        """
        path, node = self._services.env.get("PATH"), self._settings.node
        problems = [
            f"there is no program {program} on PATH; install Slurm's node daemon, its client tools, and munge"
            for program in PROGRAMS
            if shutil.which(program, path=path) is None
        ]
        if (node is None or node.controller is None) and (
            await self._commands.find_spool_directory(self._config_paths, self._node_state.name)
        ) is None:
            places = " or ".join(self._config_paths)
            problems.append(f"there is no slurm.conf in {places}; mount it, or write slurm.node.controller")
        if node is not None:
            slot = self._services.env.get("AUTOPILOT_SLOT")
            self._node_state.fix_name(build_slurm_node_name(node.name, slot, os.uname().nodename))
            given = {name.lower(): value for name, value in node.settings.items()}
            self._node_state.configured_address = given.get("nodeaddr")
            self._arguments = build_arguments(self._node_state.name, measure_size(node), node.controller)
        return problems

    # --- around slurmd ---

    def build_environment(self) -> dict[str, str]:
        """Return none: slurmd takes everything from its arguments and slurm.conf."""
        return {}

    def build_arguments(self) -> tuple[str, ...]:
        """Return the arguments that make slurmd a dynamic node; none where the image names the node."""
        return self._arguments

    def on_starting(self) -> None:
        """Remove a dynamic node of this name that a killed life has left, so that slurmd registers a new one."""
        if self._settings.node is not None:
            self._job_return.remove_leftover()

    def on_started(self, pid: int) -> None:
        """Take note of slurmd, or of the wrapper that starts it."""
        self._node_state.leader_pid = pid
        self._node_state.slurmd_since = asyncio.get_running_loop().time()
        self._node_state.changed.set()
        self._node_state.query_due.set()

    def on_exited(self) -> None:
        """Take note that slurmd has ended; steps that outlive it end with its job, so their jobs are given back."""
        node, pid = self._node_state, self._node_state.processes.slurmd
        node.leader_pid = None
        jobs = node.refresh().jobs
        if jobs and not node.evicting:
            node.report_losses(jobs, f"slurmd (pid {pid}) ended without them")
            self._job_return.abandon_steps()
            node.refresh()
        node.changed.set()

    async def monitor(self) -> None:
        """Observe, ask and drain. Ends only by being cancelled."""
        async with asyncio.TaskGroup() as group:
            run_observer = self._services.run_observer
            group.create_task(run_observer("node", self._monitor.run_observation), name="slurm observation")
            group.create_task(run_observer("queries", self._monitor.run_queries), name="slurm queries")
            group.create_task(self._drain_runner.run(), name="slurm drain")

    # --- questions ---

    async def check(self, aspect: str, timeout_s: float) -> tuple[bool, str]:
        """Check one aspect of the node: `slurmd`, `node` or `munge`.

        Never raises when Slurm fails, and never lasts longer than `timeout_s`.
        """
        try:
            async with asyncio.timeout(timeout_s):
                return await self._check_aspect(aspect)
        except TimeoutError:
            return False, f"no answer about {aspect} within {timeout_s:g} s"

    async def _check_aspect(self, aspect: str) -> tuple[bool, str]:
        node = self._node_state
        match aspect:
            case "slurmd":
                processes = node.refresh()
                if processes.slurmd is None:
                    return False, "slurmd does not run"
                problem = await self._commands.query_slurmd(node.name)
                return not problem, problem or f"slurmd answers (pid {processes.slurmd})"
            case "node":
                answer = node.answer = await self._commands.query_node(node.name)
                if not answer.answered:
                    return False, f"cannot reach slurmctld: {answer.problem}"
                if answer.record is None:
                    return False, f"slurmctld knows no node {node.name}"
                problem = node.find_name_problem() or answer.record.find_problem(draining=node.draining) or ""
                return not problem, problem or f"slurmctld knows {node.name}: {'+'.join(sorted(answer.record.states))}"
            case "munge":
                problem = await self._commands.check_munge()
                return not problem, problem or "munge makes credentials"
        raise ValueError(f"no such aspect: {aspect}")

    def get_status(self) -> SlurmAdapterStatus:
        """Return the section of `autopilot status`: plain data."""
        node, record = self._node_state, self._node_state.answer.record if self._node_state.answer else None
        drain_action = self._drain_runner.action
        return {
            "payloads": list(node.payloads or ()),
            "steps": [
                {"job": step.job, "step": step.name, "owner": step.owner, "pid": step.pid}
                for step in node.processes.steps
            ],
            "node": node.name,
            "registered": None if node.answer is None or not node.answer.answered else record is not None,
            "states": sorted(record.states) if record is not None else [],
            "reason": record.reason if record is not None else "",
            "cpus": record.cpus if record is not None else None,
            "memory": record.memory if record is not None else None,
            "slurmd": node.processes.slurmd,
            "drain": drain_action.value if drain_action is not None else None,
            "troubles": dict(node.conditions.details),
        }

    def get_payload_pids(self) -> Mapping[str, int]:
        """Return the first slurmstepd of each job."""
        return self._node_state.get_payload_pids()

    def read_payload_id(self, pid: int) -> str | None:
        """Return the id of the job of a slurmstepd, also of one that has only just begun; None of another process."""
        return find_job_id(read_process_title(pid))

    # --- the end of a life ---

    def begin_drain(self, reason: str) -> None:
        """Order slurmctld to send no job; reports Drained when no job is left and the node is removed."""
        self._drain_runner.begin(reason)

    def soft_stop(self) -> None:
        """Requeue the jobs: each gets SIGTERM and KillWait seconds for its clean-up, and is pending again."""
        self._services.start_task(self._job_return.requeue(self._node_state.refresh().jobs))

    def hard_stop(self) -> None:
        """Tell slurmctld that the node is gone, kill what is left, and report Drained."""
        self._services.start_task(self._run_hard_stop())

    async def _run_hard_stop(self) -> None:
        try:
            await self._job_return.run()
        finally:
            self._drain_runner.report_drained()

    def evict(self) -> None:
        """Give the jobs back within a container engine's grace, and remove the node; report Evicted."""
        if not self._eviction_begun:
            self._eviction_begun = self._node_state.evicting = True
            self._services.start_task(self._run_eviction())

    async def _run_eviction(self) -> None:
        try:
            await self._job_return.run()
        finally:
            self._services.report(Evicted())

    def last_resort(self) -> None:
        """Do as `evict`, without an event loop."""
        self._job_return.run_blocking()


def measure_size(node: SlurmNode) -> NodeSize:
    """Return the resources that the node offers: as configured, else the container's own."""
    limits, usable = cgroup.read_limits(), len(os.sched_getaffinity(0))
    cpus = cgroup.compute_whole_cpus(limits.cpus if node.cpus is None else node.cpus, usable)
    memory = cgroup.compute_job_memory(limits.memory, cgroup.read_machine_memory())
    if node.memory is not None:
        memory = max(1, node.memory // cgroup.BYTES_PER_MIB)
    return NodeSize(cpus=cpus, memory=memory, parameters=node.settings)
