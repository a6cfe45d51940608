"""Tokens to a tree, with Go's rules: what is undefined is found here, before anything runs."""

from __future__ import annotations

from typing import NoReturn

from autopilot.spec.gotemplate import literals
from autopilot.spec.gotemplate import nodes as n
from autopilot.spec.gotemplate.functions import KNOWN
from autopilot.spec.gotemplate.lexer import Token, tokens
from autopilot.spec.rendering import TemplateError

DEEPEST = 60  # nested blocks and parentheses
_BLOCKS = ("if", "with", "range")
_KEYWORDS = {*_BLOCKS, "else", "end", "define", "block", "template", "break", "continue"}


def parse(template: str) -> n.Template:
    return _Parser(template).whole()


class _Parser:
    def __init__(self, template: str) -> None:
        self.tokens = tokens(template)
        self.at = 0
        self.scope = ["$"]
        self.loops = 0
        self.depth = 0
        self.defined: dict[str, list[n.Node]] = {}

    def whole(self) -> n.Template:
        main, stopped_at = self.nodes()
        if stopped_at.kind != "end":
            self.fail(f"cannot stand here: {{{{ {stopped_at.value} }}}} closes nothing; remove it", stopped_at)
        return n.Template(main, self.defined)

    def nodes(self) -> tuple[list[n.Node], Token]:
        """Nodes up to {{ else }}, {{ end }} or the end of all, and the token that stopped them, which is consumed."""
        found: list[n.Node] = []
        while True:
            token = self.next()
            if token.kind == "end":
                return found, token
            if token.kind == "text":
                found.append(n.Text(token.offset, token.value))
                continue
            word = self.peek()
            if word.kind == "word" and word.value in ("else", "end"):
                return found, self.next()
            node = self.action(token)
            if node is not None:
                found.append(node)

    def action(self, opening: Token) -> n.Node | None:
        word = self.peek()
        keyword = word.value if word.kind == "word" and word.value in _KEYWORDS else None
        if keyword is None:
            node = n.Action(opening.offset, self.pipe("}}", declares=1))
            return node
        self.next()
        if keyword in _BLOCKS:
            return self.branch(opening, keyword)
        if keyword in ("break", "continue"):
            if not self.loops:
                self.fail(f"cannot {keyword} outside of a range", word)
            self.close()
            return n.Jump(opening.offset, keyword)
        if keyword == "template":
            return self.include(opening)
        return self.definition(opening, keyword)

    def branch(self, opening: Token, kind: str) -> n.Branch:
        self.enter(opening)
        mark, loops = len(self.scope), self.loops
        pipe = self.pipe("}}", declares=2 if kind == "range" else 1)
        self.loops += kind == "range"
        body, stop = self.nodes()
        self.loops = loops
        node = n.Branch(opening.offset, kind, pipe, body)
        if stop.value == "else" and self.peek().value == "if" and kind == "if":
            self.next()
            node.otherwise = [self.branch(opening, "if")]
        elif stop.value == "else":
            self.close()
            node.otherwise, stop = self.nodes()
            self.end(stop, opening, kind)
        else:
            self.end(stop, opening, kind)
        del self.scope[mark:]
        self.depth -= 1
        return node

    def end(self, stop: Token, opening: Token, kind: str) -> None:
        if stop.kind == "end":
            self.fail(f"cannot find the end of this {{{{ {kind} }}}}; close it with {{{{ end }}}}", opening)
        if stop.value == "else":
            self.fail(
                f"cannot have a second {{{{ else }}}} in one {{{{ {kind} }}}}; close the block with {{{{ end }}}}", stop
            )
        self.close()

    def include(self, opening: Token) -> n.Include:
        name = self.name("template")
        pipe = None if self.peek().kind == "close" else self.pipe("}}")
        if pipe is None:
            self.close()
        return n.Include(opening.offset, name, pipe)

    def definition(self, opening: Token, kind: str) -> n.Include | None:
        """{{ define "x" }}...{{ end }}; {{ block "x" . }} is that and its use in one."""
        if kind == "define" and self.depth:
            self.fail("cannot define a template inside of a block; move it to the top level", opening)
        self.enter(opening)
        name = self.name(kind)
        pipe = self.pipe("}}") if kind == "block" else None
        if pipe is None:
            self.close()
        outer, loops, self.scope, self.loops = self.scope, self.loops, ["$"], 0
        self.defined[name], stop = self.nodes()
        self.scope, self.loops = outer, loops
        self.end(stop, opening, kind)
        self.depth -= 1
        return n.Include(opening.offset, name, pipe) if kind == "block" else None

    def name(self, kind: str) -> str:
        token = self.next()
        if token.kind not in ("string", "raw"):
            self.fail(f'cannot be used without a name: write {{{{ {kind} "NAME" }}}}', token)
        return str(literals.value(token.kind, token.value, token.offset))

    def pipe(self, closing: str, declares: int = 0) -> n.Pipe:
        """A pipeline up to `}}` or `)`, which is consumed."""
        start = self.peek()
        variables, declared = self.assignment(declares)
        pipe = n.Pipe(start.offset, [], variables, declared)
        while True:
            pipe.commands.append(self.command(start))
            token = self.next()
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

    def assignment(self, most: int) -> tuple[tuple[str, ...], bool]:
        names: list[str] = []
        mark = self.at
        while len(names) < most and self.peek().kind == "variable":
            names.append(self.next().value)
            sign = self.next()
            if sign.kind == "declare" or sign.value == "=":
                if sign.value == "=":
                    self.defined_variable(names, sign)
                return tuple(names), sign.kind == "declare"
            if sign.value != ",":
                break
        self.at = mark
        return (), False

    def defined_variable(self, names: list[str], token: Token) -> None:
        for name in names:
            if name not in self.scope:
                self.fail(f"cannot use {name}: no such variable; set it first with {name} := VALUE", token)

    def command(self, start: Token) -> n.Command:
        first = self.peek()
        operands: list[n.Operand] = []
        while (operand := self.operand()) is not None:
            operands.append(operand)
        if not operands:
            where = first if first.kind != "end" else start
            self.fail("cannot be empty: a value is missing here; write a name, a string or a number", where)
        return n.Command(first.offset, operands)

    def operand(self) -> n.Operand | None:
        token = self.peek()
        match token.kind:
            case "string" | "raw" | "char" | "number":
                self.next()
                return n.Literal(token.offset, literals.value(token.kind, token.value, token.offset))
            case "dot":
                self.next()
                return n.Field(token.offset, ())
            case "field":
                return n.Field(token.offset, self.fields(first=True))
            case "variable":
                self.next()
                self.defined_variable([token.value], token)
                return n.Variable(token.offset, token.value, self.fields())
            case "word":
                return self.word(self.next())
        return self.parenthesis() if token.value == "(" else None

    def parenthesis(self) -> n.Operand:
        token = self.next()
        self.enter(token)
        inner = self.pipe(")")
        self.depth -= 1
        names = self.fields()
        return n.Chain(token.offset, inner, names) if names else inner

    def word(self, token: Token) -> n.Operand:
        if token.value in ("true", "false", "nil"):
            return n.Literal(token.offset, {"true": True, "false": False, "nil": None}[token.value])
        if token.value not in KNOWN:
            self.fail(f'cannot call "{token.value}": no such function; there are {", ".join(sorted(KNOWN))}', token)
        return n.Function(token.offset, token.value)

    def fields(self, *, first: bool = False) -> tuple[str, ...]:
        names: list[str] = []
        while self.peek().kind == "field" and (self.peek().touches or (first and not names)):
            names.append(self.next().value[1:])
        return tuple(names)

    def enter(self, token: Token) -> None:
        self.depth += 1
        if self.depth > DEEPEST:
            self.fail(f"cannot be nested deeper than {DEEPEST} levels", token)

    def close(self) -> None:
        token = self.next()
        if token.kind != "close":
            self.fail(f'cannot stand here: "{token.value}"; expected "}}}}"', token)

    def peek(self) -> Token:
        return self.tokens[self.at]

    def next(self) -> Token:
        token = self.tokens[self.at]
        self.at = min(self.at + 1, len(self.tokens) - 1)
        return token

    def fail(self, message: str, token: Token) -> NoReturn:
        raise TemplateError(message, token.offset)
