"""Evaluate a template's tree to text, and record the origin of each piece of the text.

Theory of operation: one `_Evaluation` serves one rendering. It has a stack of variables, a list of output pieces and a
budget of steps, which keeps nested loops finite. `functions.FUNCTIONS` looks up functions and checks their arguments.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from autopilot.spec.gotemplate import nodes as n
from autopilot.spec.gotemplate.formatting import format_value, get_type_name
from autopilot.spec.gotemplate.functions import FUNCTIONS, FunctionCallError, estimate_data_cost
from autopilot.spec.gotemplate.rendered_template import Piece, TemplateError

MAX_STEPS = 200_000
MAX_OUTPUT_CHARS = 1 << 20
_MAX_INCLUDE_DEPTH = 50
_NO_VALUE = object()  # the pipe passes no value on


def evaluate(template: n.Template, env: Mapping[str, str]) -> tuple[str, tuple[Piece, ...]]:
    """Return the text of a template over an environment, and its pieces; raise TemplateError."""
    evaluation = _Evaluation(template, dict(env))
    evaluation.walk(template.main, evaluation.root)
    return "".join(evaluation.output), tuple(evaluation.pieces)


class _Evaluation:
    def __init__(self, template: n.Template, env: dict[str, str]) -> None:
        self.template = template
        self.root = env
        self.output: list[str] = []
        self.pieces: list[Piece] = []
        self.output_length = 0
        self.steps = 0
        self.include_depth = 0
        self.variables: list[tuple[str, Any]] = [("$", env)]

    def walk(self, nodes: list[n.Node], dot: Any) -> str:
        """Evaluate nodes; return "break" or "continue" when one of these ended them early, else ""."""
        for node in nodes:
            self.count_steps(node.offset)
            match node:
                case n.Text():
                    self.write(node.value, node.offset, generated=False)
                case n.Action():
                    value = self.evaluate_pipe(node.pipe, dot)
                    if not node.pipe.variables:
                        self.write(format_value(value), node.offset, generated=True)
                case n.Jump():
                    return node.kind
                case n.Include():
                    self.evaluate_include(node, dot)
                case n.Branch():
                    jump = self.evaluate_branch(node, dot)
                    if jump:
                        return jump
        return ""

    def evaluate_branch(self, node: n.Branch, dot: Any) -> str:
        mark = len(self.variables)
        value = self.evaluate_pipe(node.pipe, dot)
        if node.kind == "range":
            jump = self.evaluate_range(node, value, dot)
        elif value:  # Go's truth is Python's: empty, zero and nil are false
            jump = self.walk(node.body, value if node.kind == "with" else dot)
        else:
            jump = self.walk(node.else_body, dot)
        del self.variables[mark:]
        return jump

    def evaluate_range(self, node: n.Branch, value: Any, dot: Any) -> str:
        if not isinstance(value, list | dict):
            self.fail(
                f"cannot range over {get_type_name(value)}; a list is needed, as from split or loop", node.pipe.offset
            )
        if not value:
            return self.walk(node.else_body, dot)
        for key, item in _iterate_items(value):
            self.count_steps(node.offset)
            mark = len(self.variables)
            names = node.pipe.variables
            loop_values = (key, item) if len(names) == 2 else (item,)
            for name, loop_value in zip(names, loop_values, strict=False):
                self.set_variable(name, loop_value, declares=node.pipe.declares)
            jump = self.walk(node.body, item)
            del self.variables[mark:]
            if jump == "break":
                break
        return ""

    def evaluate_include(self, node: n.Include, dot: Any) -> None:
        body = self.template.definitions.get(node.name)
        if body is None:
            self.fail(
                f'cannot use template "{node.name}": it is not defined; write {{{{ define "{node.name}" }}}}',
                node.offset,
            )
        if self.include_depth == _MAX_INCLUDE_DEPTH:
            self.fail(
                f"cannot include templates deeper than {_MAX_INCLUDE_DEPTH} levels; does it include itself?",
                node.offset,
            )
        value = None if node.pipe is None else self.evaluate_pipe(node.pipe, dot)
        outer, self.variables = self.variables, [("$", value)]
        self.include_depth += 1
        self.walk(body, value)
        self.include_depth -= 1
        self.variables = outer

    def evaluate_pipe(self, pipe: n.Pipe, dot: Any) -> Any:
        value: Any = _NO_VALUE
        for command in pipe.commands:
            value = self.evaluate_command(command, dot, value)
        if len(pipe.variables) == 1:
            self.set_variable(pipe.variables[0], value, declares=pipe.declares)
        return value

    def evaluate_command(self, command: n.Command, dot: Any, piped_value: Any) -> Any:
        self.count_steps(command.offset)
        first, *rest = command.operands
        if isinstance(first, n.Function):
            return self.call_function(first, rest, dot, piped_value)
        if rest or piped_value is not _NO_VALUE:
            self.fail("cannot give arguments to a value: only functions take them", first.offset)
        if isinstance(first, n.Literal) and first.value is None:
            self.fail("cannot write nil: it is no value", first.offset)
        return self.evaluate_operand(first, dot)

    def call_function(self, function: n.Function, operands: list[n.Operand], dot: Any, piped_value: Any) -> Any:
        if function.name in ("and", "or"):
            return self.evaluate_logical(function, operands, dot, piped_value)
        values = [self.evaluate_operand(operand, dot) for operand in operands]
        if piped_value is not _NO_VALUE:
            values.append(piped_value)
        try:
            self.count_steps(function.offset, FUNCTIONS[function.name].estimate_cost(values))
            result = FUNCTIONS[function.name].call(values, self.root)
        except FunctionCallError as error:
            self.fail(f"cannot call {function.name}: {error}", function.offset)
        if isinstance(result, str | list) and len(result) > MAX_OUTPUT_CHARS:
            self.fail(f"cannot make a value of more than {MAX_OUTPUT_CHARS} characters", function.offset)
        self.count_steps(function.offset, estimate_data_cost([result]))
        return result

    def evaluate_logical(self, function: n.Function, operands: list[n.Operand], dot: Any, piped_value: Any) -> Any:
        """Evaluate `and` or `or` up to the first value that decides."""
        value: Any = _NO_VALUE
        for operand in operands:
            value = self.evaluate_operand(operand, dot)
            if bool(value) == (function.name == "or"):
                return value
        value = piped_value if piped_value is not _NO_VALUE else value
        if value is _NO_VALUE:
            self.fail(f"cannot call {function.name} without arguments", function.offset)
        return value

    def evaluate_operand(self, operand: n.Operand, dot: Any) -> Any:
        match operand:
            case n.Literal():
                return operand.value
            case n.Field():
                return self.resolve_fields(dot, operand.names, operand.offset)
            case n.Variable():
                return self.resolve_fields(self.find_variable(operand.name), operand.names, operand.offset)
            case n.Chain():
                return self.resolve_fields(self.evaluate_pipe(operand.inner, dot), operand.names, operand.offset)
            case n.Pipe():
                return self.evaluate_pipe(operand, dot)
            case n.Function():
                return self.call_function(operand, [], dot, _NO_VALUE)

    def resolve_fields(self, value: Any, names: tuple[str, ...], offset: int) -> Any:
        for name in names:
            if not isinstance(value, dict):
                self.fail(f"cannot look up .{name} in {get_type_name(value)}: only the environment has names", offset)
            value = value.get(name, "")  # as in ContainerPilot, a variable that is not set is empty
        return value

    def find_variable(self, name: str) -> Any:
        return next(value for other, value in reversed(self.variables) if other == name)

    def set_variable(self, name: str, value: Any, *, declares: bool) -> None:
        if declares:
            self.variables.append((name, value))
            return
        index = next(i for i in reversed(range(len(self.variables))) if self.variables[i][0] == name)
        self.variables[index] = (name, value)

    def write(self, text: str, offset: int, *, generated: bool) -> None:
        if not text:
            return
        self.pieces.append(Piece(self.output_length, offset, generated))
        self.output.append(text)
        self.output_length += len(text)
        if self.output_length > MAX_OUTPUT_CHARS:
            self.fail(f"cannot write more than {MAX_OUTPUT_CHARS} characters", offset)

    def count_steps(self, offset: int, cost: int = 1) -> None:
        self.steps += cost
        if self.steps > MAX_STEPS:
            self.fail(f"cannot take more than {MAX_STEPS} steps; are the loops too long?", offset)

    def fail(self, message: str, offset: int) -> NoReturn:
        raise TemplateError(message, offset)


def _iterate_items(value: list[Any] | dict[str, str]) -> Iterator[tuple[Any, Any]]:
    return iter(sorted(value.items())) if isinstance(value, dict) else enumerate(value)
