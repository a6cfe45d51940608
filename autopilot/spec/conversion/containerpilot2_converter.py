"""Convert a configuration of ContainerPilot 2 to the keys of a job spec.

Version 2 has one main command, on its command line, and sections around it. In a job spec all of them are jobs. Each
function below writes one section; its table names the keys that keep their meaning under another name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from autopilot.spec.command_words import split_words
from autopilot.spec.conversion.conversion_notes import Notes
from autopilot.spec.conversion.job_naming import JobNames, derive_name
from autopilot.spec.conversion.spec_writer import Commented
from autopilot.spec.conversion.template_holes import BareAction, ControlAction, Holes, TemplateKeepingError
from autopilot.spec.key_paths import KeyPath
from autopilot.spec.quantities import InvalidValueError, format_value, parse_duration

MAIN_PLACEHOLDER = "MAIN-COMMAND"
DEFAULT_STOP_TIMEOUT_S = 5
HOOK_TIME_S = 60  # for preStop and postStop, which had no limit
DEFAULT_POLL_S = 10
_PUT_METRIC = 'value=$("$@") && exec containerpilot -putmetric "$0=$value"'

# Keys that are only renamed, by section.
_SERVICE_HEALTH_KEYS = {"poll": "interval", "ttl": "ttl", "timeout": "timeout"}
_SERVICE_KEYS = {"port": "port", "tags": "tags", "interfaces": "interfaces", "consul": "consul"}
_METRIC_KEYS = {"namespace": "namespace", "subsystem": "subsystem", "name": "name", "help": "help", "type": "type"}
_TELEMETRY_KEYS = {"port": "port", "interfaces": "interfaces", "tags": "tags"}
_LOGGING_KEYS = {"level": "level", "format": "format", "output": "output"}

_UNKNOWN_KEY = "is not carried over: ContainerPilot 2 has no such key"
_ETCD = "cannot be carried over: Consul is the only registry; run Consul, and write its address as consul"
_MAIN_COMMENT = "the main command: its end is the container's end; its output goes without prefixes, as in version 2"
_SERVICE_COMMENT = "a service of the main command: checked and registered, without a process of its own"
_MAIN_MISSING = (
    f"the main command stands on ContainerPilot's command line, not in this file: replace {MAIN_PLACEHOLDER}, "
    "or convert again with `-- COMMAND ARGUMENT...` at the end"
)


def convert_containerpilot2(tree: Any, holes: Holes, main_command: Sequence[str]) -> tuple[dict[str, Any], Notes]:
    """Convert a configuration of ContainerPilot 2.

    Args:
        tree: The parsed configuration; strings may have holes.
        holes: The template actions in it.
        main_command: The command that ContainerPilot was started with; empty when it is not known.

    Returns:
        The keys of the job spec in their order, and the notes.

    Raises:
        TemplateKeepingError: A template action stands in place of a whole section.
    """
    return _Converter(holes, main_command).convert(_put_actions_back(tree, holes))


def _put_actions_back(value: Any, holes: Holes) -> Any:
    """Return the tree with an object in place of each string that is a whole action."""
    if isinstance(value, dict):
        return {key: _put_actions_back(item, holes) for key, item in value.items()}
    if isinstance(value, list):
        return [_put_actions_back(item, holes) for item in value]
    return (holes.find_value(value) or value) if isinstance(value, str) else value


@dataclass(slots=True)
class _Entry:
    """One object of the configuration, of which keys are taken one by one."""

    path: KeyPath
    keys: dict[str, Any]
    comments: list[str]

    def take(self, key: str) -> Any:
        """Remove a key and return its value; None when it is absent or empty, which a template makes of a variable."""
        value = self.keys.pop(key, None)
        return None if value in ("", [], [""]) else value

    def take_renamed(self, names: dict[str, str]) -> dict[str, Any]:
        """Take the keys of a table, under their new names."""
        taken = {new: self.take(old) for old, new in names.items()}
        return {key: value for key, value in taken.items() if value is not None}


@dataclass(slots=True)
class _Converter:
    holes: Holes
    main_command: Sequence[str]
    notes: Notes = field(default_factory=Notes)
    names: JobNames = field(default_factory=JobNames)
    jobs: list[Any] = field(default_factory=list)
    watches: list[Any] = field(default_factory=list)
    metrics: list[Any] = field(default_factory=list)
    watch_names: set[tuple[str, str]] = field(default_factory=set)
    start: dict[str, Any] = field(default_factory=dict)  # `when` of the jobs that wait for preStart

    def convert(self, tree: Any) -> tuple[dict[str, Any], Notes]:
        if not isinstance(tree, dict):
            self.notes.add_to_head((), f"cannot be {format_value(tree)}: a configuration is an object")
            tree = {}
        top = _Entry((), dict(tree), [])
        spec: dict[str, Any] = {}
        self.add_registry(top, spec)
        self.add_logging(top, spec)
        self.add_jobs(top, spec)
        spec["jobs"] = self.jobs
        if self.watches:
            spec["watches"] = self.watches
            self.require_consul(spec)
        if (telemetry := self.build_telemetry(top)) is not None:
            spec["telemetry"] = telemetry
        for key in top.keys:
            self.notes.add_to_head((key,), _UNKNOWN_KEY)
        return spec, self.notes

    # --- sections that stay sections ---

    def add_registry(self, top: _Entry, spec: dict[str, Any]) -> None:
        consul = top.keys.pop("consul", None)
        if top.keys.pop("etcd", None) is not None:
            comment = self.notes.add(("etcd",), _ETCD)
            spec["consul"] = Commented(consul or "localhost:8500", [f"etcd {comment}"])
        elif consul is not None:
            spec["consul"] = consul

    def require_consul(self, spec: dict[str, Any]) -> None:
        if "consul" not in spec:
            comment = self.notes.add(("backends",), "cannot be watched without Consul; write its address as consul")
            spec["consul"] = Commented("localhost:8500", [f"backends {comment}"])

    def add_logging(self, top: _Entry, spec: dict[str, Any]) -> None:
        entry = self.take_entry(top, "logging")
        if entry is None:
            return
        logging = entry.take_renamed(_LOGGING_KEYS)
        self.note_unknown(entry)
        if logging or entry.comments:
            spec["logging"] = Commented(logging, entry.comments)

    def build_telemetry(self, top: _Entry) -> Any:
        value = top.keys.get("telemetry")
        if value is None:
            return None
        entry = self.take_entry(top, "telemetry")
        if entry is None:
            return None
        telemetry = entry.take_renamed(_TELEMETRY_KEYS)
        self.add_items(entry, "sensors", self.add_sensor, self.jobs, self.metrics)
        if self.metrics:
            telemetry["metrics"] = self.metrics
        self.note_unknown(entry)
        return Commented(telemetry, entry.comments)

    # --- jobs ---

    def add_jobs(self, top: _Entry, spec: dict[str, Any]) -> None:
        self.add_prestart(top)
        main = self.add_services(top)
        self.add_stop_hooks(top, main, spec)
        self.add_items(top, "coprocesses", self.add_coprocess, self.jobs)
        self.add_items(top, "backends", self.add_backend, self.jobs, self.watches)
        self.add_items(top, "tasks", self.add_task, self.jobs)

    def add_prestart(self, top: _Entry) -> None:
        for key in ("preStart", "onStart"):
            exec_ = self.take_command(top, key, required=False)
            if exec_ is None:
                continue
            name = self.names.choose(key, "job")
            job = {"name": name, "exec": exec_}
            comments = ["runs before everything else; if it fails, the container ends"]
            if self.start:
                job |= {"when": self.start}
            if late := self.list_early_sections(top):
                message = f"is not waited for by {late}: these jobs start by time or by a change, and may run before it"
                comments.append(f"it {self.notes.add((key,), message)}")
            self.jobs.append(Commented(job, comments, spread=True))
            self.start = {"source": name, "once": "exitSuccess"}

    def list_early_sections(self, top: _Entry) -> str:
        telemetry = top.keys.get("telemetry")
        sections = [key for key in ("tasks", "backends") if top.keys.get(key)]
        if isinstance(telemetry, dict) and telemetry.get("sensors"):
            sections.append("sensors")
        return " and ".join(sections)

    def add_services(self, top: _Entry) -> dict[str, Any]:
        """Add the main job and the services; return the main job."""
        items = self.take_items(top, "services")
        comments = [_MAIN_COMMENT]
        if not self.main_command:
            comments.append(self.notes.add((), _MAIN_MISSING))
        main: dict[str, Any] = {"name": "", "exec": list(self.main_command) or [MAIN_PLACEHOLDER], "essential": True}
        main |= {"when": self.start} if self.start else {}
        main["logging"] = {"raw": True}
        if len(items) == 1 and isinstance(items[0], _Entry):
            main |= self.build_service(items[0])
            comments += items[0].comments
            items = []
        else:
            main["name"] = self.names.choose("main", "command")
        self.jobs.append(Commented(main, comments, spread=True))
        for item in items:
            self.jobs.append(item if isinstance(item, ControlAction) else self.build_service_job(item))
        return main

    def build_service_job(self, entry: _Entry) -> Commented:
        service = self.build_service(entry)
        job = {"name": service.pop("name"), **({"when": self.start} if self.start else {}), **service}
        return Commented(job, [_SERVICE_COMMENT, *entry.comments], spread=True)

    def build_service(self, entry: _Entry) -> dict[str, Any]:
        name = self.take_name(entry, "service") or f"service-{entry.path[-1]}"
        port = entry.keys.get("port")
        chosen = self.names.choose(name, str(port) if isinstance(port, int | str) else "service")
        if chosen != name:
            message = f'cannot be "{name}" again: a service has the name of its job; it is "{chosen}" now'
            entry.comments.append(self.notes.add((*entry.path, "name"), message))
        service: dict[str, Any] = {"name": chosen}
        service |= entry.take_renamed(_SERVICE_KEYS)
        check = self.take_command(entry, "health", required=False)
        health = {} if check is None else {"exec": check}
        health |= entry.take_renamed(_SERVICE_HEALTH_KEYS)
        if not health and "port" in service:
            health = {"interval": DEFAULT_POLL_S}
            entry.comments.append(
                self.notes.add(entry.path, f"has neither health nor poll: a heartbeat every {DEFAULT_POLL_S} s")
            )
        if health:
            service["health"] = health
        if "port" in service:
            service = {"name": service.pop("name"), "port": service.pop("port"), **service}
        self.note_unknown(entry)
        return service

    def add_stop_hooks(self, top: _Entry, main: dict[str, Any], spec: dict[str, Any]) -> None:
        own_time = self.add_stop_timeout(top, main, spec)
        hooks = []
        for key, event in (("preStop", "stopping"), ("postStop", "stopped")):
            exec_ = self.take_command(top, key, required=False)
            if exec_ is None:
                continue
            hooks.append(key)
            comments = []
            if event == "stopping":
                main["stopTimeout"] = HOOK_TIME_S
                comments = [f"the main command is stopped when this has ended, after {HOOK_TIME_S} s at the latest"]
            when = {"source": main["name"], "once": event}
            job = {"name": self.names.choose(key, "job"), "exec": exec_, "when": when}
            self.jobs.append(Commented(job, comments, spread=True))
        if hooks:
            spec.pop("stopTimeout", None)
        if hooks and own_time is not None:
            total = own_time + HOOK_TIME_S * len(hooks)
            parts = [*(f"{HOOK_TIME_S} s for {hook}" for hook in hooks), f"{own_time:g} s for the main command"]
            comment = f"the whole stop at most: {', '.join(parts)}; the engine must wait longer (docker stop -t)"
            spec["stopTimeout"] = Commented(int(total) if total == int(total) else total, [comment])

    def add_stop_timeout(self, top: _Entry, main: dict[str, Any], spec: dict[str, Any]) -> float | None:
        """Write stopTimeout; return its seconds, or None when they are not known."""
        value = top.take("stopTimeout")
        if value in (None, 0, "0"):
            return DEFAULT_STOP_TIMEOUT_S
        if value in (-1, "-1"):
            main["stop"] = {"signal": "SIGKILL"}
            return DEFAULT_STOP_TIMEOUT_S
        main["stop"] = {"timeout": value}
        spec["stopTimeout"] = value
        try:
            return parse_duration(value)
        except InvalidValueError:  # a template action, or a mistake that the checker finds
            return None

    def add_coprocess(self, entry: _Entry) -> None:
        job = self.begin_job(entry, "command", "coprocess")
        if job is None:
            return
        restarts = entry.take("restarts")
        job["restarts"] = "never" if restarts is None else restarts
        if restarts is None:
            entry.comments.append('version 2 does not restart it either; "unlimited" does')
        if self.start:
            job["when"] = self.start
        self.finish_job(entry, job)

    def add_backend(self, entry: _Entry) -> None:
        name = self.take_name(entry, "backend")
        if name is None:
            self.drop_item(entry, "name")
            return
        tag = entry.take("tag")
        poll = entry.take("poll")
        if poll is None:
            poll = DEFAULT_POLL_S
            entry.comments.append(self.notes.add(entry.path, f"has no poll: Consul is asked every {DEFAULT_POLL_S} s"))
        if (name, repr(tag)) not in self.watch_names:
            self.watch_names.add((name, repr(tag)))
            self.watches.append({"name": name, "interval": poll} | ({"tag": tag} if tag is not None else {}))
        exec_ = self.take_command(entry, "onChange")
        if exec_ is None:
            self.note_unknown(entry)
            return
        job = {"name": self.names.choose(f"onChange-{name}", "job"), "exec": exec_}
        job["when"] = {"source": f"watch.{name}", "each": "changed"}
        job |= entry.take_renamed({"timeout": "timeout"})
        self.finish_job(entry, job)

    def add_task(self, entry: _Entry) -> None:
        job = self.begin_job(entry, "command", "task")
        if job is None:
            return
        frequency, timeout = entry.take("frequency"), entry.take("timeout")
        if frequency is None:
            self.drop_item(entry, "frequency")
            return
        job |= {"when": {"interval": frequency}, "timeout": frequency if timeout is None else timeout}
        self.finish_job(entry, job)

    def add_sensor(self, entry: _Entry) -> None:
        metric = entry.take_renamed(_METRIC_KEYS)
        check = self.take_command(entry, "check")
        parts = [metric.get(key) for key in ("namespace", "subsystem", "name")]
        full_name = "_".join(
            part.text if isinstance(part, BareAction) else str(part) for part in parts if part is not None
        )
        if "name" not in metric:
            self.drop_item(entry, "name")
            return
        self.metrics.append(metric)
        if check is None:
            self.note_unknown(entry)
            return
        words = split_words(check) if isinstance(check, str) else check if isinstance(check, list) else [check]
        job: dict[str, Any] = {
            "name": self.names.choose(f"sensor-{full_name}", "job"),
            "exec": ["sh", "-c", _PUT_METRIC, full_name, *words],
        }
        poll = entry.take("poll")
        if poll is None:
            poll = DEFAULT_POLL_S
            entry.comments.append(self.notes.add(entry.path, f"has no poll: it runs every {DEFAULT_POLL_S} s"))
        job |= {"when": {"interval": poll}}
        job |= entry.take_renamed({"timeout": "timeout"})
        self.finish_job(entry, job)

    # --- parts of entries ---

    def begin_job(self, entry: _Entry, command_key: str, role: str) -> dict[str, Any] | None:
        exec_ = self.take_command(entry, command_key)
        if exec_ is None:
            self.note_unknown(entry)
            return None
        name = self.take_name(entry, role)
        if name is None:
            words = split_words(exec_) if isinstance(exec_, str) else exec_ if isinstance(exec_, list) else []
            name = derive_name([word for word in words if isinstance(word, str)])
        return {"name": self.names.choose(name, role), "exec": exec_}

    def finish_job(self, entry: _Entry, job: dict[str, Any]) -> None:
        self.note_unknown(entry)
        self.jobs.append(Commented(job, entry.comments, spread=True))

    def take_name(self, entry: _Entry, role: str) -> str | None:
        name = entry.take("name")
        if name is None or (isinstance(name, str) and name.strip()):
            return name
        if isinstance(name, BareAction):
            return self.holes.add(name.text)
        entry.comments.append(self.notes.add((*entry.path, "name"), f"cannot be the name of a {role}; write a string"))
        return None

    def take_command(self, entry: _Entry, key: str, *, required: bool = True) -> Any:
        """Take a command; None, with a note, when it is none."""
        value = entry.take(key)
        if value is None or (isinstance(value, list) and all(item == "" for item in value)):
            if required:
                self.drop_item(entry, key)
            return None
        if isinstance(value, str | list | BareAction) and not (isinstance(value, str) and not value.strip()):
            return value
        message = f"cannot be a command: {format_value(value)}; write a string or an array of strings"
        entry.comments.append(self.notes.add((*entry.path, key), message))
        return None

    def drop_item(self, entry: _Entry, missing: str) -> None:
        self.notes.add_to_head(entry.path, f"is not carried over: {missing} is missing")
        entry.keys.clear()

    def take_entry(self, top: _Entry, key: str) -> _Entry | None:
        value = top.take(key)
        path = (*top.path, key)
        if isinstance(value, BareAction):
            raise TemplateKeepingError(f"{value.text} makes the whole section {key}")
        if value is None or not isinstance(value, dict):
            if value is not None:
                self.notes.add_to_head(path, "is not carried over: it is no object")
            return None
        return _Entry(path, dict(value), [])

    def take_items(self, top: _Entry, key: str) -> list[_Entry | ControlAction]:
        """Take a list of objects, with the template actions between them."""
        value = top.take(key)
        path = (*top.path, key)
        if isinstance(value, BareAction):
            raise TemplateKeepingError(f"{value.text} makes the whole section {key}")
        if value is not None and not isinstance(value, list):
            self.notes.add_to_head(path, "is not carried over: it is no array")
            return []
        items: list[_Entry | ControlAction] = []
        for index, item in enumerate(value or ()):
            if isinstance(item, BareAction):
                raise TemplateKeepingError(f"{item.text} makes a whole item of {key}")
            if isinstance(item, ControlAction):
                items.append(item)
            elif isinstance(item, dict):
                items.append(_Entry((*path, index), dict(item), []))
            else:
                self.notes.add_to_head((*path, index), "is not carried over: it is no object")
        return items

    def add_items(self, top: _Entry, key: str, add: Callable[[_Entry], None], *lists: list[Any]) -> None:
        """Convert each item of a list; the template actions between them go to every list that the items go to."""
        for item in self.take_items(top, key):
            if isinstance(item, _Entry):
                add(item)
                continue
            for target in lists:
                target.append(item)

    def note_unknown(self, entry: _Entry) -> None:
        for key in entry.keys:
            comment = self.notes.add((*entry.path, key), _UNKNOWN_KEY)
            entry.comments.append(f"{key} {comment}")
        entry.keys.clear()
