"""Build the JSON Schema of the job spec for editors: every key in both spellings, with its description."""

from __future__ import annotations

from typing import Any

from autopilot.spec.keys import KEY_SYNONYMS, convert_to_camel_case
from autopilot.spec.spec_model import Spec

# Shorthands that a validator turns into the object before pydantic sees it.
_SHORTHAND_TYPES = {
    ("Health", "http"): ["string"],
    ("Htcondor", "node"): ["boolean"],
    ("Spec", "htcondor"): ["boolean", "string"],
    ("Spec", "consul"): ["string"],
}


def build_json_schema() -> dict[str, Any]:
    """Return the schema as a JSON-able dict."""
    schema = Spec.model_json_schema()
    for name, part in [("Spec", schema), *schema["$defs"].items()]:
        properties = part.get("properties", {})
        for key, value in list(properties.items()):
            for kind in _SHORTHAND_TYPES.get((name, key), []):
                value["anyOf"].insert(0, {"type": kind})
            properties[convert_to_camel_case(key)] = value
        properties.update({other: properties[key] for other, key in KEY_SYNONYMS.get(name, {}).items()})
    schema["properties"]["$schema"] = {
        "type": "string",
        "description": "this schema, for editors; autopilot ignores it",
    }
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "autopilot job spec"}
