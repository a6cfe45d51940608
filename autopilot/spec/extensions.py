"""Register the kinds of health checks and the batch systems, by the key under which a job spec names them.

Both registries hold module paths as text: a module is imported when a job spec or a plan names its key, so no layer
imports one above it, and a container loads only the parts that it uses. The order is the order of the keys in the JSON
Schema and in messages.

To add a kind of health check (three files):

1. `autopilot/adapters/checks/NAME_check.py`: the members of `CheckKind` below. Its plan type derives from
   `autopilot.spec.plan.Probe`; pydantic is imported inside of `build_field`, heavy libraries inside of `run`.
2. `autopilot/spec/extensions.py`: one line in `CHECK_KINDS`.
3. `docs/spec.md`: the key and its meaning.

To add a batch system (one package and two files):

1. `autopilot/adapters/batch/NAME/`: a package with
   - `NAME_extension.py`: the members of `BatchSystemKind` below, each with late imports; the settings derive from
     `autopilot.spec.plan.BatchSettings`,
   - `NAME_section.py`: the section of the job spec, a subclass of `autopilot.spec.batch_section.BatchSection`,
   - `NAME_system.py`: the class that implements `autopilot.adapters.batch.batch_system.BatchSystem`.
2. `autopilot/spec/extensions.py`: one line in `BATCH_SYSTEMS`. The keys `NAME` and `lifetime.drain.NAME`, the rules
   around them, the JSON Schema, `status` and the drain follow from it.
3. `docs/spec.md`: the section's keys.

A health check that asks the batch system is a kind of check like any other.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol, cast, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable

    from autopilot.spec.batch_section import BatchSection
    from autopilot.spec.plan import Batch, BatchSettings, Command, Probe

CHECK_KINDS = {
    "exec": "autopilot.adapters.checks.exec_check",
    "http": "autopilot.adapters.checks.http_check",
    "tcp": "autopilot.adapters.checks.tcp_check",
    "path": "autopilot.adapters.checks.path_check",
    "space": "autopilot.adapters.checks.space_check",
    "limit": "autopilot.adapters.checks.limit_check",
    "valid": "autopilot.adapters.checks.validity_check",
    "resolves": "autopilot.adapters.checks.name_check",
    "htcondor": "autopilot.adapters.checks.htcondor_check",
    "slurm": "autopilot.adapters.checks.slurm_check",
    "access_point": "autopilot.adapters.checks.access_point_check",
}
IMPLIED_CHECK_KIND = "alive"  # of a health section that names no check
_IMPLIED_CHECK_MODULE = "autopilot.adapters.checks.alive_check"
BATCH_SYSTEMS = {
    "htcondor": "autopilot.adapters.batch.htcondor.htcondor_extension",
    "slurm": "autopilot.adapters.batch.slurm.slurm_extension",
    "access_point": "autopilot.adapters.batch.htcondor.access_point.access_point_extension",
}


@runtime_checkable
class CheckKind(Protocol):
    """One kind of health check: a module with these members."""

    PROBE_TYPE: type[Probe]  # the settings in the plan; its `kind` is the key in CHECK_KINDS
    BATCH_SYSTEM: str | None  # the batch system that is asked, so its section must be there

    def build_field(self) -> tuple[Any, Any]:
        """Return the annotation and the pydantic field of the key in `jobs[].health`; None means not written."""
        ...

    def compile_probe(self, value: Any, *, build_command: Callable[[tuple[str, ...]], Command], raw: bool) -> Probe:
        """Return the settings for the plan.

        Args:
            value: The validated value of the key.
            build_command: Returns a command that runs as the job does: its user, directory, environment, limits.
            raw: Whether the check's output is logged without prefixes.
        """
        ...

    async def run(self, probe: Any, context: Any) -> tuple[bool, str]:
        """Run one check.

        Args:
            probe: An instance of PROBE_TYPE.
            context: An `autopilot.adapters.checks.check_context.CheckContext`.

        Returns:
            Whether the check passed, and its output or a sentence about it.
        """
        ...


@runtime_checkable
class BatchSystemKind(Protocol):
    """One batch system: a module with these members."""

    SETTINGS_TYPE: type[BatchSettings]  # the settings in the plan

    def load_section(self) -> type[BatchSection]:
        """Return the pydantic model of the job spec's section."""
        ...

    def create_system(self, batch: Batch, services: Any) -> Any:
        """Return the object that the supervisor drives.

        Args:
            batch: The section of the plan.
            services: An `autopilot.adapters.batch.batch_system.SupervisorServices`.

        Returns:
            An `autopilot.adapters.batch.batch_system.BatchSystem`.
        """
        ...


def load_check_kind(name: str) -> CheckKind:
    """Import the module of a kind of health check. Raises KeyError for an unknown kind."""
    return cast(CheckKind, _import_module(_IMPLIED_CHECK_MODULE if name == IMPLIED_CHECK_KIND else CHECK_KINDS[name]))


def load_batch_system(name: str) -> BatchSystemKind:
    """Import the module of a batch system. Raises KeyError for an unknown one."""
    return cast(BatchSystemKind, _import_module(BATCH_SYSTEMS[name]))


def join_names(names: Iterable[str], conjunction: str) -> str:
    """Return names as part of a sentence: `a`, `a or b`, `a, b or c`."""
    *others, last = names
    return f"{', '.join(others)} {conjunction} {last}" if others else last


def _import_module(path: str) -> Any:
    from importlib import import_module

    return import_module(path)
