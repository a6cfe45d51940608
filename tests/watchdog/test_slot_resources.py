"""Resources of slots: own cores, GPUs and addresses; `check` compares the sums with the machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from autopilot_watchdog.config.slot_resources import list_cores, list_gpus, shift_cpuset, shift_ip, shift_mac
from autopilot_watchdog.engine.container_request import build_container_request
from autopilot_watchdog.shell.host_capacity import HostCapacity, find_capacity_warnings
from hypothesis import given
from hypothesis import strategies as st

from lab.netns import create_parent_interface
from lab.tiny_images import format_healthy_script
from tests.watchdog.scenes import A, build_config
from tests.watchdog.site import Site
from tests.watchdog.test_config import SLOT, get_error_text
from tests.watchdog.test_engines import get_slot


def build_request(number: int, **group: object) -> dict[str, Any]:
    """Build the request for a slot's container."""
    config = build_config(count=4, group=group)
    names = {"host": "h1", "name": "wn-x", "digest": A, "owner": "o", "state_folder": None}
    return build_container_request(config.slots[0], number, **names)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("cpuset", "second"),
    [("0-15", "16-31"), ("0", "1"), ("4-5", "6-7"), ("0-7,64-71", "8-15,72-79"), ("0-1,8", "2-3,9")],
)
def test_next_cores(cpuset: str, second: str) -> None:
    """Slot 1 has the cores as written, and slot 2 the next ones of each range."""
    assert shift_cpuset(cpuset, 1) == cpuset
    assert shift_cpuset(cpuset, 2) == second


@given(st.integers(0, 500), st.integers(1, 64), st.integers(1, 64))
def test_slots_of_one_range_share_no_core(first: int, width: int, slots: int) -> None:
    """However many slots there are, those of one range get distinct cores without a gap."""
    cores = [list_cores(shift_cpuset(f"{first}-{first + width - 1}", number)) for number in range(1, slots + 1)]
    assert [core for part in cores for core in part] == list(range(first, first + width * slots))


def test_own_gpus_and_addresses() -> None:
    """GPUs and addresses are counted up from slot to slot, also over the end of a byte."""
    assert [list_gpus(2, number) for number in (1, 2)] == [["0", "1"], ["2", "3"]]
    assert list_gpus(0, 3) == []
    assert shift_ip("10.1.2.255", 2) == "10.1.3.0" and shift_ip("fd00::ff", 2) == "fd00::100"
    assert shift_mac("02:42:0a:01:02:ff", 2) == "02:42:0a:01:03:00"


def test_request_has_the_slots_resources() -> None:
    """The engine is asked for the resources of the slot's number."""
    body = build_request(
        2,
        cpuset="0-3",
        gpus=1,
        network="site",
        ip="10.1.2.11",
        mac="02:42:0a:01:02:0b",
        labels={"site.slot": "{slot}"},
        log_driver="local",
        log_options={"max-size": "10m"},
        pids_limit=1000,
        read_only=True,
        stop_timeout="5m",
        devices=["/dev/nvidia{index}"],
    )
    config = body["HostConfig"]
    assert config["CpusetCpus"] == "4-7" and config["DeviceRequests"][0]["DeviceIDs"] == ["1"]
    assert config["LogConfig"] == {"Type": "local", "Config": {"max-size": "10m"}}
    assert (config["PidsLimit"], config["ReadonlyRootfs"], body["StopTimeout"]) == (1000, True, 300)
    assert config["Devices"][0]["PathOnHost"] == "/dev/nvidia1"
    assert body["Labels"]["site.slot"] == "wn-02" and body["Labels"]["autopilot.slot"] == "wn-02"
    endpoint = body["NetworkingConfig"]["EndpointsConfig"]["site"]
    assert endpoint == {"IPAMConfig": {"IPv4Address": "10.1.2.12"}, "MacAddress": "02:42:0a:01:02:0c"}


def test_request_without_resources_has_none_of_the_keys() -> None:
    """Keys that are not configured are not sent, so the engine's defaults hold."""
    body = build_request(1)
    assert not {"StopTimeout", "NetworkingConfig", "MacAddress"} & body.keys()
    assert not {"CpusetCpus", "DeviceRequests", "LogConfig", "PidsLimit", "ReadonlyRootfs"} & body["HostConfig"].keys()


@pytest.mark.parametrize(
    ("group", "sentence"),
    [
        ({"cpuset": "3-1"}, 'slots[0].cpuset: must be cores such as "0-15"'),
        ({"cpuset": "0-3,2"}, 'slots[0].cpuset: must be cores such as "0-15"'),
        ({"gpus": -1}, "slots[0].gpus: must be a whole number from 0 to 64"),
        ({"ip": "10.1.2"}, 'slots[0].ip: must be an address such as "10.1.2.11"'),
        ({"ip": "10.1.2.3"}, "slots[0].ip: needs a `network` with a name"),
        ({"ip": "255.255.255.255", "network": "site"}, "slots[0].ip: has no address for slot 2"),
        ({"mac": "01:00:00:00:00:01"}, "slots[0].mac: must be a hardware address of one interface"),
        ({"mac": "02:00:00:00:00:01", "network": "host"}, 'slots[0].mac: cannot be set for the network "host"'),
        ({"labels": {"autopilot.slot": "x"}}, "slots[0].labels: must be an object with no key that begins with"),
        ({"stop_timeout": "1500ms"}, "slots[0].stop_timeout: must be a duration of whole seconds"),
        ({"labels": {"a": "{none}"}}, "slots[0].labels: has an unknown placeholder {none}"),
    ],
)
def test_wrong_resources_are_refused(group: dict[str, object], sentence: str) -> None:
    """A resource that no engine can give is refused with its place."""
    assert sentence in get_error_text({"slots": [{**SLOT, **group}]})


