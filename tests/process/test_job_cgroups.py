"""Test that a job's processes are told by its cgroup where it has one, and by its mark elsewhere."""

from __future__ import annotations

import os
import resource
import subprocess

import pytest

from autopilot.process.job_cgroups import JobCgroup, create_job_cgroup, find_own_directory
from autopilot.process.job_processes import FIRST_MARK, RLIMIT_LOCKS, find_members

MARK, OTHER_MARK = FIRST_MARK + 1_000_001, FIRST_MARK + 1_000_002


@pytest.fixture
def children():
    """Four children of ours: two with MARK, one with another mark, one without any."""
    processes = []
    for mark in (MARK, MARK, OTHER_MARK, resource.RLIM_INFINITY):
        processes.append(subprocess.Popen(["sleep", "600"]))
        resource.prlimit(processes[-1].pid, RLIMIT_LOCKS, (mark, resource.RLIM_INFINITY))
    yield [process.pid for process in processes]
    for process in processes:
        process.kill()
        process.wait()


def test_mark_and_cgroup(children):
    """Of two processes with a job's mark only the one in its cgroup is its own, and so is one that changed its mark."""
    marked, impostor, other, changed = children
    assert find_members(None, MARK, set(), set()) == {marked, impostor}
    assert find_members(None, MARK, set(), set(), in_own_cgroup={marked, changed}) == {marked, changed}
    assert find_members(None, MARK, set(), set(), in_own_cgroup=set()) == set()
    assert find_members(None, MARK, set(), set(), in_other_cgroups={impostor}) == {marked}
    assert find_members(None, OTHER_MARK, {impostor}, set(), in_other_cgroups={impostor}) == {other}
    assert find_members(None, MARK, set(), {marked}, in_own_cgroup={marked, changed}) == {changed}


MOUNTS = (
    "30 20 0:26 {root} {place} rw - cgroup2 cgroup2 rw\n31 20 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
)


@pytest.mark.parametrize(
    ("root", "own", "expected"),
    [
        ("/", "0::/\n", ""),
        ("/", "4:cpu:/x\n0::/docker/a\n", "/docker/a"),
        ("/docker/a", "0::/docker/a/b\n", "/b"),
        ("/docker/a", "0::/docker/ab\n", None),
        ("/", "0::/../other\n", None),
        ("/", "4:cpu:/x\n", None),
        ("/", "0::/missing\n", None),
    ],
)
def test_own_directory(tmp_path, root, own, expected):
    """The directory of our cgroup is found below the mount point, also where the mount shows a part of the tree."""
    (tmp_path / "docker" / "a").mkdir(parents=True)
    (tmp_path / "b").mkdir()
    mountinfo = MOUNTS.format(root=root, place=tmp_path)
    found = find_own_directory(mountinfo, own)
    assert found == (None if expected is None else f"{tmp_path}{expected}")


def test_a_directory_that_is_no_cgroup(tmp_path):
    """Where no cgroup can be made there is none, and nothing is left behind."""
    assert create_job_cgroup(1, str(tmp_path)) is None
    assert create_job_cgroup(1, "/none") is None
    assert os.listdir(tmp_path) == []
    assert JobCgroup("/none").list_pids() == set()
    JobCgroup("/none").kill()
