"""Build the Docker API's requests for containers from a slot's configuration; pure functions."""

from __future__ import annotations

from typing import Any

from autopilot_watchdog.config.slot_claims import SlotClaims, compute_claims, format_claims
from autopilot_watchdog.config.slot_config import SlotGroup, fill_group, format_slot_name
from autopilot_watchdog.config.slot_resources import list_gpus, shift_cpuset, shift_ip, shift_mac
from autopilot_watchdog.registry.image_reference import get_repository

OWNER_LABEL = "autopilot.watchdog"  # the state folder: two watchdogs on one engine do not see each other's containers
SLOT_LABEL = "autopilot.slot"
DIGEST_LABEL = "autopilot.digest"
IMAGE_LABEL = "autopilot.image"
CLAIMS_LABEL = "autopilot.claims"  # see slot_claims: it outlives the configuration


def build_labels(owner: str, slot: str, digest: str, image: str, claims: SlotClaims) -> dict[str, str]:
    """Return the labels of a slot's container."""
    return {
        OWNER_LABEL: owner,
        SLOT_LABEL: slot,
        DIGEST_LABEL: digest,
        IMAGE_LABEL: image,
        CLAIMS_LABEL: format_claims(claims),
    }


def format_preflight_owner(owner: str) -> str:
    """Return the owner's label of throwaway containers, so that they are never taken for a slot's."""
    return f"{owner} preflight"


def build_container_request(
    group: SlotGroup, number: int, *, host: str, name: str, digest: str, owner: str, state_folder: str | None
) -> dict[str, Any]:
    """Build the body of POST /containers/create for a slot's container.

    Args:
        group: The slot's group.
        number: The slot's number in its group, from 1.
        host: The host's name.
        name: The container's name.
        digest: The image's digest.
        owner: The label value that marks the containers of this watchdog.
        state_folder: The slot's folder on the host; None to mount none.
    """
    slot = format_slot_name(group.name, host, number)
    claims = compute_claims(group, host, number)
    group = fill_group(group, host, number)
    contract = {
        "AUTOPILOT_SLOT": slot,
        "AUTOPILOT_HOST": host,
        "AUTOPILOT_IMAGE_DIGEST": digest,
        "AUTOPILOT_CONTAINER_NAME": name,
    }
    binds = list(group.volumes)
    if state_folder and group.state:
        binds.append(f"{state_folder}:{group.state}")
    ports = {
        _format_container_port(port): [{"HostPort": str(int(port.split(":")[0]) + number - 1)}] for port in group.ports
    }
    body: dict[str, Any] = {
        "Image": f"{get_repository(group.image)}@{digest}",
        "Env": [f"{key}={value}" for key, value in {**group.env, **contract}.items()],
        "Hostname": format_slot_name(group.hostname, host, number, slot) if group.hostname else slot,
        "Labels": dict(group.labels) | build_labels(owner, slot, digest, group.image, claims),
        "ExposedPorts": {port: {} for port in ports},
        "HostConfig": _build_host_config(group, binds, ports),
    }
    _add_slot_resources(body, group, number)
    if group.network in ("host", "none") or group.network.startswith("container:"):
        body.pop("ExposedPorts")
    if group.network == "host":
        body.pop("Hostname")  # Docker refuses a host name together with the host's network
    if group.command:
        body["Cmd"] = list(group.command)
    return body


def _add_slot_resources(body: dict[str, Any], group: SlotGroup, number: int) -> None:
    """Add the resources that belong to one slot alone, and the settings of a long life."""
    config = body["HostConfig"]
    if group.cpuset:
        config["CpusetCpus"] = shift_cpuset(group.cpuset, number)
    if group.gpus:
        gpus = list_gpus(group.gpus, number)
        config["DeviceRequests"] = [{"Driver": "nvidia", "DeviceIDs": gpus, "Capabilities": [["gpu"]]}]
    if group.log_driver or group.log_options:
        config["LogConfig"] = {"Type": group.log_driver, "Config": dict(group.log_options)}
    if group.stop_timeout:
        body["StopTimeout"] = int(group.stop_timeout)
    endpoint: dict[str, Any] = {}
    if group.ip:
        ip = shift_ip(group.ip, number)
        endpoint["IPAMConfig"] = {"IPv6Address" if ":" in ip else "IPv4Address": ip}
    if group.mac:
        body["MacAddress"] = endpoint["MacAddress"] = shift_mac(group.mac, number)  # before API 1.44, and since
    if endpoint and group.network:
        body["NetworkingConfig"] = {"EndpointsConfig": {group.network: endpoint}}


def _build_host_config(group: SlotGroup, binds: list[str], ports: dict[str, list[dict[str, str]]]) -> dict[str, Any]:
    config: dict[str, Any] = {
        "Binds": binds,
        "PortBindings": ports,
        "NetworkMode": group.network,
        "ExtraHosts": [f"{name}:{address}" for name, address in group.extra_hosts.items()],
        "DnsOptions": list(group.dns_options),
        "NanoCpus": int(group.cpus * 1e9),
        "Memory": group.memory,
        "MemorySwap": group.memory,  # the limit is the limit: no swap beyond it
        "ShmSize": group.shm,
        "Ulimits": [{"Name": name, "Soft": value, "Hard": value} for name, value in group.ulimits.items()],
        "CapAdd": list(group.cap_add),
        "CapDrop": list(group.cap_drop),
        "SecurityOpt": list(group.security_opt),
        "Devices": [
            {"PathOnHost": path, "PathInContainer": path, "CgroupPermissions": "rwm"} for path in group.devices
        ],
        "Tmpfs": dict(group.tmpfs),
        "PidsLimit": group.pids_limit,
        "ReadonlyRootfs": group.read_only,
        "Init": group.init,
        "RestartPolicy": {"Name": "no"},  # the watchdog decides on restarts
    }
    return {key: value for key, value in config.items() if value not in ([], {}, "", 0, False)}


def build_preflight_request(group: SlotGroup, digest: str, owner: str, command: tuple[str, ...]) -> dict[str, Any]:
    """Build the body for a throwaway container: the slot's image, limits and volumes, without its ports and state.

    The group is one without texts that differ from slot to slot.
    """
    config = _build_host_config(group, list(group.volumes), {})
    return {
        "Image": f"{get_repository(group.image)}@{digest}",
        "Entrypoint": [command[0]],
        "Cmd": list(command[1:]),
        "Env": [f"{key}={value}" for key, value in group.env.items()] + [f"AUTOPILOT_IMAGE_DIGEST={digest}"],
        "Labels": {OWNER_LABEL: format_preflight_owner(owner)},
        "HostConfig": config,
    }


def _format_container_port(port: str) -> str:
    inside = port.split(":", 1)[1]
    return inside if "/" in inside else f"{inside}/tcp"
