"""Convert the sections of supervisord.conf to the keys of a job spec.

Each [program:NAME] is a job. Values keep their template actions: an environment variable in supervisord.conf is read
when the job spec is loaded. docs/from-supervisord.md tells the differences of each key.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from autopilot.spec.conversion.conversion_notes import Notes
from autopilot.spec.conversion.job_naming import JobNames
from autopilot.spec.conversion.spec_writer import Commented
from autopilot.spec.conversion.supervisord_expansion import LOOP_VARIABLE, Expander, find_operand
from autopilot.spec.conversion.supervisord_source import ConfigSection
from autopilot.spec.conversion.template_holes import BareAction, ControlAction, Holes

DEFAULT_PRIORITY = 999
DEFAULT_STOP_WAIT_S = "10s"  # supervisord's; autopilot's own is 5 s
MAX_PROCESSES = 1000

_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
_LEVELS = {
    "critical": "FATAL",
    "error": "ERROR",
    "warn": "WARN",
    "debug": "DEBUG",
    "trace": "DEBUG",
    "blather": "DEBUG",
}
_LOG_KEYS = ("stdout_logfile", "stderr_logfile")
_CONTAINER_LOGS = (
    "/dev/stdout",
    "/dev/stderr",
    "/dev/fd/1",
    "/dev/fd/2",
    "/proc/1/fd/1",
    "/proc/1/fd/2",
    "auto",
    "syslog",
)

_ASSIGNMENT = re.compile(r"""\s*(?P<name>[^\s=,"']+)\s*=\s*(?P<value>"[^"]*"|'[^']*'|[^,"']*)\s*(?:,\s*|\Z)""")

# Keys that need no counterpart: the container's log and the supervisor's own rules stand for them.
_NEEDLESS_PROGRAM_KEYS = {
    *(
        "redirect_stderr",
        "killasgroup",
        "process_name",
        "numprocs_start",
        "serverurl",
        "stdout_syslog",
        "stderr_syslog",
    ),
    *(f"{stream}_{key}" for stream in ("stdout", "stderr") for key in ("logfile_maxbytes", "logfile_backups")),
    *(f"{stream}_{key}" for stream in ("stdout", "stderr") for key in ("capture_maxbytes", "events_enabled")),
}
_NEEDLESS_SUPERVISORD_KEYS = {
    *("nodaemon", "silent", "logfile", "logfile_maxbytes", "logfile_backups", "pidfile", "identifier", "nocleanup"),
    *("childlogdir", "strip_ansi", "minfds", "minprocs", "directory"),
}
_NEEDLESS_SECTIONS = ("supervisorctl", "unix_http_server", "rpcinterface", "include")
_LOST_SECTIONS: Mapping[str, str] = {
    "inet_http_server": "is not carried over: telemetry: {port: 9090} shows the state over HTTP, and takes no orders",
    "group": "is not carried over: jobs have no groups; name the jobs to stop or restart",
    "eventlistener": "is not carried over: to end the container with a job, set essential: true in the job; to act on "
    'its end, write a job with when: {source: "NAME", each: "exitFailed"}',
}


def convert_supervisord(sections: Sequence[ConfigSection], holes: Holes) -> tuple[dict[str, Any], Notes, list[str]]:
    """Convert the sections of supervisord.conf.

    Args:
        sections: The sections of all files.
        holes: Gets the template actions.

    Returns:
        The keys of the job spec in their order, the notes (with section and key as path), and the environment variables
        that the job spec reads.
    """
    return _SupervisordConverter(sections, holes).convert()


@dataclass(slots=True)
class _Program:
    """One program, of which settings are taken one by one."""

    section: ConfigSection
    expander: Expander
    settings: dict[str, str]
    comments: list[str] = field(default_factory=list)

    @property
    def path(self) -> tuple[str, ...]:
        return (self.section.name,)

    def take(self, key: str) -> str | None:
        """Remove a setting, and return its expanded value; None when it is absent or empty."""
        value = self.settings.pop(key, None)
        return None if value is None or not value.strip() else self.expander.expand(value.strip())


@dataclass(slots=True)
class _SupervisordConverter:
    sections: Sequence[ConfigSection]
    holes: Holes
    notes: Notes = field(default_factory=Notes)
    names: JobNames = field(default_factory=JobNames)
    variables: dict[str, None] = field(default_factory=dict)
    defaults: dict[str, str] = field(default_factory=dict)  # user and umask of [supervisord]
    environment: str = ""  # of [supervisord], as written

    def convert(self) -> tuple[dict[str, Any], Notes, list[str]]:
        spec: dict[str, Any] = {}
        for section in self.sections:
            if section.name == "supervisord":
                self.read_supervisord(section, spec)
            elif section.kind in _LOST_SECTIONS:
                self.note_lost_section(section)
            elif section.kind not in ("program", "fcgi-program", *_NEEDLESS_SECTIONS):
                self.notes.add_to_head((section.name,), "is not carried over: supervisord has no such section")
        programs = [section for section in self.sections if section.kind in ("program", "fcgi-program")]
        priorities = {id(section): self.read_priority(section) for section in programs}
        programs.sort(key=lambda section: priorities[id(section)])
        jobs: list[Any] = []
        for section in programs:
            jobs += self.convert_program(section, self.rank(priorities[id(section)], priorities.values()))
        if not jobs:
            self.notes.add_to_head((), "has no program: there is nothing to run")
        if len(set(priorities.values())) > 1:
            self.note_start_order(programs, priorities)
        spec["jobs"] = jobs
        return spec, self.notes, list(self.variables)

    # --- sections around the programs ---

    def read_supervisord(self, section: ConfigSection, spec: dict[str, Any]) -> None:
        program = self.open_program(section, {"here": section.directory})
        level = (program.take("loglevel") or "info").lower()
        if level in _LEVELS:
            spec["logging"] = {"level": _LEVELS[level]}
        self.environment = program.settings.pop("environment", "")
        self.parse_environment(program, self.environment, self.notes.add_to_head)
        for key in ("user", "umask"):
            value = program.take(key)
            if value is not None and (key, value) not in (("user", "root"), ("user", "0")):
                self.defaults[key] = value
        for key in program.settings.keys() - _NEEDLESS_SUPERVISORD_KEYS:
            self.notes.add_to_head((section.name, key), "is not carried over: supervisord has no such key")

    def note_lost_section(self, section: ConfigSection) -> None:
        command = section.settings.get("command")
        shown = f" (it runs {command.value})" if command is not None else ""
        self.notes.add_to_head((section.name,), _LOST_SECTIONS[section.kind] + shown)

    def note_start_order(self, programs: Sequence[ConfigSection], priorities: Mapping[int, int]) -> None:
        first = next(section for section in programs if priorities[id(section)] != DEFAULT_PRIORITY)
        message = (
            "is carried over to the order of the stop alone: all jobs start together; to start one after another, "
            'write health in the one and when: {source: "NAME", once: "healthy"} in the other'
        )
        self.notes.add_to_head((first.name, "priority"), message)

    def read_priority(self, section: ConfigSection) -> int:
        setting = section.settings.get("priority")
        if setting is None:
            return DEFAULT_PRIORITY
        text = setting.value.strip()
        if text.removeprefix("-").isdecimal() and len(text) < 10:
            return int(text)
        self.notes.add_to_head((section.name, "priority"), f'is not carried over: "{text}" is no number')
        return DEFAULT_PRIORITY

    def rank(self, priority: int, priorities: Any) -> int:
        """Return the order of the stop: the highest priority stops first."""
        return sorted(set(priorities), reverse=True).index(priority)

    # --- programs ---

    def open_program(self, section: ConfigSection, values: Mapping[str, str], *, in_loop: bool = False) -> _Program:
        expander = Expander(self.holes, values, self.variables, in_loop)
        return _Program(section, expander, {key: setting.value for key, setting in section.settings.items()})

    def convert_program(self, section: ConfigSection, order: int) -> list[Any]:
        count, loop = self.read_process_count(section)
        start = (
            section.settings["numprocs_start"].value.strip() if "numprocs_start" in section.settings else ""
        ) or "0"
        values = {"program_name": section.label, "group_name": section.label, "here": section.directory}
        values |= {"numprocs": count} if count else {}
        if not loop:
            values["process_num"] = start
        program = self.open_program(section, values, in_loop=bool(loop))
        program.take("numprocs"), program.take("priority")
        job = self.build_job(program, order, is_loop=bool(loop))
        if job is None:
            return []
        entry = Commented(job, program.comments, spread=True)
        return [ControlAction(loop), entry, ControlAction("{{ end }}")] if loop else [entry]

    def read_process_count(self, section: ConfigSection) -> tuple[str, str]:
        """Return the number of processes as text ("" when the environment tells it), and the action of their loop."""
        setting = section.settings.get("numprocs")
        text = setting.value.strip() if setting is not None else "1"
        start_setting = section.settings.get("numprocs_start")
        start = start_setting.value.strip() if start_setting is not None else "0"
        if not (start.isdecimal() and len(start) < 7):
            self.notes.add_to_head((section.name, "numprocs_start"), f'is not carried over: "{start}" is no number')
            start = "0"
        if text.isdecimal() and len(text) < 7:
            number = min(int(text), MAX_PROCESSES)
            if number <= 1:
                return text, ""
            return text, f"{{{{ range {LOOP_VARIABLE} := loop {int(start)} {int(start) + number} }}}}"
        operand = find_operand(self.holes.restore(Expander(self.holes, {}, self.variables).expand(text)))
        if start == "0" and operand is not None:
            return "", f"{{{{ range {LOOP_VARIABLE} := loop 0 {operand} }}}}"
        self.notes.add_to_head((section.name, "numprocs"), f'is not carried over: "{text}" is no number')
        return "1", ""

    def build_job(self, program: _Program, order: int, *, is_loop: bool) -> dict[str, Any] | None:
        command = program.take("command")
        if command is None:
            self.notes.add_to_head(program.path, "is not carried over: command is missing")
            return None
        job: dict[str, Any] = {
            "name": self.choose_name(program, is_loop),
            "exec": self.convert_command(program, command),
        }
        user, umask = (
            program.take("user") or self.defaults.get("user"),
            program.take("umask") or self.defaults.get("umask"),
        )
        job |= {"user": user} if user else {}
        self.add_directory(program, job)
        job |= {"umask": umask} if umask else {}
        shared = self.parse_environment(program, self.environment, lambda *_: None)
        own = self.parse_environment(
            program, program.settings.pop("environment", ""), lambda path, message: self.note(program, path, message)
        )
        environment = shared | own
        job |= {"env": environment} if environment else {}
        self.add_start(program, job)
        self.add_restarts(program, job)
        self.add_stop(program, job, order)
        self.note_rest(program)
        self.note_batch_system(program, job["exec"])
        return job

    def choose_name(self, program: _Program, is_loop: bool) -> str:
        label = program.section.label or program.section.kind
        process_name = program.take("process_name")
        if not is_loop:
            return self.names.choose(label, "program")
        if process_name is None or not self.holes.contain(process_name):
            process_name = f"{label}-{self.holes.add(f'{{{{ {LOOP_VARIABLE} }}}}')}"
        return self.names.choose(process_name, "program")

    def convert_command(self, program: _Program, command: str) -> Any:
        """Return the words of a command, as one string where no word has quotes: a variable may be several words."""
        if not any(character in command for character in "\"'\\"):
            return " ".join(command.split())
        try:
            words = shlex.split(command)
        except ValueError as error:
            self.note(program, "command", f"cannot be split into words: {str(error).lower()}; it is split at spaces")
            return command.split()
        for word in words:
            if f'"{word}"' in command or f"'{word}'" in command:
                continue
            if (operand := find_operand(self.holes.restore(word))) is not None:
                self.note(program, "command", f"has {operand} as one word now; write its words apart if it has several")
        return words

    def add_directory(self, program: _Program, job: dict[str, Any]) -> None:
        directory = program.take("directory")
        if directory is None:
            return
        if directory.startswith(("/", self.holes.mark)):
            job["cwd"] = directory
        else:
            self.note(program, "directory", f'is not carried over: "{directory}" is no absolute path')

    def parse_environment(
        self, program: _Program, text: str, note: Callable[[tuple[str, ...], str], object]
    ) -> dict[str, str]:
        """Return the variables of `environment`, a list of NAME=VALUE with commas."""
        text = program.expander.expand(text)
        variables: dict[str, str] = {}
        position = 0
        while position < len(text):
            match = _ASSIGNMENT.match(text, position)
            if match is None:
                rest = self.holes.restore(text[position:]).strip()
                note((*program.path, "environment"), f"is not carried over from {rest} on: NAME=VALUE is expected")
                break
            variables[match["name"]] = match["value"][1:-1] if match["value"][:1] in "\"'" else match["value"].strip()
            position = match.end()
        return variables

    def add_start(self, program: _Program, job: dict[str, Any]) -> None:
        autostart = program.take("autostart")
        if autostart is None or autostart.lower() in _TRUE:
            return
        if autostart.lower() in _FALSE:
            job["when"] = {"once": "asked"}
            program.comments.append(f"autopilot start {self.holes.restore(job['name'])} starts it")
        elif self.holes.contain(autostart):
            words = " ".join(f'"{word}"' for word in _TRUE)
            shown = self.holes.restore(autostart)
            if (operand := find_operand(shown)) is not None:
                test = f"{{{{ if eq {operand} {words} }}}}"
                job["when"] = BareAction(f'{test}{{once: "startup"}}{{{{ else }}}}{{once: "asked"}}{{{{ end }}}}')
                return
            self.note(program, "autostart", f'is not carried over: "{shown}" is neither true nor false')
        else:
            self.note(program, "autostart", f'is not carried over: "{autostart}" is neither true nor false')

    def add_restarts(self, program: _Program, job: dict[str, Any]) -> None:
        autorestart = (program.take("autorestart") or "unexpected").lower()
        retries, exit_codes, start_seconds = (
            program.take("startretries"),
            program.take("exitcodes"),
            program.take("startsecs"),
        )
        if autorestart in _TRUE:
            job["restarts"] = "unlimited"
        elif autorestart not in _FALSE:
            job["restarts"] = "on-failure"
            if autorestart != "unexpected":
                shown = self.holes.restore(autorestart)
                self.note(
                    program, "autorestart", f'is not carried over: "{shown}" is neither true, false nor unexpected'
                )
        if job.get("restarts") == "on-failure" and exit_codes not in (None, "0"):
            message = (
                f"{self.holes.restore(exit_codes)} is not carried over: only 0 is a success, after others it restarts"
            )
            self.note(program, "exitcodes", message)
        if retries is not None:
            self.note_retries(program, retries, job)
        if start_seconds not in (None, "0", "1") and "restarts" in job:
            job["backoff"] = {"reset_after": self.add_unit(start_seconds)}

    def note_retries(self, program: _Program, retries: str, job: dict[str, Any]) -> None:
        shown = self.holes.restore(retries)
        if "restarts" in job:
            message = f"{shown} is not carried over: it restarts with growing delays (backoff), and is never given up"
        elif retries == "0":
            return
        else:
            message = f"{shown} is not carried over: a job without restarts is started once"
        self.note(program, "startretries", message)

    def add_stop(self, program: _Program, job: dict[str, Any], order: int) -> None:
        signal, wait = program.take("stopsignal"), program.take("stopwaitsecs")
        stop: dict[str, Any] = {}
        if signal is not None and signal.upper().removeprefix("SIG") != "TERM":
            is_name = signal.isascii() and signal.isalnum() and not signal.isdigit()
            stop["signal"] = f"SIG{signal.upper().removeprefix('SIG')}" if is_name else signal
        stop["timeout"] = DEFAULT_STOP_WAIT_S if wait is None else self.add_unit(wait)
        if order:
            stop["order"] = order
        if (program.take("stopasgroup") or "false").lower() not in _TRUE:
            stop["group"] = False
        job["stop"] = stop

    def add_unit(self, seconds: str | None) -> str:
        return f"{seconds}s" if seconds is not None and seconds.isdecimal() else str(seconds)

    # --- notes ---

    def note(self, program: _Program, key: str | tuple[str, ...], message: str) -> None:
        path = key if isinstance(key, tuple) else (*program.path, key)
        program.comments.append(f"{path[-1]} {self.notes.add(path, message)}")

    def note_rest(self, program: _Program) -> None:
        logs = [(key, program.take(key)) for key in _LOG_KEYS]
        lost = [(key, value) for key, value in logs if value is not None and value.lower() not in _CONTAINER_LOGS]
        if lost:
            key, value = lost[0]
            message = f"{self.holes.restore(value)} is not carried over: all output goes to the container's log"
            self.note(program, key, message)
        for key in program.settings:
            if key not in _NEEDLESS_PROGRAM_KEYS:
                reason = (
                    "a socket of FastCGI" if program.section.kind == "fcgi-program" else "supervisord has no such key"
                )
                self.note(program, key, f"is not carried over: {reason}")
        for expression in dict.fromkeys(program.expander.unknown):
            program.comments.append(
                f"{expression} {self.notes.add(program.path, f'has {expression}, which is not known')}"
            )

    def note_batch_system(self, program: _Program, exec_: Any) -> None:
        first = exec_.split()[0] if isinstance(exec_, str) else exec_[0]
        if first.rsplit("/", 1)[-1] == "condor_master":
            message = "is taken as a worker node, and drained at its end; write htcondor: false for a schedd"
            self.note(program, "command", message)
