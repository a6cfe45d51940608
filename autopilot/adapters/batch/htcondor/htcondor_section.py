"""Define HTCondor's section of the job spec."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from signal import SIGQUIT
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field

from autopilot.adapters.batch.htcondor.htcondor_settings import HtcondorNode, HtcondorSettings
from autopilot.spec import fields as f
from autopilot.spec.batch_section import BatchSection, StopEscalation
from autopilot.spec.file_problems import find_read_problem, find_write_problem
from autopilot.spec.key_paths import KeyPath
from autopilot.spec.model_base import Shorthand, StrictModel


class Node(StrictModel):
    """The HTCondor configuration rendered before condor_master starts."""

    path: f.AbsolutePath = Field(
        default="/etc/condor/config.d/50-autopilot.conf", description="the file that is written"
    )
    condor_host: f.Text | None = Field(default=None, description="the central manager; $CONDOR_HOST when left out")
    name: f.Text | None = Field(default=None, description="the node's name; unique for each life when left out")
    cpus: f.Cpus | None = Field(default=None, description="from the cgroup when left out")
    memory: f.Size | None = Field(default=None, description="from the cgroup when left out")
    token: f.AbsolutePath | None = Field(default=None, description="a file or directory to copy tokens from")
    settings: f.Environment = Field(default_factory=dict, description="further configuration, over the rendered one")


def _expand_node(value: Any) -> Any:
    return {} if value is True else None if value is False else value


def _find_token_problem(token: str) -> str:
    """Return a sentence when a token file, or each file of a directory, cannot be read, else ""."""
    if problem := find_read_problem(token, takes_directory=True):
        return problem
    if not os.path.isdir(token):
        return ""
    names = [name for name in sorted(os.listdir(token)) if not name.startswith(".")]
    files = [path for name in names if os.path.isfile(path := os.path.join(token, name))]
    if not files:
        return f'"{token}" holds no token file'
    return next((problem for path in files if (problem := find_read_problem(path))), "")


class Htcondor(BatchSection):
    """The batch system in this container."""

    program: ClassVar[str] = "condor_master"
    drain_description: ClassVar[str] = "peacefully, through HTCondor's own commands"

    job: f.Text | None = Field(
        default=None, description="the job that is condor_master; found by its command when left out"
    )
    poll: f.PositiveDuration = Field(default=15.0, description="payloads, membership and space are looked at so often")
    node: Annotated[Node | None, BeforeValidator(_expand_node), Shorthand("boolean")] = Field(
        default=None, description="true, or an object: render the node's configuration"
    )
    min_execute: f.Size = Field(default=1 << 30, description="free bytes in EXECUTE, below which `space` fails")
    min_log: f.Size = Field(default=100 << 20, description="free bytes in LOG, below which `space` fails")

    def compile_settings(self) -> HtcondorSettings:
        """Return the settings for the plan."""
        node = HtcondorNode(**self.node.model_dump()) if self.node else None
        return HtcondorSettings(poll=self.poll, node=node, min_execute=self.min_execute, min_log=self.min_log)

    def find_limit_problem(self) -> str:
        """Return the reason why the startd cannot refuse payloads after a number of them; "" with `node`."""
        return "" if self.node else "it is a setting of the node's configuration; add htcondor: {node: true}"

    def list_machine_problems(self) -> Iterator[tuple[KeyPath, str, str]]:
        """Yield what the node's own configuration needs and this machine lacks."""
        if shutil.which("condor_config_val") is None and shutil.which(self.program) is not None:
            yield (), "used", 'there is no program "condor_config_val" on PATH, which reads the configuration'
        if self.node is None:
            return
        if problem := find_write_problem(os.path.dirname(self.node.path)):
            yield ("node", "path"), "written", problem
        if self.node.token is not None and (problem := _find_token_problem(self.node.token)):
            yield ("node", "token"), "copied", problem

    def build_stop_escalation(self, timeout_s: float) -> StopEscalation:
        """Return a SIGQUIT, condor_master's fast shutdown, before the end.

        A master that dies by SIGKILL leaves its payloads in limbo for 40 minutes.
        """
        return ((timeout_s * 2 / 3, int(SIGQUIT)),)
