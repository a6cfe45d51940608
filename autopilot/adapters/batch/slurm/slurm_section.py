"""Define Slurm's section of the job spec."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BeforeValidator, Field

from autopilot.adapters.batch.slurm.node_arguments import find_parameter_problem, list_own_options
from autopilot.adapters.batch.slurm.slurm_settings import SlurmNode, SlurmSettings
from autopilot.spec import fields as f
from autopilot.spec.batch_section import BatchSection
from autopilot.spec.key_paths import KeyPath
from autopilot.spec.model_base import Shorthand, StrictModel
from autopilot.spec.quantities import InvalidValueError

TOOLS = {"scontrol": "which drains the node", "munge": "which proves who asks"}


def _refuse_bad_parameters(settings: dict[str, str]) -> dict[str, str]:
    for name, value in settings.items():
        if problem := find_parameter_problem(name, value):
            raise InvalidValueError(problem)
    return settings


class DynamicNode(StrictModel):
    """The arguments with which slurmd registers this node."""

    name: f.Text | None = Field(default=None, description="the node's name; the slot or the host when left out")
    controller: f.Text | None = Field(
        default=None, description="the host of slurmctld, asked for slurm.conf; the image's slurm.conf when left out"
    )
    cpus: f.Cpus | None = Field(default=None, description="from the cgroup when left out")
    memory: f.Size | None = Field(default=None, description="from the cgroup when left out")
    settings: Annotated[f.Environment, AfterValidator(_refuse_bad_parameters)] = Field(
        default_factory=dict, description="further parameters of the node, such as {Feature: fast}"
    )


def _expand_dynamic_node(value: Any) -> Any:
    return {} if value is True else None if value is False else value


class Slurm(BatchSection):
    """The Slurm node in this container."""

    program: ClassVar[str] = "slurmd"
    drain_description: ClassVar[str] = "by an order to slurmctld: running jobs finish"

    job: f.Text | None = Field(default=None, description="the job that is slurmd; found by its command when left out")
    poll: f.PositiveDuration = Field(default=15.0, description="jobs and the node's record are looked at so often")
    node: Annotated[DynamicNode | None, BeforeValidator(_expand_dynamic_node), Shorthand("boolean")] = Field(
        default=None, description="true, or an object: slurmd registers a dynamic node"
    )

    def compile_settings(self) -> SlurmSettings:
        """Return the settings for the plan."""
        node = SlurmNode(**self.node.model_dump()) if self.node else None
        return SlurmSettings(poll=self.poll, node=node)

    def find_command_problem(self, argv: Sequence[str]) -> str:
        """Return a sentence when slurmd's command contradicts `node`, else ""."""
        if self.node is None:
            return ""
        if argv and argv[0].rsplit("/", 1)[-1] != self.program:
            return f"cannot be {argv[0]} beside {{node}}, whose arguments are added at the end; write slurmd itself"
        if own := list_own_options(argv):
            return f"cannot have {own[0]} beside {{node}}, which sets it; remove it here"
        return ""

    def list_machine_problems(self) -> Iterator[tuple[KeyPath, str, str]]:
        """Yield the tools that this machine lacks."""
        for tool, use in TOOLS.items():
            if shutil.which(tool) is None and shutil.which(self.program) is not None:
                yield (), "used", f'there is no program "{tool}" on PATH, {use}'
