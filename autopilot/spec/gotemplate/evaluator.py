"""Walks the tree and writes text, and remembers for each piece of it where it comes from.

Theory of operation. One `_Run` for one rendering: a stack of variables, a list of output pieces and a budget of steps,
which is what keeps nested loops finite. Functions are looked up in `functions.TABLE`, which checks what they are given.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from autopilot.spec.gotemplate import nodes as n
from autopilot.spec.gotemplate.formatting import type_name, value_text
from autopilot.spec.gotemplate.functions import TABLE, Refused, data_cost
from autopilot.spec.rendering import Piece, TemplateError

MOST_STEPS = 200_000
MOST_OUTPUT = 1 << 20  # characters
_DEEPEST_INCLUDE = 50
_NOTHING = object()  # no value comes through the pipe


def evaluate(template: n.Template, env: Mapping[str, str]) -> tuple[str, tuple[Piece, ...]]:
    run = _Run(template, dict(env))
    run.walk(template.main, run.root)
    return "".join(run.output), tuple(run.pieces)


class _Run:
    def __init__(self, template: n.Template, env: dict[str, str]) -> None:
        self.template = template
        self.root = env
        self.output: list[str] = []
        self.pieces: list[Piece] = []
        self.length = 0
        self.steps = 0
        self.includes = 0
        self.variables: list[tuple[str, Any]] = [("$", env)]

    def walk(self, nodes: list[n.Node], dot: Any) -> str:
        """Run the nodes; returns "break" or "continue" when one of these ended them early."""
        for node in nodes:
            self.step(node.offset)
            match node:
                case n.Text():
                    self.write(node.value, node.offset, made=False)
                case n.Action():
                    value = self.pipe(node.pipe, dot)
                    if not node.pipe.variables:
                        self.write(value_text(value), node.offset, made=True)
                case n.Jump():
                    return node.kind
                case n.Include():
                    self.include(node, dot)
                case n.Branch():
                    jump = self.branch(node, dot)
                    if jump:
                        return jump
        return ""

    def branch(self, node: n.Branch, dot: Any) -> str:
        mark = len(self.variables)
        value = self.pipe(node.pipe, dot)
        if node.kind == "range":
            jump = self.range(node, value, dot)
        elif value:  # Go's truth is Python's: empty, zero and nil are false
            jump = self.walk(node.body, value if node.kind == "with" else dot)
        else:
            jump = self.walk(node.otherwise, dot)
        del self.variables[mark:]
        return jump

    def range(self, node: n.Branch, value: Any, dot: Any) -> str:
        if not isinstance(value, list | dict):
            self.fail(
                f"cannot range over {type_name(value)}; a list is needed, as from split or loop", node.pipe.offset
            )
        if not value:
            return self.walk(node.otherwise, dot)
        for key, item in _items(value):
            self.step(node.offset)
            mark = len(self.variables)
            names = node.pipe.variables
            loop_values = (key, item) if len(names) == 2 else (item,)
            for name, loop_value in zip(names, loop_values, strict=False):
                self.assign(name, loop_value, declares=node.pipe.declares)
            jump = self.walk(node.body, item)
            del self.variables[mark:]
            if jump == "break":
                break
        return ""

    def include(self, node: n.Include, dot: Any) -> None:
        body = self.template.defined.get(node.name)
        if body is None:
            self.fail(
                f'cannot use template "{node.name}": it is not defined; write {{{{ define "{node.name}" }}}}',
                node.offset,
            )
        if self.includes == _DEEPEST_INCLUDE:
            self.fail(
                f"cannot include templates deeper than {_DEEPEST_INCLUDE} levels; does it include itself?", node.offset
            )
        value = None if node.pipe is None else self.pipe(node.pipe, dot)
        outer, self.variables = self.variables, [("$", value)]
        self.includes += 1
        self.walk(body, value)
        self.includes -= 1
        self.variables = outer

    def pipe(self, pipe: n.Pipe, dot: Any) -> Any:
        value: Any = _NOTHING
        for command in pipe.commands:
            value = self.command(command, dot, value)
        if len(pipe.variables) == 1:
            self.assign(pipe.variables[0], value, declares=pipe.declares)
        return value

    def command(self, command: n.Command, dot: Any, final: Any) -> Any:
        self.step(command.offset)
        first, *rest = command.operands
        if isinstance(first, n.Function):
            return self.call(first, rest, dot, final)
        if rest or final is not _NOTHING:
            self.fail("cannot give arguments to a value: only functions take them", first.offset)
        if isinstance(first, n.Literal) and first.value is None:
            self.fail("cannot write nil: it is no value", first.offset)
        return self.operand(first, dot)

    def call(self, function: n.Function, operands: list[n.Operand], dot: Any, final: Any) -> Any:
        if function.name in ("and", "or"):
            return self.logical(function, operands, dot, final)
        values = [self.operand(operand, dot) for operand in operands]
        if final is not _NOTHING:
            values.append(final)
        try:
            self.step(function.offset, TABLE[function.name].cost(values))
            result = TABLE[function.name].call(values, self.root)
        except Refused as error:
            self.fail(f"cannot call {function.name}: {error}", function.offset)
        if isinstance(result, str | list) and len(result) > MOST_OUTPUT:
            self.fail(f"cannot hold more than {MOST_OUTPUT} characters", function.offset)
        self.step(function.offset, data_cost([result]))
        return result

    def logical(self, function: n.Function, operands: list[n.Operand], dot: Any, final: Any) -> Any:
        """`and` and `or` stop at the first value that decides."""
        value: Any = _NOTHING
        for operand in operands:
            value = self.operand(operand, dot)
            if bool(value) == (function.name == "or"):
                return value
        value = final if final is not _NOTHING else value
        if value is _NOTHING:
            self.fail(f"cannot call {function.name} without arguments", function.offset)
        return value

    def operand(self, operand: n.Operand, dot: Any) -> Any:
        match operand:
            case n.Literal():
                return operand.value
            case n.Field():
                return self.fields(dot, operand.names, operand.offset)
            case n.Variable():
                return self.fields(self.variable(operand.name), operand.names, operand.offset)
            case n.Chain():
                return self.fields(self.pipe(operand.inner, dot), operand.names, operand.offset)
            case n.Pipe():
                return self.pipe(operand, dot)
            case n.Function():
                return self.call(operand, [], dot, _NOTHING)

    def fields(self, value: Any, names: tuple[str, ...], offset: int) -> Any:
        for name in names:
            if not isinstance(value, dict):
                self.fail(f"cannot look up .{name} in {type_name(value)}: only the environment has names", offset)
            value = value.get(name, "")  # ContainerPilot: a variable that is not set is empty
        return value

    def variable(self, name: str) -> Any:
        return next(value for known, value in reversed(self.variables) if known == name)

    def assign(self, name: str, value: Any, *, declares: bool) -> None:
        if declares:
            self.variables.append((name, value))
            return
        at = next(i for i in reversed(range(len(self.variables))) if self.variables[i][0] == name)
        self.variables[at] = (name, value)

    def write(self, text: str, offset: int, *, made: bool) -> None:
        if not text:
            return
        self.pieces.append(Piece(self.length, offset, made))
        self.output.append(text)
        self.length += len(text)
        if self.length > MOST_OUTPUT:
            self.fail(f"cannot write more than {MOST_OUTPUT} characters", offset)

    def step(self, offset: int, cost: int = 1) -> None:
        self.steps += cost
        if self.steps > MOST_STEPS:
            self.fail(f"cannot take more than {MOST_STEPS} steps; are the loops too long?", offset)

    def fail(self, message: str, offset: int) -> NoReturn:
        raise TemplateError(message, offset)


def _items(value: list[Any] | dict[str, str]) -> Iterator[tuple[Any, Any]]:
    return iter(sorted(value.items())) if isinstance(value, dict) else enumerate(value)
