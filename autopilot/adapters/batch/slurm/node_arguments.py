"""Build the arguments that make slurmd a dynamic node: its name, and the size that the container has. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

MAX_NAME_LENGTH = 63
EVERY_NODE = "ALL"  # an order to a node of this name, in any case, is an order to all nodes of the cluster
RENDERED_PARAMETERS = ("CPUs", "RealMemory", "NodeName")
_NODE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}")
_PARAMETER = re.compile(r"[A-Za-z][A-Za-z0-9]*")
_PARAMETER_VALUE = re.compile(r"[A-Za-z0-9_.,:+*()/=\[\]-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSize:
    """Resources that the node offers, and further parameters as slurm.conf has them."""

    cpus: int
    memory: int  # MiB
    parameters: Mapping[str, str] = field(default_factory=dict)


def build_slurm_node_name(configured_name: str | None, slot: str | None, host: str) -> str:
    """Return the node's name, the same in each life of a slot.

    The next life then registers the same node again, and the controller gives back the jobs that a crashed life left.
    """
    given = configured_name or slot or host.partition(".")[0]
    name = re.sub(r"[^A-Za-z0-9_-]", "-", given)[:MAX_NAME_LENGTH].strip("-")
    return name if is_one_node(name) else f"autopilot-{name}".rstrip("-")


def is_one_node(name: str) -> bool:
    """Return True when Slurm's tools take `name` for exactly one node: no pattern, and not the whole cluster."""
    return _NODE_NAME.fullmatch(name) is not None and name.upper() != EVERY_NODE


def build_arguments(name: str, size: NodeSize, controller: str | None) -> tuple[str, ...]:
    """Return slurmd's arguments; `controller` is asked for slurm.conf, None leaves that to the image."""
    words = [f"CPUs={size.cpus}", f"RealMemory={size.memory}"]
    words += [f"{parameter}={value}" for parameter, value in size.parameters.items()]
    configless = () if controller is None else ("--conf-server", controller)
    return ("-D", "-Z", "-N", name, "--conf", " ".join(words), *configless)


def find_parameter_problem(name: str, value: str) -> str:
    """Return a sentence when `name=value` cannot be a parameter of the node, else ""."""
    if not _PARAMETER.fullmatch(name):
        return (
            f'cannot have "{name}", which is no parameter of a node; write its name as in slurm.conf, such as Feature'
        )
    if name.lower() in (rendered.lower() for rendered in RENDERED_PARAMETERS):
        return f"cannot have {name}, which autopilot sets; write the keys name, cpus and memory beside settings"
    if not _PARAMETER_VALUE.fullmatch(value):
        return f'cannot have "{value}" as {name}; write it without spaces and quotation marks'
    return ""


def find_given_name(argv: Sequence[str]) -> str | None:
    """Return the node's name in slurmd's own arguments (`-N NAME`, `-NNAME`); None when there is none."""
    for word, following in zip(argv, (*argv[1:], ""), strict=True):
        if word.startswith("-N"):
            name = word[2:] or following
            return name if is_one_node(name) else None
    return None


def list_own_options(argv: Sequence[str]) -> list[str]:
    """Return the options in slurmd's arguments that `node` sets itself."""
    return [word for word in argv if word in ("-Z", "--conf", "--conf-server") or word.startswith(("-N", "--conf="))]
