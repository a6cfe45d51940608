"""Write the configuration of an access point: its name, its spool, and the refusal of new jobs. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from autopilot.adapters.batch.htcondor.node_config import format_setting

LOCK_NAME = "autopilot-claim.json"  # in SPOOL; see spool_claim.py
REQUIREMENT_NAME = "AutopilotDrain"
REFUSAL = "this access point is being drained and takes no new jobs; submit to another one"


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessPointConfig:
    """The settings that differ from one access point to another; None: as the image's configuration has it."""

    condor_host: str | None
    name: str | None
    spool: str | None
    domain: str = "local"  # for host names without a dot, where the image's configuration names none
    requirement: str | None = None  # of new jobs, while the queue is drained; see build_requirement


def build_requirement(refuses_since: int, *, refuses_all: bool) -> str:
    """Return the expression that a new job must meet while the queue is drained.

    A submit file with max_materialize makes its jobs one by one, and DAGMan submits the next nodes of its graph: both
    belong to the queue that is to be emptied. QDate is the submitter's time, which may be wrong or long ago: so an
    empty queue, in which nothing is left to be made, is closed for all.

    Args:
        refuses_since: Seconds since the epoch; jobs of that time and later are refused.
        refuses_all: Refuse every job.
    """
    return "false" if refuses_all else f"QDate < {refuses_since} || DAGManJobId =!= undefined"


def render_config(config: AccessPointConfig, settings: Mapping[str, str]) -> str:
    """Return the file's text; `settings` win over all but the refusal. Raises InvalidSettingError."""
    lines = ["# Written by autopilot before each start of condor_master; changes here are lost.", "use ROLE: Submit"]
    if config.condor_host:
        lines.append(format_setting("CONDOR_HOST", config.condor_host))
    if config.name:
        lines += [
            "# the same in each life, on any host: the queue and its running jobs belong to this name",
            format_setting("SCHEDD_NAME", config.name),
        ]
    if config.spool:
        lines.append(format_setting("SPOOL", config.spool))
    lines += [
        "# condor_preen removes files of SPOOL that it does not know",
        f"VALID_SPOOL_FILES = $(VALID_SPOOL_FILES) {LOCK_NAME}",
        "# names without a dot break direct queries",
        "if ! defined DEFAULT_DOMAIN_NAME",
        "  " + format_setting("DEFAULT_DOMAIN_NAME", config.domain),
        "endif",
    ]
    lines += [format_setting(name, value) for name, value in settings.items()]
    if config.requirement is not None:
        lines += [
            f"SUBMIT_REQUIREMENT_NAMES = $(SUBMIT_REQUIREMENT_NAMES) {REQUIREMENT_NAME}",
            f"SUBMIT_REQUIREMENT_{REQUIREMENT_NAME} = {config.requirement}",
            f'SUBMIT_REQUIREMENT_{REQUIREMENT_NAME}_REASON = "{REFUSAL}"',
        ]
    return "\n".join(lines) + "\n"
