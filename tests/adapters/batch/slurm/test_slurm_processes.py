"""slurmd and the steps are found by descent and title, and a payload cannot pass for one."""

from __future__ import annotations

from dataclasses import dataclass

from autopilot.adapters.batch.slurm.slurm_processes import SlurmProcesses, Step, find_job_id, find_slurm_processes

OWN = 1


@dataclass
class Process:
    parent: int
    name: str
    title: str = ""
    uid: int = 0
    state: str = "S"


def find(table: dict[int, Process], leader: int | None) -> SlurmProcesses:
    return find_slurm_processes(
        leader,
        OWN,
        list_children=lambda pid: [child for child, process in table.items() if process.parent == pid],
        read_stat=lambda pid: (table[pid].name, table[pid].state) if pid in table else None,
        read_uids=lambda pid: (table[pid].uid, table[pid].uid) if pid in table else (0, 0),
        read_title=lambda pid: table[pid].title if pid in table else "",
    )


def test_steps_and_owners() -> None:
    """Steps of slurmd and steps that were left to us are found, with the user of their first process."""
    table = {
        10: Process(OWN, "slurmd"),
        20: Process(OWN, "slurmstepd", "slurmstepd: [12.batch]"),
        21: Process(20, "slurm_script", uid=4_000_000_001),
        22: Process(10, "slurmstepd", "slurmstepd: [12.0]"),
        30: Process(OWN, "slurmstepd", "slurmstepd: [9.extern]"),
    }
    found = find(table, 10)
    assert found.slurmd == 10
    assert found.steps == (Step(20, "12", "batch", "4000000001", 21), Step(22, "12", "0"), Step(30, "9", "extern"))
    assert found.jobs == ("9", "12")


def test_an_impostor() -> None:
    """An orphan of another user counts for nothing, whatever it calls itself."""
    table = {10: Process(OWN, "slurmd"), 20: Process(OWN, "slurmstepd", "slurmstepd: [1.batch]", uid=1000)}
    assert find(table, 10).steps == ()


def test_a_step_that_only_begins() -> None:
    """A slurmstepd without a title is a step without a job; the one that keeps slurmd's cgroup is none."""
    table = {
        10: Process(OWN, "slurmd"),
        20: Process(OWN, "slurmstepd", "/usr/sbin/slurmstepd"),
        30: Process(OWN, "slurmstepd", "/usr/sbin/slurmstepd infinity "),
    }
    found = find(table, 10)
    assert (found.steps, found.jobs) == ((Step(20, ""),), ())


def test_a_wrapper_and_a_stopped_slurmd() -> None:
    """slurmd is found below a shell; one that was stopped is told; without a leader there is none."""
    table = {10: Process(OWN, "sh"), 11: Process(10, "slurmd", state="T")}
    assert find(table, 10) == SlurmProcesses(11, (), True)
    assert find(table, None) == SlurmProcesses()


def test_titles() -> None:
    """Only the title of a slurmstepd has a job's id."""
    assert find_job_id("slurmstepd: [12.batch]") == "12"
    assert find_job_id("vi slurmstepd: [12.batch]") is None and find_job_id("slurmstepd: [x.batch]") is None
