"""Define the base of the job spec's sections for batch systems."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field, PlainValidator, WithJsonSchema

from autopilot.spec import fields as f
from autopilot.spec.key_paths import KeyPath
from autopilot.spec.model_base import Shorthand, StrictModel
from autopilot.spec.plan import BatchSettings

StopEscalation = tuple[tuple[float, int], ...]  # (seconds after the stop began, signal)


class BatchSection(StrictModel):
    """The batch system in this container."""

    program: ClassVar[str]  # file name of the batch system's main process; the one job that runs it implies the section
    drain_description: ClassVar[str]  # the drain in a few words, for the JSON Schema
    drain_choices: ClassVar[tuple[str, ...]] = ()  # words that `lifetime.drain` takes beside true: ways to drain
    runs_payloads: ClassVar[bool] = True  # False: the jobs that it knows run on other nodes
    stop_timeout_s: ClassVar[float] = 30.0  # default of the main process's `stop.timeout`
    stop_group: ClassVar[bool] = False  # default of its `stop.group`

    job: f.Text | None = Field(default=None, description="the job of the batch system's main process")

    def compile_settings(self) -> BatchSettings:
        """Return the settings for the plan."""
        raise NotImplementedError

    def find_command_problem(self, argv: Sequence[str]) -> str:
        """Return the end of `exec: ...` when the main process's command contradicts the section, else ""."""
        return ""

    def find_limit_problem(self) -> str:
        """Return the reason why the node cannot refuse payloads after a number of them, with its remedy; else "".

        It must refuse them by itself: an order to it after the last payload has begun would race with the next one.
        """
        return "this batch system's node cannot refuse payloads by number; remove this"

    def apply_drain_choice(self, settings: BatchSettings, choice: str) -> BatchSettings:
        """Return the settings with a way to drain, one of `drain_choices`."""
        raise NotImplementedError

    def list_machine_problems(self) -> Iterator[tuple[KeyPath, str, str]]:
        """Yield what this machine lacks: the path inside the section, a verb as in `cannot be VERB`, and the reason."""
        return iter(())

    def build_stop_escalation(self, timeout_s: float) -> StopEscalation:
        """Return the default of the main process's `stop.escalate`, for a stop that may last `timeout_s`."""
        return ()


def build_section_field(section: type[BatchSection]) -> tuple[Any, Any]:
    """Return the annotation and the pydantic field of a batch system's key in the job spec."""
    model: Any = section
    annotation = Annotated[model | None, BeforeValidator(_expand_section), Shorthand("boolean", "string")]
    return annotation, Field(default=None, description="true, the job's name, or an object")


def build_drain_field(section: type[BatchSection]) -> tuple[Any, Any]:
    """Return the annotation and the pydantic field of a batch system's key in `lifetime.drain`."""
    if section.drain_choices:
        parse_choice = f.build_choice_validator(*section.drain_choices)
        choice = PlainValidator(lambda value: value if isinstance(value, bool) else parse_choice(value))
        schema = WithJsonSchema({"enum": [True, False, *section.drain_choices]})
        return Annotated[bool | str, choice, schema], Field(default=False, description=section.drain_description)
    return f.Flag, Field(default=False, description=section.drain_description)


def _expand_section(value: Any) -> Any:
    return {} if value is True else None if value is False else {"job": value} if isinstance(value, str) else value
