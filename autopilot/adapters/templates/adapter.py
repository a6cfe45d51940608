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
from autopilot.process.identity import resolve
from autopilot.spec.plan import Template

if TYPE_CHECKING:
    from autopilot.adapters.templates.rendering import Need


class CannotUseTemplates(Exception):
    pass


class Templates:
    def __init__(
        self,
        plan: tuple[Template, ...],
        *,
        env: Mapping[str, str],
        report: Callable[[cues.Cue], None],
        written: Callable[[Template], None],
        follow: Callable[[Need], None],
    ) -> None:
        """`follow` is asked once for each thing a template looks at; `learn` is its answer, now and at each change.
        Raises CannotUseTemplates."""
        if find_spec("jinja2") is None:
            raise CannotUseTemplates(
                "templates: cannot be used: not installed: pip install condor-autopilot[templates]"
            )
        self._plan, self._env, self._report, self._written, self._follow = plan, env, report, written, follow
        self._known: dict[Need, Any] = {}
        self._followed: set[Need] = set()
        self._troubled: set[str] = set()

    def adopt(self, plan: tuple[Template, ...], *, elsewhere: bool) -> None:
        """Other templates from now on; what those wrote that are not there any more stays. `elsewhere`: another Consul
        is to be asked for what they look at."""
        if elsewhere:
            self._known.clear()
            self._followed.clear()
        destinations = {template.destination for template in plan}
        for template in self._plan:
            if template.destination in self._troubled - destinations:
                self._troubled.discard(template.destination)
                self._report(cues.NodeRecovered(_kind(template)))
        self._plan = plan
        self.render_all()

    def render_all(self) -> None:
        """What needs nothing from Consul is written at once."""
        for template in self._plan:
            self._render(template)

    def learn(self, need: Need, value: Any) -> None:
        """What Consul says now."""
        self._known[need] = value
        self.render_all()

    def _render(self, template: Template) -> None:
        from autopilot.adapters.templates.rendering import CannotRender, NotYet, render

        try:
            text = render(Path(template.source).read_text(encoding="utf-8"), self._env, self._known)
            changed = write(template, text.encode())
        except NotYet as not_yet:
            if not_yet.need not in self._followed:
                self._followed.add(not_yet.need)
                self._follow(not_yet.need)
            return
        except (CannotRender, UnicodeError, LookupError) as error:
            self._trouble(template, f"cannot render {template.source}: {error}")
            return
        except OSError as error:
            self._trouble(template, f"cannot render {template.source} to {template.destination}: {error}")
            return
        if template.destination in self._troubled:
            self._troubled.discard(template.destination)
            self._report(cues.NodeRecovered(_kind(template)))
        if changed:
            self._report(cues.TemplateWritten(template.destination, template.reload, template.restart))
            self._written(template)

    def _trouble(self, template: Template, said: str) -> None:
        if template.destination not in self._troubled:
            self._troubled.add(template.destination)
            self._report(cues.NodeTrouble(_kind(template), f"{said}; the file that is there stays"))


def _kind(template: Template) -> str:
    return f"template-{template.destination}"


def write(template: Template, data: bytes) -> bool:
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
