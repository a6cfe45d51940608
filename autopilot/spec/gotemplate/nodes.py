"""What a parsed template is made of."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Literal:
    offset: int
    value: str | int | float | bool | None


@dataclass(slots=True)
class Field:
    """`.A.B`; without names, the dot itself."""

    offset: int
    names: tuple[str, ...]


@dataclass(slots=True)
class Variable:
    """`$x.A`; "$" is the data the template was given."""

    offset: int
    name: str
    names: tuple[str, ...]


@dataclass(slots=True)
class Chain:
    """`(pipeline).A`."""

    offset: int
    inner: Pipe
    names: tuple[str, ...]


@dataclass(slots=True)
class Function:
    offset: int
    name: str


@dataclass(slots=True)
class Command:
    offset: int
    operands: list[Operand]


@dataclass(slots=True)
class Pipe:
    offset: int
    commands: list[Command]
    variables: tuple[str, ...] = ()
    declares: bool = False  # `:=`; otherwise `=`


Operand = Literal | Field | Variable | Chain | Function | Pipe


@dataclass(slots=True)
class Text:
    offset: int
    value: str


@dataclass(slots=True)
class Action:
    offset: int
    pipe: Pipe


@dataclass(slots=True)
class Branch:
    """if, with or range."""

    offset: int
    kind: str
    pipe: Pipe
    body: list[Node]
    else_body: list[Node] = field(default_factory=list)


@dataclass(slots=True)
class Jump:
    """break or continue."""

    offset: int
    kind: str


@dataclass(slots=True)
class Include:
    """{{ template "name" pipeline }}"""

    offset: int
    name: str
    pipe: Pipe | None


Node = Text | Action | Branch | Jump | Include


@dataclass(slots=True)
class Template:
    main: list[Node]
    definitions: dict[str, list[Node]]
