"""Render a template over environment variables."""

from __future__ import annotations

from collections.abc import Mapping

from autopilot.spec.gotemplate.rendered_template import Piece, RenderedTemplate


def render_template(template: str, env: Mapping[str, str]) -> RenderedTemplate:
    """Render a template; text without `{{` is returned unchanged and never loads the engine.

    Args:
        template: The text as written.
        env: The variables that the template sees.

    Returns:
        The rendered text with the origin of each of its pieces.

    Raises:
        TemplateError: The template is wrong or exceeds a bound. No other exception leaves the engine.
    """
    if "{{" not in template:
        return RenderedTemplate(template, template, (Piece(0, 0, generated=False),))
    from autopilot.spec.gotemplate.evaluator import evaluate
    from autopilot.spec.gotemplate.parser import parse

    text, pieces = evaluate(parse(template), env)
    return RenderedTemplate(template, text, pieces)
