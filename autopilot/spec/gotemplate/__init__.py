"""Go's text/template over the environment, as ContainerPilot's configuration files use it.

lexer -> parser -> evaluator, each a plain function of what comes before it; no code is ever generated or evaluated by
Python. Everything is bounded: steps, output, nesting, loops, and what a regular expression may cost.
"""

from __future__ import annotations

from collections.abc import Mapping

from autopilot.spec.gotemplate.evaluator import evaluate
from autopilot.spec.gotemplate.parser import parse
from autopilot.spec.spec_rendering import RenderedTemplate


def render(template: str, env: Mapping[str, str]) -> RenderedTemplate:
    """Render the template. Raises TemplateError, and nothing else, for whatever is wrong with it."""
    text, pieces = evaluate(parse(template), env)
    return RenderedTemplate(template, text, pieces)
