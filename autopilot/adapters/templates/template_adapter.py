"""Keep rendered files up to date: render again after each change in Consul, write the files that differ, report them.

After any failure the existing file stays: a template that cannot be rendered, a missing key, an unreachable Consul.
Templates that use nothing of Consul are written before the first job starts.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autopilot.adapters.condition_reporter import ConditionReporter
from autopilot.errors import AutopilotError
from autopilot.machines import cues
from autopilot.process.user_identity import resolve
from autopilot.spec.plan import Template

if TYPE_CHECKING:
    from autopilot.adapters.templates.template_rendering import Dependency


class TemplateSetupError(AutopilotError):
    """Templates cannot be used; the message has the remedy."""


class TemplateAdapter:
    """The templates of the plan and the values of Consul that they use."""

    def __init__(
        self,
        plan: tuple[Template, ...],
        *,
        env: Mapping[str, str],
        report: Callable[[cues.Cue], None],
        on_written: Callable[[Template], None],
        subscribe: Callable[[Dependency], None],
    ) -> None:
        """Prepare; `render_all` writes the files.

        Args:
            plan: The templates.
            env: The environment that templates see.
            report: Takes the cues.
            on_written: Called after a file has changed.
            subscribe: Called once for each value of Consul that a template uses; the answers, the current value and
                each later one, come to `update_value`.

        Raises:
            TemplateSetupError: Jinja2 is not installed.
        """
        if find_spec("jinja2") is None:
            remedy = "pip install condor-autopilot[templates]"
            raise TemplateSetupError(f"templates: cannot be used: not installed: jinja2 ({remedy})")
        self._plan, self._env, self._report = plan, env, report
        self._on_written, self._subscribe = on_written, subscribe
        self._conditions = ConditionReporter(report)
        self._known_values: dict[Dependency, Any] = {}
        self._subscribed: set[Dependency] = set()

    def apply_plan(self, plan: tuple[Template, ...], *, consul_changed: bool) -> None:
        """Render these templates from now on; files of removed templates stay.

        `consul_changed` says that another Consul has the values, so that they are subscribed to again.
        """
        if consul_changed:
            self._known_values.clear()
            self._subscribed.clear()
        destinations = {template.destination for template in plan}
        for template in self._plan:
            if template.destination not in destinations:
                self._conditions.clear_condition(_build_condition_kind(template))
        self._plan = plan
        self.render_all()

    def render_all(self) -> None:
        """Render every template; those that use unknown values of Consul follow when the values arrive."""
        for template in self._plan:
            self._render_template(template)

    def update_value(self, dependency: Dependency, value: Any) -> None:
        """Take a value of Consul and render every template."""
        self._known_values[dependency] = value
        self.render_all()

    def _render_template(self, template: Template) -> None:
        from autopilot.adapters.templates.template_rendering import DependencyPendingError, RenderError, render

        try:
            text = render(Path(template.source).read_text(encoding="utf-8"), self._env, self._known_values)
            changed = write_rendered_file(template, text.encode(errors="surrogateescape"))
        except DependencyPendingError as pending:
            if pending.dependency not in self._subscribed:
                self._subscribed.add(pending.dependency)
                self._subscribe(pending.dependency)
            return
        except (RenderError, UnicodeError, LookupError) as error:
            self._raise_condition(template, f"cannot render {template.source}: {error}")
            return
        except OSError as error:
            self._raise_condition(template, f"cannot render {template.source} to {template.destination}: {error}")
            return
        self._conditions.clear_condition(_build_condition_kind(template))
        if changed:
            self._report(cues.TemplateWritten(template.destination, template.reload, template.restart))
            self._on_written(template)

    def _raise_condition(self, template: Template, problem: str) -> None:
        message = f"{problem}; the existing file stays as it is"
        self._conditions.raise_condition(_build_condition_kind(template), message)


def _build_condition_kind(template: Template) -> str:
    return f"template-{template.destination}"


def write_rendered_file(template: Template, data: bytes) -> bool:
    """Replace the destination file as a whole, with its mode and owner, by a rename.

    Returns:
        True if the content has changed.

    Raises:
        OSError: The file cannot be written.
        LookupError: The user or the group does not exist.
    """
    path = Path(template.destination)
    owner = resolve(template.user, template.group)
    is_same = path.exists() and path.read_bytes() == data
    if is_same:
        status = path.stat()
        is_owned = owner is None or (status.st_uid, status.st_gid) == (owner.uid, owner.gid)
        if is_owned and stat.S_IMODE(status.st_mode) == template.mode:
            return False
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.autopilot")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:
        file.write(data)
        if owner is not None:
            os.fchown(descriptor, owner.uid, owner.gid)
        os.fchmod(descriptor, template.mode)
    os.replace(temporary, path)
    return not is_same
