"""Keep rendered files up to date: render again after each change in Consul, write the files that differ, report them.

After any failure the existing file stays: a template that cannot be rendered, a missing key, an unreachable Consul.
Templates that use nothing of Consul are written before the first job starts. The first rendering in a life is no
change: the jobs that a template reloads or restarts wait for it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autopilot.adapters.condition_reporter import ConditionReporter
from autopilot.errors import REINSTALL_REMEDY, AutopilotError
from autopilot.machines import cues
from autopilot.process.user_identity import resolve
from autopilot.safe_files import read_file, replace_file
from autopilot.spec.plan import Template

if TYPE_CHECKING:
    from autopilot.adapters.templates.template_rendering import Dependency

MAX_SOURCE_BYTES = 16 << 20


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
        on_moved: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Prepare; `render_all` writes the files.

        Args:
            plan: The templates.
            env: The environment that templates see.
            report: Takes the cues.
            on_written: Called after a file has changed; its first rendering in this life is no change.
            subscribe: Called once for each value of Consul that a template uses; the answers, the current value and
                each later one, come to `update_value`.
            on_moved: Gets a sentence when something foreign was moved out of the place of a file.

        Raises:
            TemplateSetupError: Jinja2 is not installed.
        """
        if find_spec("jinja2") is None:
            raise TemplateSetupError(f"templates: cannot be used: not installed: jinja2 ({REINSTALL_REMEDY})")
        self._plan, self._env, self._report = plan, env, report
        self._on_written, self._subscribe, self._on_moved = on_written, subscribe, on_moved
        self._conditions = ConditionReporter(report)
        self._known_values: dict[Dependency, Any] = {}
        self._subscribed: set[Dependency] = set()
        self._rendered: set[str] = set()  # destinations of this life's templates that were rendered

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
        self._rendered &= destinations
        self.render_all()

    def render_all(self) -> None:
        """Render every template; those that use unknown values of Consul follow when the values arrive."""
        for template in self._plan:
            self._render_template(template)

    def update_value(self, dependency: Dependency, value: Any) -> None:
        """Take a value of Consul and render every template."""
        self._known_values[dependency] = value
        self.render_all()

    def restore(self, destination: str) -> bool:
        """Write a file again that somebody removed; no job is told, for its content is as before.

        Returns:
            False when the file is not to be there: its template has not been rendered in this life, or not now.
        """
        for template in self._plan:
            if template.destination == destination and destination in self._rendered:
                self._render_template(template, is_restoring=True)
                return os.path.lexists(destination)
        return False

    def _render_template(self, template: Template, *, is_restoring: bool = False) -> None:
        from autopilot.adapters.templates.template_rendering import DependencyPendingError, RenderError, render

        try:
            source = read_file(template.source, MAX_SOURCE_BYTES + 1, follow_link=True)
            if len(source) > MAX_SOURCE_BYTES:
                raise RenderError(f"it is larger than {MAX_SOURCE_BYTES >> 20} MiB")
            text = render(source.decode(), self._env, self._known_values)
            changed = write_rendered_file(template, text.encode(errors="surrogateescape"), self._on_moved)
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
        if is_restoring:
            return
        is_first = template.destination not in self._rendered
        if changed:
            self._report(cues.TemplateWritten(template.destination, template.reload, template.restart))
            if not is_first:
                self._on_written(template)
        if is_first:
            self._rendered.add(template.destination)
            self._report(cues.TemplateRendered(template.name, template.destination))

    def _raise_condition(self, template: Template, problem: str) -> None:
        message = f"{problem}; the existing file stays as it is"
        self._conditions.raise_condition(_build_condition_kind(template), message)


def _build_condition_kind(template: Template) -> str:
    return f"template-{template.destination}"


def write_rendered_file(template: Template, data: bytes, on_moved: Callable[[str], None] = lambda _: None) -> bool:
    """Replace the destination file as a whole, with its mode and owner, by a rename.

    A job may own the destination's directory: a FIFO or a link there is not opened, but moved aside.

    Args:
        template: The destination, its mode and its owner.
        data: The rendered content.
        on_moved: Gets a sentence when something that is no regular file had to be moved aside.

    Returns:
        True if the content has changed.

    Raises:
        OSError: The file cannot be written.
        LookupError: The user or the group does not exist.
    """
    path = Path(template.destination)
    owner = resolve(template.user, template.group)
    is_same = _has_content(path, data)
    if is_same:
        status = path.lstat()
        is_owned = owner is None or (status.st_uid, status.st_gid) == (owner.uid, owner.gid)
        if is_owned and stat.S_IMODE(status.st_mode) == template.mode:
            return False
    owner_ids = None if owner is None else (owner.uid, owner.gid)
    replace_file(path, data, template.mode, owner=owner_ids, on_moved=on_moved)
    return not is_same


def _has_content(path: Path, data: bytes) -> bool:
    try:
        return read_file(path, len(data) + 1) == data
    except OSError:
        return False
