"""Define the parts that all models of the job spec have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict


class StrictModel(BaseModel):
    """A frozen model that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True, slots=True)
class Shorthand:
    """Mark, in a field's annotation, the JSON types that a validator turns into the object before pydantic sees it."""

    types: tuple[str, ...]

    def __init__(self, *types: str) -> None:
        object.__setattr__(self, "types", types)

    def __get_pydantic_json_schema__(self, core_schema: Any, handler: Any) -> dict[str, Any]:
        """Add the shorthands to the schema of the object; called by pydantic."""
        schema: dict[str, Any] = handler(core_schema)
        return {**schema, "anyOf": [*({"type": name} for name in reversed(self.types)), *schema["anyOf"]]}
