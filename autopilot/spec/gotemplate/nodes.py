"""Define the nodes of a parsed template; each records its offset in the text."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Literal:
    """A string, number, character, true, false or nil."""

    offset: int
    value: str | int | float | bool | None


@dataclass(slots=True)
class Field:
    """The fields `.A.B` of the dot; without names, the dot itself."""

    offset: int
    names: tuple[str, ...]


@dataclass(slots=True)
class Variable:
    """The fields `.A` of the variable `$x`; "$" is the data that the template was given."""

    offset: int
    name: str
    names: tuple[str, ...]


@dataclass(slots=True)
class Chain:
    """The fields `.A` of a pipeline in parentheses."""

    offset: int
    inner: Pipe
    names: tuple[str, ...]


@dataclass(slots=True)
class Function:
    """The name of a function."""

    offset: int
    name: str


@dataclass(slots=True)
class Command:
    """A value, or a function with its arguments: one part of a pipeline."""

    offset: int
    operands: list[Operand]


@dataclass(slots=True)
class Pipe:
    """Commands that pass their value on, and the variables that are set to the result."""

    offset: int
    commands: list[Command]
    variables: tuple[str, ...] = ()
    declares: bool = False  # `:=`; otherwise `=`


Operand = Literal | Field | Variable | Chain | Function | Pipe


@dataclass(slots=True)
class Text:
    """Text outside of actions."""

    offset: int
    value: str


@dataclass(slots=True)
class Action:
    """A pipeline whose value is written."""

    offset: int
    pipe: Pipe


@dataclass(slots=True)
class Branch:
    """An `if`, `with` or `range` with its blocks."""

    offset: int
    kind: str
    pipe: Pipe
    body: list[Node]
    else_body: list[Node] = field(default_factory=list)


@dataclass(slots=True)
class Jump:
    """A `break` or `continue`."""

    offset: int
    kind: str


@dataclass(slots=True)
class Include:
    """An inclusion: {{ template "name" pipeline }}."""

    offset: int
    name: str
    pipe: Pipe | None


Node = Text | Action | Branch | Jump | Include


@dataclass(slots=True)
class Template:
    """The nodes of a template, and of the templates that it defines."""

    main: list[Node]
    definitions: dict[str, list[Node]]