def test_address_of_two_slots() -> None:
    """One address for two slots of one network is refused."""
    one, two = ({**SLOT, "name": f"{name}-NN", "network": "site"} for name in "ab")
    text = get_error_text({"slots": [{**one, "ip": "10.1.2.3"}, {**two, "ip": "10.1.2.4"}]})
    assert "slots[1].ip: gives b-01 10.1.2.4, which belongs to a-02" in text


def test_sums_are_compared_with_the_machine() -> None:
    """Warnings tell of more cores or memory than there are, of missing and of shared cores; else there are none."""
    small = HostCapacity(frozenset(range(4)), 8 * 10**9)
    group = {"cpus": 3, "memory": "5 GB", "cpuset": "0-2"}
    warnings = list(find_capacity_warnings(build_config(count=2, group=group), small))
    assert warnings == [
        "the slots may use 6 CPU cores together, and this machine has 4",
        "the slots may use 10.0 GB of memory together, and this machine has 8.0 GB",
        "wn-02 gets the cores 3-5, and this machine has no core 4",
    ]
    assert not list(find_capacity_warnings(build_config(count=1, group=group), small))
    shared = build_config(slots=[{**SLOT, "name": name, "count": 1, "cpuset": "0-1"} for name in ("a", "b")])
    assert list(find_capacity_warnings(shared, small)) == ["b shares cores with a"]
    gpus = build_config(count=1, group={"gpus": 1, "engine": "podman"})
    assert "gets no GPU from podman" in next(iter(find_capacity_warnings(gpus, small)))


@pytest.mark.real("docker", "registry")
def test_resources_of_real_slots(site: Site) -> None:
    """A real engine gives each slot its own cores and settings."""
    site.push_image()
    core = min(os.sched_getaffinity(0))
    group = {
        "count": 1,
        "cpuset": f"{core}",
        "labels": {"site.index": "{index}"},
        "pids_limit": 50,
        "read_only": True,
        "stop_timeout": "7s",
    }
    site.write_config(group)
    site.run_once()
    found = site.ask_engine(f"/containers/{get_slot(site)['container']}/json")
    config = found["HostConfig"]
    assert config["CpusetCpus"] == f"{core}" and config["PidsLimit"] == 50 and config["ReadonlyRootfs"] is True
    assert found["Config"]["StopTimeout"] == 7 and found["Config"]["Labels"]["site.index"] == "0"
    done = site.run_verb("check")
    assert done.returncode == 0 and "warning" not in done.stderr


NETWORK, SUBNET = "autopilot-lab", "192.0.2"  # a network for documentation: nobody's own


@pytest.fixture(params=["bridge", "macvlan"])
def site_with_network(request: pytest.FixtureRequest, docker_site: Site) -> Iterator[Site]:
    """Set up a host with a network of its own in the engine."""
    parent = f"aplab{os.getpid()}"
    options = ["--opt", f"parent={parent}"] if request.param == "macvlan" else []
    with create_parent_interface(parent):
        builder = docker_site.builder
        builder.run("network", "create", "--driver", request.param, *options, "--subnet", f"{SUBNET}.0/24", NETWORK)
        docker_site.write_config({"network": NETWORK, "ip": f"{SUBNET}.11", "mac": "02:42:0a:01:02:0b"})
        yield docker_site
        names = builder.run("ps", "--all", "--quiet").split()
        builder.run("rm", "--force", "--volumes", *names)
        builder.run("network", "rm", NETWORK)


@pytest.mark.real("docker", "registry", "namespaces")
def test_addresses_and_logs_of_real_slots(site_with_network: Site) -> None:
    """A real engine gives each slot its address and hardware address, and the log driver it asks for."""
    site = site_with_network
    site.push_image(format_healthy_script("echo hello\nsleep 100000"))
    first = site.document["slots"][0]
    first |= {"count": 2, "log_driver": "local", "log_options": {"max-size": "1m"}}
    silent = {"name": "silent", "image": first["image"], "engine": "docker", "network": "none", "log_driver": "none"}
    site.write_config(slots=[first, silent])
    site.run_once()
    names = {name: slot["container"] for name, slot in site.get_slots().items()}
    found = {name: site.ask_engine(f"/containers/{container}/json") for name, container in names.items()}
    for number, name in enumerate(("wn-01", "wn-02")):
        network = found[name]["NetworkSettings"]["Networks"][NETWORK]
        assert network["IPAddress"] == f"{SUBNET}.{11 + number}"
        assert network["MacAddress"] == f"02:42:0a:01:02:{0x0B + number:02x}"
        inside = site.run_verb("exec", name, "--", "cat", "/sys/class/net/eth0/address").stdout.strip()
        assert inside == network["MacAddress"]
        neighbour = f"{SUBNET}.{12 - number}"
        ping = site.run_verb("exec", name, "--", "busybox", "ping", "-c", "1", "-w", "60", neighbour)
        assert ping.returncode == 0, ping.stdout + ping.stderr
    assert found["wn-01"]["HostConfig"]["LogConfig"] == {"Type": "local", "Config": {"max-size": "1m"}}
    assert found["silent"]["HostConfig"]["LogConfig"]["Type"] == "none"
    assert site.run_verb("logs", "wn-01").stdout == "hello\n"
    done = site.run_verb("logs", "silent")
    assert done.returncode == 75 and f"cannot read the output of {names['silent']}: " in done.stderr
    site.builder.run("kill", names["silent"])
    site.builder.run("wait", names["silent"])
    site.run_once()
    assert site.get_slots()["silent"]["container"] not in (None, names["silent"])
    assert "killed" in site.run_verb("history", "silent").stdout, "a life without a log is kept, too"
