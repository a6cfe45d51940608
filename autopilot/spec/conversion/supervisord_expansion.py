"""Expand supervisord's expressions such as %(ENV_HOME)s: the environment and the loop become template actions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from autopilot.spec.conversion.template_holes import Holes

LOOP_VARIABLE = "$i"

_EXPRESSION = re.compile(r"%%|%\((?P<name>[^()]+)\)(?P<format>[-#0 +]*[0-9]*(?:\.[0-9]+)?[sdif])")
_VARIABLE = re.compile(r"[^\s\"\\{}]+")
_GO_FIELD = re.compile(r"[A-Za-z_]\w*")


@dataclass(slots=True)
class Expander:
    """Expands the values of one program.

    Attributes:
        holes: Gets the template actions.
        values: The names that are known now, such as program_name.
        variables: Gets the names of the environment variables that occur.
        in_loop: True inside of a template's `range`, where the dot is another value.
        unknown: Gets the expressions that supervisord does not have.
    """

    holes: Holes
    values: Mapping[str, str]
    variables: dict[str, None]
    in_loop: bool = False
    unknown: list[str] = field(default_factory=list)

    def expand(self, text: str) -> str:
        """Return a value with its expressions expanded; those that only the container knows are holes."""
        return _EXPRESSION.sub(self._expand_expression, text)

    def _expand_expression(self, match: re.Match[str]) -> str:
        name, form = match["name"], match["format"]
        if name is None:
            return "%"
        variable = "HOSTNAME" if name == "host_node_name" else name.removeprefix("ENV_")
        if variable != name and _VARIABLE.fullmatch(variable):
            self.variables[variable] = None
            return self.holes.add(f"{{{{ {self.build_operand(variable)} }}}}")
        if name == "process_num" and name not in self.values:
            return self.holes.add(
                f"{{{{ {LOOP_VARIABLE} }}}}" if form in "sd" else f'{{{{ printf "%{form}" {LOOP_VARIABLE} }}}}'
            )
        if name in self.values:
            return self._format(self.values[name], form)
        self.unknown.append(match[0])
        return match[0]

    def build_operand(self, variable: str) -> str:
        """Return the part of a template action that reads an environment variable."""
        if not _GO_FIELD.fullmatch(variable):
            return f'env "{variable}"'
        return f"$.{variable}" if self.in_loop else f".{variable}"

    def _format(self, value: str, form: str) -> str:
        if form[-1] == "s" or not re.fullmatch(r"-?[0-9]{1,18}", value) or len(form) > 6:
            return value
        return f"%{form}" % int(value)


def find_operand(text: str) -> str | None:
    """Return the operand of a text that is one template action and nothing else, in parentheses if it needs them."""
    match = re.fullmatch(r"\{\{ ([^{}]+) \}\}", text)
    if match is None:
        return None
    return f"({match[1]})" if " " in match[1] else match[1]
