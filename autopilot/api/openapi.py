"""Build the OpenAPI document from the operations and their message types."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from pydantic import ConfigDict, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode
from typing_extensions import is_typeddict

from autopilot import __version__
from autopilot.api import messages
from autopilot.api.operations import EVENT_STREAM, JSON, NDJSON, OPERATIONS, Answer, Interface, Operation, Parameter
from autopilot.machines import events

Schema = dict[str, Any]

REF_TEMPLATE = "#/components/schemas/{model}"
SERVERS: Mapping[Interface, Schema] = {
    "control": {
        "url": "http://control",
        "description": "Control socket, a unix socket for its owner alone: curl --unix-socket PATH http://control/v1/status",
    },
    "telemetry": {
        "url": "http://{host}:{port}",
        "description": "Telemetry port, read only, without a password; the section `telemetry` opens it.",
        "variables": {"host": {"default": "127.0.0.1"}, "port": {"default": "9090"}},
    },
}
COMMON_ERRORS = "Malformed request (400), too long a request (413), unknown path (404), or internal error (500)."


class _UntitledJsonSchema(GenerateJsonSchema):
    """Generator that adds no titles: they only repeat the names of the fields."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def build_document() -> Schema:
    """Return the OpenAPI 3.1 document of both interfaces as plain data."""
    schemas: dict[str, Schema] = {}
    paths: dict[str, Schema] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _build_operation(operation, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "autopilot",
            "version": __version__,
            "description": inspect.getdoc(messages),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": list(SERVERS.values()),
        "paths": paths,
        "components": {"schemas": dict(sorted(schemas.items()))},
    }


def list_event_types() -> list[type[events.Event]]:
    """Return every kind of event that a stream of events may hold, in the order of their definition."""
    found = [event for event in vars(events).values() if inspect.isclass(event) and issubclass(event, events.Event)]
    unlisted = (events.Event, events.CheckPassed)  # the journal keeps no checks that passed
    return [event for event in found if event not in unlisted and not event.__name__.startswith("_")]


def _build_operation(operation: Operation, schemas: dict[str, Schema]) -> Schema:
    built: Schema = {
        "operationId": operation.id,
        "summary": operation.summary,
        "servers": [SERVERS[interface] for interface in operation.interfaces],
    }
    if operation.description:
        built["description"] = operation.description
    if operation.parameters:
        built["parameters"] = [_build_parameter(parameter) for parameter in operation.parameters]
    if operation.request is not None:
        content = {JSON: {"schema": _build_schema(operation.request, schemas, "validation")}}
        built["requestBody"] = {"required": operation.request_required, "content": content}
    error = _build_schema(messages.Error, schemas)
    responses = {str(status): _build_answer(answer, schemas) for status, answer in operation.answers.items()}
    for status, cause in [*sorted(operation.errors.items()), ("default", COMMON_ERRORS)]:
        responses[str(status)] = {"description": cause, "content": {JSON: {"schema": error}}}
    built["responses"] = responses
    return built


def _build_parameter(parameter: Parameter) -> Schema:
    return {
        "name": parameter.name,
        "in": parameter.place,
        "required": parameter.place == "path",
        "description": parameter.description,
        "schema": dict(parameter.schema),
    }


def _build_answer(answer: Answer, schemas: dict[str, Schema]) -> Schema:
    """Build one response; the schema of a stream describes one record."""
    schema = {"type": "string"} if answer.message is None else _build_schema(answer.message, schemas)
    noun = {NDJSON: "Schema of one line. ", EVENT_STREAM: "Schema of one event's data. "}.get(answer.media_type, "")
    if noun:
        schema = {"description": noun.strip(), **schema}
    return {"description": answer.description, "content": {answer.media_type: {"schema": schema}}}


def _build_schema(type_: Any, schemas: dict[str, Schema], mode: JsonSchemaMode = "serialization") -> Schema:
    """Return the JSON Schema of `type_`, and add every schema that it refers to to `schemas`."""
    _use_attribute_docstrings()
    schema = TypeAdapter(type_).json_schema(ref_template=REF_TEMPLATE, schema_generator=_UntitledJsonSchema, mode=mode)
    found: dict[str, Schema] = schema.pop("$defs", {})
    if is_typeddict(type_) and "$ref" not in schema:  # pydantic puts a type that nothing refers to in place
        found[type_.__name__] = schema
        schema = {"$ref": REF_TEMPLATE.format(model=type_.__name__)}
    for name, definition in found.items():
        schemas[name] = _remove_title(definition)
    for base in getattr(type_, "__orig_bases__", ()):
        if is_typeddict(base):
            _build_schema(base, schemas)
            inherited: Schema = schemas[base.__name__]["properties"]
            schemas[type_.__name__]["properties"].update(inherited)  # pydantic gives these no descriptions
    if "EventRecord" in found:
        schemas["EventRecord"] = _add_event_fields(schemas["EventRecord"], schemas)
    return _remove_title(schema)


def _add_event_fields(record: Schema, schemas: dict[str, Schema]) -> Schema:
    """Return a schema with one alternative for each kind of event: the common fields and the event's own."""
    alternatives = []
    for event in list_event_types():
        own = TypeAdapter(event).json_schema(
            ref_template=REF_TEMPLATE, schema_generator=_UntitledJsonSchema, mode="serialization"
        )
        schemas.update({name: _remove_title(definition) for name, definition in own.pop("$defs", {}).items()})
        fields = own.get("properties", {})
        kind = {"event": {**record["properties"]["event"], "const": event.__name__}}
        name = f"{event.__name__}Record"
        schemas[name] = {
            "type": "object",
            "properties": {**record["properties"], **kind, **fields},
            "required": [*record["required"], *fields],
        }
        alternatives.append({"$ref": REF_TEMPLATE.format(model=name)})
    return {"description": record["description"], "oneOf": alternatives}


def _remove_title(schema: Schema) -> Schema:
    return {key: value for key, value in schema.items() if key != "title"}


def _use_attribute_docstrings() -> None:
    """Let pydantic take the string below each field of a message as its description."""
    for message in vars(messages).values():
        if is_typeddict(message):
            message.__pydantic_config__ = ConfigDict(use_attribute_docstrings=True)
