"""Forward the log to other hosts, and follow the files that jobs write."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from autopilot.adapters.logs.logger import Logger
from autopilot.amounts import format_count
from autopilot.app.integrations.integration_context import IntegrationContext, IntegrationError
from autopilot.spec.otlp_library import OTLP_PROTOCOLS, OTLP_REMEDY, is_otlp_installed
from autopilot.spec.plan import LogDestination, Plan
from autopilot.spec.stop_budget import LOG_FLUSH_S

if TYPE_CHECKING:
    from autopilot.adapters.condition_reporter import ConditionReporter
    from autopilot.adapters.logs.file_follower import FileFollower, Source
    from autopilot.adapters.logs.log_entry import ForwardedLine
    from autopilot.adapters.logs.log_forwarder import LogForwarder
    from autopilot.adapters.logs.redaction import PatternTime, Redactor, SecretMemory

PAYLOAD_DIRECTORY = re.compile(r"/dir_([0-9]{1,10})/")  # named after the first process of the payload
MAX_REMEMBERED_PAYLOADS = 1000  # by file
LIMIT_PROBLEM = (
    "not all files of logging.files are followed: 256 at most, and 32 of a directory that a wildcard has found; "
    "write narrower patterns, or look for a payload that fills its directory or makes many links"
)
SLOW_PATTERNS_PROBLEM = (
    "logging.redact.patterns take too long: lines are not sent to other hosts, but counted, until the patterns have "
    "time again; begin each pattern with fixed text, and use few .*"
)
SLOW_PATTERNS_S = 60.0
SPILL_DIRECTORY = "log-spill"  # in the state directory


class LogIntegration:
    """The receivers of the log and the followed files; a reload may add and remove them. Without both it is idle."""

    def __init__(
        self,
        plan: Plan,
        context: IntegrationContext,
        log: Logger,
        read_payload_id: Callable[[int], str | None],
    ) -> None:
        """Take lines from now on; `begin` sends them.

        Args:
            plan: The plan to follow at first.
            context: Callbacks to the supervisor.
            log: The log, whose lines are forwarded.
            read_payload_id: Returns the id of the payload with this first process.
        """
        self._plan, self._context, self._log, self._read_payload_id = plan, context, log, read_payload_id
        self._forwarders: dict[LogDestination, LogForwarder] = {}
        self._tasks: dict[LogDestination, asyncio.Task[None]] = {}
        self._removed_dropped_count = 0  # of receivers that are no longer in the job spec
        self._redactor: Redactor | None = None
        self._pattern_time: PatternTime | None = None
        self._secret_memory: SecretMemory | None = None
        self._slow_until: float | None = None  # the trouble with slow patterns lasts at least so long
        self._put_variables: dict[str, str] = {}
        self._follower: FileFollower | None = None
        self._is_following = False
        self._conditions: ConditionReporter | None = None
        self._payloads_by_file: dict[str, str] = {}
        self._use_destinations()
        self._use_files()

    @property
    def dropped_count(self) -> int:
        """Lines dropped since the start, because their receiver did not take them."""
        present = sum(forwarder.dropped_count for forwarder in self._forwarders.values())
        return self._removed_dropped_count + present

    @property
    def waiting_bytes(self) -> int:
        """Bytes of the lines that wait for their receiver, in memory and on the disk."""
        return sum(forwarder.waiting_bytes for forwarder in self._forwarders.values())

    @staticmethod
    def require_libraries(plan: Plan) -> None:
        """Check that the libraries for the receivers are installed.

        Raises:
            IntegrationError: OpenTelemetry's is missing.
        """
        for index, destination in enumerate(plan.logging.forward):
            if destination.protocol in OTLP_PROTOCOLS and not is_otlp_installed():
                raise IntegrationError(f"logging.forward[{index}].to: cannot be used: {OTLP_REMEDY}")

    def begin(self) -> None:
        """Connect and look for files, beside the running jobs."""
        for destination in self._forwarders:
            self._start_forwarder(destination)
        self._start_follower()

    def apply_plan(self, plan: Plan) -> None:
        """Follow another plan from now on; an unchanged receiver keeps its connection."""
        self._plan = plan
        self._use_destinations()
        for destination in self._forwarders.keys() - self._tasks.keys():
            self._start_forwarder(destination)
        self._use_files()
        self._start_follower()

    def hide_variables(self, changes: Mapping[str, str]) -> None:
        """Treat further environment variables as those of jobs: some may hold secrets."""
        self._put_variables |= changes
        self._build_redactor()

    def hide_environment(self, environment: Mapping[str, str]) -> None:
        """Take note of the environment of a process that starts: its `env_file` may have been written anew."""
        names = self._plan.logging.redact.names
        if self._secret_memory is not None and self._secret_memory.add([environment], names):
            self._build_redactor()

    def finish_files(self) -> None:
        """Read the rest of the followed files."""
        if self._follower is not None:
            self._follower.close()

    def flush_remaining(self, loop: asyncio.AbstractEventLoop) -> None:
        """Send the last lines at the end of the life, within a bound; the loop runs nothing else any more."""

        async def flush() -> None:
            async with asyncio.timeout(LOG_FLUSH_S):
                await asyncio.gather(*(forwarder.flush() for forwarder in self._forwarders.values()))

        if self._forwarders:
            with suppress(Exception):  # nothing may keep a life from ending
                loop.run_until_complete(flush())
            with suppress(Exception):
                for forwarder in self._forwarders.values():
                    forwarder.save_rest()

    # --- forwarding ---

    def _use_destinations(self) -> None:
        wanted = self._plan.logging.forward
        removed = [self._end_forwarder(destination) for destination in self._forwarders.keys() - set(wanted)]
        for destination in wanted:
            if destination not in self._forwarders:
                forwarder = self._forwarders[destination] = self._create_forwarder(destination)
                # with another certificate or token it is still the same receiver
                earlier = next((found for found in removed if found.destination.url == destination.url), None)
                if earlier is not None:
                    forwarder.take_over(earlier)
                    removed.remove(earlier)
        self._log.forward = self._forward if self._forwarders else None
        self._build_redactor()
        for forwarder in removed:
            self._drop_rest(forwarder)

    def _end_forwarder(self, destination: LogDestination) -> LogForwarder:
        if (task := self._tasks.pop(destination, None)) is not None:
            task.cancel()
        forwarder = self._forwarders.pop(destination)
        forwarder.save_rest()
        return forwarder

    def _drop_rest(self, forwarder: LogForwarder) -> None:
        lost = forwarder.drop_rest()
        self._removed_dropped_count += forwarder.dropped_count
        if lost:
            sentence = f"{format_count(lost, 'line')} of log dropped: {forwarder.destination.url} is not used any more"
            self._log.log("warning", "log_lines_dropped", sentence)

    def _create_forwarder(self, destination: LogDestination) -> LogForwarder:
        from autopilot.adapters.condition_reporter import ConditionReporter
        from autopilot.adapters.logs.log_forwarder import LogForwarder

        return LogForwarder(destination, self._create_encoder(destination), ConditionReporter(self._context.report))

    def _create_encoder(self, destination: LogDestination) -> Callable[[ForwardedLine], bytes]:
        life = self._context.life
        info = life.container_info
        if destination.protocol in OTLP_PROTOCOLS:
            from autopilot.adapters.logs.otlp_format import OtlpFormat

            return OtlpFormat(hostname=info.hostname, life_id=life.life_id, context=info.get_log_context()).encode
        from autopilot.adapters.logs.syslog_format import FORMATTERS, SyslogFormat

        form = SyslogFormat(facility=destination.facility, hostname=info.hostname, context=info.get_log_context())
        return partial(FORMATTERS[destination.protocol], form)

    def _start_forwarder(self, destination: LogDestination) -> None:
        """Start to send; from now on the state directory is ours, so that lines may wait there."""
        parent = self._context.life.state_directory / SPILL_DIRECTORY
        self._forwarders[destination].open_spill(parent, self._context.log_moved_file)
        work = self._forwarders[destination].run
        self._tasks[destination] = self._context.start_task(f"log-forward {destination.url}", work)

    def _forward(self, line: ForwardedLine) -> None:
        if self._redactor is not None:
            if self._refuse_slow_line(self._redactor):
                return
            line = line._replace(
                message=self._redactor.redact(line.message), fields=self._redactor.redact_fields(line.fields)
            )
        for forwarder in self._forwarders.values():
            forwarder.add(line)

    def _refuse_slow_line(self, redactor: Redactor) -> bool:
        """Drop and count a line for which patterns have no time left; return True if it was dropped."""
        if redactor.is_out_of_time():
            for forwarder in self._forwarders.values():
                forwarder.count_refused()
            if self._slow_until is None:
                self._report_condition("log-redaction", SLOW_PATTERNS_PROBLEM)
            self._slow_until = time.monotonic() + SLOW_PATTERNS_S
            return True
        if self._slow_until is not None and time.monotonic() > self._slow_until:
            self._slow_until = None
            self._report_condition("log-redaction", None)
        return False

    def _build_redactor(self) -> None:
        if not self._forwarders:
            return
        from autopilot.adapters.logs.redaction import PatternTime, Redactor, SecretMemory

        rules = self._plan.logging.redact
        self._pattern_time = self._pattern_time or PatternTime()
        self._secret_memory = self._secret_memory or SecretMemory()
        self._redactor = Redactor(
            self._list_environments(),
            rules.names,
            rules.patterns,
            memory=self._secret_memory,
            pattern_time=self._pattern_time,
        )

    def _list_environments(self) -> Iterable[Mapping[str, str]]:
        from autopilot.spec.env_file import read_env_file

        yield self._context.life.env
        yield self._put_variables
        for job in self._plan.jobs:
            yield job.command.env
            if job.command.env_file is not None:
                with suppress(OSError, ValueError):  # the start of the job reports it
                    yield dict(read_env_file(job.command.env_file))

    # --- files ---

    def _use_files(self) -> None:
        """Look at the files once: lines from before this moment are of an earlier life."""
        if self._follower is None and any(job.log_files for job in self._plan.jobs):
            from autopilot.adapters.logs.file_follower import FileFollower

            self._follower = FileFollower(self._write_file_lines, self._note_opened, self._note_limit)
        if self._follower is not None:
            self._follower.use_sources(self._list_sources())

    def _start_follower(self) -> None:
        if self._follower is not None and not self._is_following:
            self._is_following = True
            self._context.start_task("log-files", self._follower.follow)

    def _list_sources(self) -> list[Source]:
        from autopilot.adapters.logs.file_follower import Source

        return [Source(job.name, file) for job in self._plan.jobs for file in job.log_files]

    def _write_file_lines(self, job: str, path: str, lines: list[bytes]) -> None:
        self._log.log_file_lines(job, path, lines, payload=self._find_payload(path))

    def _note_opened(self, path: str) -> None:
        """Find the payload of a new file now: it may end before its lines are read."""
        self._payloads_by_file.pop(path, None)  # of an earlier process with this pid
        self._find_payload(path)

    def _note_limit(self, is_limited: bool) -> None:
        if not self._is_following:  # the supervisor takes no reports yet; the next search tells it again
            return
        self._report_condition("log-files-limit", LIMIT_PROBLEM if is_limited else None)

    def _report_condition(self, kind: str, problem: str | None) -> None:
        """Report a condition once, or with None its end."""
        if self._conditions is None:
            from autopilot.adapters.condition_reporter import ConditionReporter

            self._conditions = ConditionReporter(self._context.report)
        if problem is not None:
            self._conditions.raise_condition(kind, problem)
        else:
            self._conditions.clear_condition(kind)

    def _find_payload(self, path: str) -> str | None:
        """Return the payload in whose directory a file is, also after its end."""
        match = PAYLOAD_DIRECTORY.search(path)
        if match is None:
            return None
        if (payload := self._read_payload_id(int(match[1]))) is not None:
            while len(self._payloads_by_file) >= MAX_REMEMBERED_PAYLOADS:
                del self._payloads_by_file[next(iter(self._payloads_by_file))]
            self._payloads_by_file[path] = payload
        return self._payloads_by_file.get(path)
