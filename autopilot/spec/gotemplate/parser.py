"""Parse tokens into a tree by Go's rules; undefined names are found here, before anything is evaluated."""

from __future__ import annotations

from typing import NoReturn

from autopilot.spec.gotemplate import literals
from autopilot.spec.gotemplate import nodes as n
from autopilot.spec.gotemplate.functions import FUNCTION_NAMES
from autopilot.spec.gotemplate.lexer import Token, list_tokens
from autopilot.spec.gotemplate.rendered_template import TemplateError

MAX_DEPTH = 60  # nested blocks and parentheses
_BLOCKS = ("if", "with", "range")
_KEYWORDS = {*_BLOCKS, "else", "end", "define", "block", "template", "break", "continue"}


def parse(template: str) -> n.Template:
    """Return the tree of a template; raise TemplateError for a wrong one."""
    return _Parser(template).parse_template()


class _Parser:
    def __init__(self, template: str) -> None:
        self.tokens = list_tokens(template)
        self.position = 0
        self.scope = ["$"]
        self.loop_depth = 0
        self.depth = 0
        self.definitions: dict[str, list[n.Node]] = {}

    def parse_template(self) -> n.Template:
        main, stopped_at = self.parse_nodes()
        if stopped_at.kind != "end":
            self.fail(f"cannot stand here: {{{{ {stopped_at.value} }}}} closes nothing; remove it", stopped_at)
        return n.Template(main, self.definitions)

    def parse_nodes(self) -> tuple[list[n.Node], Token]:
        """Parse nodes up to {{ else }}, {{ end }} or the end; return them and that token, which is consumed."""
        nodes: list[n.Node] = []
        while True:
            token = self.read_token()
            if token.kind == "end":
                return nodes, token
            if token.kind == "text":
                nodes.append(n.Text(token.offset, token.value))
                continue
            word = self.peek()
            if word.kind == "word" and word.value in ("else", "end"):
                return nodes, self.read_token()
            node = self.parse_action(token)
            if node is not None:
                nodes.append(node)

    def parse_action(self, opening: Token) -> n.Node | None:
        word = self.peek()
        keyword = word.value if word.kind == "word" and word.value in _KEYWORDS else None
        if keyword is None:
            node = n.Action(opening.offset, self.parse_pipe("}}", max_declared=1))
            return node
        self.read_token()
        if keyword in _BLOCKS:
            return self.parse_branch(opening, keyword)
        if keyword in ("break", "continue"):
            if not self.loop_depth:
                self.fail(f"cannot {keyword} outside of a range", word)
            self.expect_close()
            return n.Jump(opening.offset, keyword)
        if keyword == "template":
            return self.parse_include(opening)
        return self.parse_definition(opening, keyword)

    def parse_branch(self, opening: Token, kind: str) -> n.Branch:
        self.enter_block(opening)
        mark, loops = len(self.scope), self.loop_depth
        pipe = self.parse_pipe("}}", max_declared=2 if kind == "range" else 1)
        self.loop_depth += kind == "range"
        body, stop = self.parse_nodes()
        self.loop_depth = loops
        node = n.Branch(opening.offset, kind, pipe, body)
        if stop.value == "else" and self.peek().value == "if" and kind == "if":
            self.read_token()
            node.else_body = [self.parse_branch(opening, "if")]
        elif stop.value == "else":
            self.expect_close()
            node.else_body, stop = self.parse_nodes()
            self.expect_end(stop, opening, kind)
        else:
            self.expect_end(stop, opening, kind)
        del self.scope[mark:]
        self.depth -= 1
        return node

    def expect_end(self, stop: Token, opening: Token, kind: str) -> None:
        if stop.kind == "end":
            self.fail(f"cannot find the end of this {{{{ {kind} }}}}; close it with {{{{ end }}}}", opening)
        if stop.value == "else":
            self.fail(
                f"cannot have a second {{{{ else }}}} in one {{{{ {kind} }}}}; close the block with {{{{ end }}}}", stop
            )
        self.expect_close()

    def parse_include(self, opening: Token) -> n.Include:
        name = self.parse_name("template")
        pipe = None if self.peek().kind == "close" else self.parse_pipe("}}")
        if pipe is None:
            self.expect_close()
        return n.Include(opening.offset, name, pipe)

    def parse_definition(self, opening: Token, kind: str) -> n.Include | None:
        """Parse {{ define "x" }}...{{ end }}, or {{ block "x" . }}, which also includes the template."""
        if kind == "define" and self.depth:
            self.fail("cannot define a template inside of a block; move it to the top level", opening)
        self.enter_block(opening)
        name = self.parse_name(kind)
        pipe = self.parse_pipe("}}") if kind == "block" else None
        if pipe is None:
            self.expect_close()
        outer, loops, self.scope, self.loop_depth = self.scope, self.loop_depth, ["$"], 0
        self.definitions[name], stop = self.parse_nodes()
        self.scope, self.loop_depth = outer, loops
        self.expect_end(stop, opening, kind)
        self.depth -= 1
        return n.Include(opening.offset, name, pipe) if kind == "block" else None

    def parse_name(self, kind: str) -> str:
        token = self.read_token()
        if token.kind not in ("string", "raw"):
            self.fail(f'cannot be used without a name: write {{{{ {kind} "NAME" }}}}', token)
        return str(literals.parse_literal(token.kind, token.value, token.offset))

    def parse_pipe(self, closing: str, max_declared: int = 0) -> n.Pipe:
        """Parse a pipeline up to `}}` or `)`, which is consumed."""
        start = self.peek()
        variables, declared = self.parse_assignment(max_declared)
        pipe = n.Pipe(start.offset, [], variables, declared)
        while True:
            pipe.commands.append(self.parse_command(start))
            token = self.read_token()
            if token.value == "|" and token.kind == "punctuation":
                continue
            if token.value != closing:
                self.fail(
                    f'cannot stand here: "{token.value}"; expected "{closing}"', token if token.kind != "end" else start
                )
            break
        for later in pipe.commands[1:]:
            if isinstance(later.operands[0], n.Literal | n.Pipe):
                raise TemplateError(
                    "cannot take a value from the pipe: only a function can; put one after the |", later.offset
                )
        self.scope += variables if declared else ()
        return pipe

    def parse_assignment(self, max_names: int) -> tuple[tuple[str, ...], bool]:
        names: list[str] = []
        mark = self.position
        while len(names) < max_names and self.peek().kind == "variable":
            names.append(self.read_token().value)
            sign = self.read_token()
            if sign.kind == "declare" or sign.value == "=":
                if sign.value == "=":
                    self.require_defined(names, sign)
                return tuple(names), sign.kind == "declare"
            if sign.value != ",":
                break
        self.position = mark
        return (), False

    def require_defined(self, names: list[str], token: Token) -> None:
        for name in names:
            if name not in self.scope:
                self.fail(f"cannot use {name}: no such variable; set it first with {name} := VALUE", token)

    def parse_command(self, start: Token) -> n.Command:
        first = self.peek()
        operands: list[n.Operand] = []
        while (operand := self.parse_operand()) is not None:
            operands.append(operand)
        if not operands:
            place = first if first.kind != "end" else start
            self.fail("cannot be empty: a value is missing here; write a name, a string or a number", place)
        return n.Command(first.offset, operands)

    def parse_operand(self) -> n.Operand | None:
        token = self.peek()
        match token.kind:
            case "string" | "raw" | "char" | "number":
                self.read_token()
                return n.Literal(token.offset, literals.parse_literal(token.kind, token.value, token.offset))
            case "dot":
                self.read_token()
                return n.Field(token.offset, ())
            case "field":
                return n.Field(token.offset, self.parse_fields(first=True))
            case "variable":
                self.read_token()
                self.require_defined([token.value], token)
                return n.Variable(token.offset, token.value, self.parse_fields())
            case "word":
                return self.parse_word(self.read_token())
        return self.parse_parenthesis() if token.value == "(" else None

    def parse_parenthesis(self) -> n.Operand:
        token = self.read_token()
        self.enter_block(token)
        inner = self.parse_pipe(")")
        self.depth -= 1
        names = self.parse_fields()
        return n.Chain(token.offset, inner, names) if names else inner

    def parse_word(self, token: Token) -> n.Operand:
        if token.value in ("true", "false", "nil"):
            return n.Literal(token.offset, {"true": True, "false": False, "nil": None}[token.value])
        if token.value not in FUNCTION_NAMES:
            self.fail(
                f'cannot call "{token.value}": no such function; there are {", ".join(sorted(FUNCTION_NAMES))}', token
            )
        return n.Function(token.offset, token.value)

    def parse_fields(self, *, first: bool = False) -> tuple[str, ...]:
        names: list[str] = []
        while self.peek().kind == "field" and (self.peek().touches_previous or (first and not names)):
            names.append(self.read_token().value[1:])
        return tuple(names)

    def enter_block(self, token: Token) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            self.fail(f"cannot be nested deeper than {MAX_DEPTH} levels", token)

    def expect_close(self) -> None:
        token = self.read_token()
        if token.kind != "close":
            self.fail(f'cannot stand here: "{token.value}"; expected "}}}}"', token)

    def peek(self) -> Token:
        return self.tokens[self.position]

    def read_token(self) -> Token:
        token = self.tokens[self.position]
        self.position = min(self.position + 1, len(self.tokens) - 1)
        return token

    def fail(self, message: str, token: Token) -> NoReturn:
        raise TemplateError(message, token.offset)
