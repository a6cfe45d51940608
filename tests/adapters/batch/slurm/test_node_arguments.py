"""The arguments of slurmd: the node's name, its size and the controller."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopilot.adapters.batch.slurm.node_arguments import (
    MAX_NAME_LENGTH,
    NodeSize,
    build_arguments,
    build_slurm_node_name,
    find_given_name,
    find_parameter_problem,
    is_one_node,
    list_own_options,
)
from autopilot.adapters.batch.slurm.spool_directory import (
    FETCHED_CONFIG_PATH,
    NO_CONFIG_STATUS,
    build_lookup_command,
    list_config_paths,
    parse_spool_directory,
)


def test_arguments() -> None:
    """The size and the further parameters are one argument; the controller is asked only if it is named."""
    size = NodeSize(cpus=2, memory=500, parameters={"Feature": "a,b"})
    words = ("-D", "-Z", "-N", "n", "--conf", "CPUs=2 RealMemory=500 Feature=a,b")
    assert build_arguments("n", size, None) == words
    assert build_arguments("n", size, "c.example:6817") == (*words, "--conf-server", "c.example:6817")


@given(st.none() | st.text(max_size=80), st.none() | st.text(max_size=80), st.text(max_size=80))
def test_any_name_becomes_one(configured: str | None, slot: str | None, host: str) -> None:
    """A node's name has only characters that Slurm takes, and at most as many."""
    name = build_slurm_node_name(configured, slot, host)
    assert re.fullmatch(r"[A-Za-z0-9_-]+", name) and len(name) <= MAX_NAME_LENGTH
    assert is_one_node(name)


def test_the_name_of_a_slot_is_the_same_in_each_life() -> None:
    """The configured name comes before the slot, the slot before the host without its domain."""
    assert build_slurm_node_name("a", "b", "c") == "a"
    assert build_slurm_node_name(None, "rack/1", "c") == "rack-1"
    assert build_slurm_node_name(None, None, "c.example.org") == "c"


@pytest.mark.parametrize("name", ["ALL", "all", "a[1-3]", "a,b", "", "-f", "a b"])
def test_orders_reach_one_node(name: str) -> None:
    """No name is used in an order that Slurm takes for several nodes, for the whole cluster, or for an option."""
    assert not is_one_node(name)
    assert is_one_node(build_slurm_node_name(name, None, "host"))
    assert find_given_name(["slurmd", "-N", name]) is None


@pytest.mark.parametrize("argv", [["slurmd", "-N", "x"], ["slurmd", "-Nx", "-D"]])
def test_a_name_in_the_command(argv: list[str]) -> None:
    """The name after -N is the node's."""
    assert find_given_name(argv) == "x"
    assert list_own_options(argv)[0].startswith("-N")


def test_a_command_without_a_name() -> None:
    """Without -N, or with nothing after it, the command names no node."""
    assert find_given_name(["slurmd", "-D"]) is None and find_given_name(["slurmd", "-N"]) is None
    assert list_own_options(["slurmd", "-D", "-v"]) == []


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("Gres", "gpu:2", ""),
        ("realmemory", "5", "which autopilot sets"),
        ("Feature", "a b", "without spaces"),
        ("Feature=x", "a", "no parameter of a node"),
    ],
)
def test_parameters(name: str, value: str, problem: str) -> None:
    """A parameter that would be another argument, or one of the supervisor's own, is refused."""
    assert problem in find_parameter_problem(name, value)
    assert bool(problem) == bool(find_parameter_problem(name, value))


def test_the_spool_directory() -> None:
    """SlurmdSpoolDir is read in any spelling, with the node's and the host's name put in."""
    assert parse_spool_directory("A=1\n slurmdspooldir = /spool/%n/%h # x\n", "n1", "h.example") == Path("/spool/n1/h")
    assert parse_spool_directory("#SlurmdSpoolDir=/x\n", "n", "h") == Path("/var/spool/slurmd")


def test_the_lookup_of_the_spool_directory(tmp_path: Path) -> None:
    """The first slurm.conf that exists counts, also without the setting; without any the lookup says so."""
    (tmp_path / "a").write_text("ClusterName=x\n")
    (tmp_path / "b").write_text("#SlurmdSpoolDir=/no\n slurmdSpooldir = /spool/%n\n")

    def look_up(*names: str) -> tuple[int, str]:
        command = build_lookup_command([str(tmp_path / name) for name in names])
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, done.stdout

    assert look_up("none", "a", "b") == (0, "")
    status, output = look_up("none", "b", "a")
    assert status == 0 and parse_spool_directory(output, "n1", "h") == Path("/spool/n1")
    assert look_up("none") == (NO_CONFIG_STATUS, "")


def test_the_places_of_the_configuration() -> None:
    """A slurmd that asks slurmctld has the file only there, whatever the image brings."""
    assert list_config_paths("/x/slurm.conf", "manager") == (FETCHED_CONFIG_PATH,)
    assert list_config_paths("/x/slurm.conf", None) == ("/x/slurm.conf",)
    assert len(list_config_paths(None, None)) == 3
