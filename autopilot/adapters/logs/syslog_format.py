"""Render lines of the log as syslog messages (RFC 5424), for streams by octet counting (RFC 6587) or as datagrams."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from autopilot.adapters.logs.log_entry import ForwardedLine
from autopilot.spec.vocabulary import FACILITIES
from autopilot.timestamps import format_timestamp

SEVERITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
ELEMENT_ID = "autopilot@32473"  # the enterprise number that RFC 5612 reserves for everybody
MAX_STREAM_MESSAGE_BYTES = 8192  # receivers must accept 2048 (RFC 5424); rsyslog cuts at 8192 by default
MAX_DATAGRAM_BYTES = 2048
MAX_HOSTNAME_CHARS, MAX_APP_NAME_CHARS, MAX_PROCESS_ID_CHARS, MAX_MESSAGE_ID_CHARS = 255, 48, 128, 32
MAX_VALUE_CHARS = 512  # of one field of the structured data
CUT_MARK = " [cut]"


class SyslogFormat:
    """The form of the messages of one life."""

    def __init__(self, *, facility: str, hostname: str, context: Mapping[str, str]) -> None:
        """Create the form.

        Args:
            facility: One of FACILITIES.
            hostname: The name of this container.
            context: Fields of every message that describe this container, such as `slot`.
        """
        self._facility = FACILITIES[facility]
        self._hostname = _clean_name(hostname, MAX_HOSTNAME_CHARS)
        self._context = context

    def format_frame(self, line: ForwardedLine) -> bytes:
        """Return a message for a stream: its length, a space, the message."""
        message = self._format_message(line, MAX_STREAM_MESSAGE_BYTES)
        return b"%d %s" % (len(message), message)

    def format_datagram(self, line: ForwardedLine) -> bytes:
        """Return a message for one datagram."""
        return self._format_message(line, MAX_DATAGRAM_BYTES)

    def _format_message(self, line: ForwardedLine, max_bytes: int) -> bytes:
        fields = {key: str(value) for key, value in line.fields.items() if value is not None}
        pid = fields.pop("pid", "")
        priority = self._facility * 8 + SEVERITIES.get(line.level, SEVERITIES["info"])
        header = (
            f"<{priority}>1 {format_timestamp(line.time, digits=6)} {self._hostname} "
            f"{_clean_name(fields.get('job') or fields.get('check') or 'autopilot', MAX_APP_NAME_CHARS)} "
            f"{_clean_name(pid, MAX_PROCESS_ID_CHARS)} {_clean_name(line.event, MAX_MESSAGE_ID_CHARS)} "
        )
        data = header.encode() + _format_element({**fields, **self._context}).encode(errors="replace") + b" "
        return data + _cut_text(line.message.encode(errors="replace"), max(0, max_bytes - len(data)))


FORMATTERS: Mapping[str, Callable[[SyslogFormat, ForwardedLine], bytes]] = {
    "tcp": SyslogFormat.format_frame,
    "tls": SyslogFormat.format_frame,
    "udp": SyslogFormat.format_datagram,
}


def _clean_name(text: str, max_chars: int) -> str:
    """Return text as a field of the header: printable ASCII without spaces; "-" stands for nothing."""
    return "".join(char if "!" <= char <= "~" else "_" for char in text[:max_chars]) or "-"


def _format_element(fields: Mapping[str, str]) -> str:
    """Return fields as one element of structured data; "-" without any."""
    parameters = [
        f'{name}="{_escape_value(value[:MAX_VALUE_CHARS])}"'
        for key, value in fields.items()
        if (name := _clean_parameter_name(key))
    ]
    return f"[{ELEMENT_ID} {' '.join(parameters)}]" if parameters else "-"


def _clean_parameter_name(key: str) -> str:
    return "".join(char for char in key[:32] if "!" <= char <= "~" and char not in '="]')


def _escape_value(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("]", "\\]")


def _cut_text(text: bytes, max_bytes: int) -> bytes:
    """Return text of at most so many bytes, with a mark at its end if it was longer; no character is cut in two."""
    if len(text) <= max_bytes:
        return text
    kept = text[: max(0, max_bytes - len(CUT_MARK))].decode(errors="ignore")
    return (kept + CUT_MARK).encode()[:max_bytes]
