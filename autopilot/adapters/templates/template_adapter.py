"""Keeps rendered files up to date: told what Consul says, it renders again, writes what changed, and reports it.

Whatever goes wrong, the file that is there stays: a template that cannot be rendered, a key that is missing, a Consul
that is away. What needs nothing from Consul is written before the first job starts.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autopilot.machines import cues
from autopilot.process.user_identity import resolve
from autopilot.spec.plan import Template

if TYPE_CHECKING:
    from autopilot.adapters.templates.template_rendering import Dependency


class TemplateSetupError(Exception):
    pass


class TemplateAdapter:
    def __init__(
        self,
        plan: tuple[Template, ...],
        *,
        env: Mapping[str, str],
        report: Callable[[cues.Cue], None],
        on_written: Callable[[Template], None],
        subscribe: Callable[[Dependency], None],
    ) -> None:
        """`follow` is asked once for each thing a template looks at; `learn` is its answer, now and at each change.
        Raises CannotUseTemplates."""
        if find_spec("jinja2") is None:
            raise TemplateSetupError(
                "templates: cannot be used: not installed: pip install condor-autopilot[templates]"
            )
        self._plan, self._env, self._report, self._on_written, self._subscribe = (
            plan,
            env,
            report,
            on_written,
            subscribe,
        )
        self._known_values: dict[Dependency, Any] = {}
        self._subscribed: set[Dependency] = set()
        self._failed_destinations: set[str] = set()

    def apply_plan(self, plan: tuple[Template, ...], *, consul_changed: bool) -> None:
        """Other templates from now on; what those wrote that are not there any more stays. `elsewhere`: another Consul
        is to be asked for what they look at."""
        if consul_changed:
            self._known_values.clear()
            self._subscribed.clear()
        destinations = {template.destination for template in plan}
        for template in self._plan:
            if template.destination in self._failed_destinations - destinations:
                self._failed_destinations.discard(template.destination)
                self._report(cues.ConditionResolved(_build_condition_kind(template)))
        self._plan = plan
        self.render_all()

    def render_all(self) -> None:
        """What needs nothing from Consul is written at once."""
        for template in self._plan:
            self._render_template(template)

    def update_value(self, dependency: Dependency, value: Any) -> None:
        """What Consul says now."""
        self._known_values[dependency] = value
        self.render_all()

    def _render_template(self, template: Template) -> None:
        from autopilot.adapters.templates.template_rendering import DependencyPendingError, RenderError, render

        try:
            text = render(Path(template.source).read_text(encoding="utf-8"), self._env, self._known_values)
            changed = write_rendered_file(template, text.encode())
        except DependencyPendingError as not_yet:
            if not_yet.dependency not in self._subscribed:
                self._subscribed.add(not_yet.dependency)
                self._subscribe(not_yet.dependency)
            return
        except (RenderError, UnicodeError, LookupError) as error:
            self._report_failure(template, f"cannot render {template.source}: {error}")
            return
        except OSError as error:
            self._report_failure(template, f"cannot render {template.source} to {template.destination}: {error}")
            return
        if template.destination in self._failed_destinations:
            self._failed_destinations.discard(template.destination)
            self._report(cues.ConditionResolved(_build_condition_kind(template)))
        if changed:
            self._report(cues.TemplateWritten(template.destination, template.reload, template.restart))
            self._on_written(template)

    def _report_failure(self, template: Template, message: str) -> None:
        if template.destination not in self._failed_destinations:
            self._failed_destinations.add(template.destination)
            self._report(
                cues.ConditionDetected(_build_condition_kind(template), f"{message}; the file that is there stays")
            )


def _build_condition_kind(template: Template) -> str:
    return f"template-{template.destination}"


def write_rendered_file(template: Template, data: bytes) -> bool:
    """The file whole, with its mode and owner, by a rename. False: its content was so already. Raises OSError,
    LookupError."""
    path = Path(template.destination)
    who = resolve(template.user, template.group)
    same = path.exists() and path.read_bytes() == data
    if same:
        found = path.stat()
        owned = who is None or (found.st_uid, found.st_gid) == (who.uid, who.gid)
        if owned and stat.S_IMODE(found.st_mode) == template.mode:
            return False
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.autopilot")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:
        file.write(data)
        if who is not None:
            os.fchown(descriptor, who.uid, who.gid)
        os.fchmod(descriptor, template.mode)
    os.replace(temporary, path)
    return not same
