"""What the watchdog asks of an engine. Works on Docker and Podman; where they differ, it is said."""

from __future__ import annotations

import base64
import contextlib
import datetime
import functools
import json
import re
import secrets
import struct
import time
from collections.abc import Iterator
from typing import Any

from autopilot_watchdog.config.config_model import SlotGroup, format_slot_name
from autopilot_watchdog.core.observation import Container
from autopilot_watchdog.engine import container_request
from autopilot_watchdog.engine.engine_http import EngineClient, EngineRefusedError, EngineUnreachableError

PULLED_TAG_PREFIX = "watchdog-"  # images we pulled carry a tag of ours, so that `docker image prune` leaves them alone
MAX_NAME_TRIES = 5
SLOW_CALL_TIMEOUT_S = 120.0  # s for what an engine may take its time over: a start, a removal
PODMAN_STATES = {
    "stopped": "exited",
    "configured": "created",
    "initialized": "created",
}  # states: Podman's word -> Docker's


class PullError(Exception):
    """The engine could not fetch the digest, or has something else."""


class Engine:
    """Raises EngineUnreachable or EngineRefused."""

    def __init__(self, client: EngineClient, owner: str) -> None:
        self.client = client
        self._owner = owner

    @property
    def name(self) -> str:
        return self.client.name

    @functools.cached_property
    def storage_folder(self) -> str:
        """The folder of its images and containers; "" when it does not say."""
        try:
            return str(self.client.request_json("GET", "/info").get("DockerRootDir") or "")
        except (EngineRefusedError, EngineUnreachableError):
            return ""

    def list_containers(self) -> list[Container]:
        """Every container with this watchdog's label, dead or alive, without last words."""
        listed = (
            self.client.request_json(
                "GET", "/containers/json", {"all": "true", "filters": self._build_label_filter(self._owner)}
            )
            or []
        )
        found = []
        for item in listed:
            try:
                found.append(self._parse_container(self.client.request_json("GET", f"/containers/{item['Id']}/json")))
            except EngineRefusedError as error:
                if error.status != 404:  # removed between the two questions
                    raise
        return found

    def has_image(self, repository: str, digest: str) -> bool:
        """Asked by name: the list of all images lacks what was pulled by digest on Podman 4.3."""
        try:
            self.client.request_json("GET", f"/images/{repository}@{digest}/json")
        except EngineRefusedError as error:
            if error.status != 404:
                raise
            return False
        return True

    def start_container(
        self, group: SlotGroup, number: int, digest: str, *, host: str, state_folder: str | None
    ) -> str:
        """A new life of the slot, under a name no life had before. Returns the engine's id."""
        for tried in range(MAX_NAME_TRIES):
            name = f"{format_slot_name(group.name, host, number)}-{secrets.token_hex(4)}"
            body = container_request.build_container_request(
                group, number, host=host, name=name, digest=digest, owner=self._owner, state_folder=state_folder
            )
            try:
                made = self.client.request_json("POST", "/containers/create", {"name": name}, body)
                break
            except EngineRefusedError as error:
                taken = error.status == 409 or (error.status == 500 and "already in use" in str(error))  # Podman: 500
                if not taken or tried == MAX_NAME_TRIES - 1:
                    raise
        try:
            self.client.request_json("POST", f"/containers/{made['Id']}/start", timeout=SLOW_CALL_TIMEOUT_S)
        except EngineRefusedError:
            with contextlib.suppress(EngineRefusedError):  # the next pass buries it
                self.remove_container(made["Id"])
            raise
        return str(made["Id"])

    def remove_container(self, container: str) -> None:
        """The container with its unnamed volumes; none with that id is fine. One that runs is refused: no force."""
        try:
            self.client.request_json("DELETE", f"/containers/{container}", {"v": "true"}, timeout=SLOW_CALL_TIMEOUT_S)
        except EngineRefusedError as error:
            if error.status != 404 and "no such container" not in str(error).lower():
                raise

    def read_logs(self, container: str, lines: int = 20) -> str:
        """The last lines it printed."""
        query = {"stdout": "true", "stderr": "true", "tail": str(lines)}
        with self.client.open_response("GET", f"/containers/{container}/logs", query) as response:
            return _strip_frame_headers(response.read(1 << 20))

    def pull_image(
        self,
        repository: str,
        digest: str,
        *,
        auth: dict[str, str] | None,
        timeout: float,
    ) -> None:
        """Fetch exactly this digest within so many seconds, and look whether the engine has it. Raises PullFailed.

        An engine says 200 first and how it went later: an error comes as a line of the stream, and when the stream
        breaks off, not at all.
        """
        query = {"fromImage": repository, "tag": digest}
        headers, end = {}, time.monotonic() + timeout
        if auth:
            headers["X-Registry-Auth"] = base64.urlsafe_b64encode(json.dumps(auth).encode()).decode()
        try:
            with self.client.open_response(
                "POST", "/images/create", query, headers=headers, timeout=timeout
            ) as response:
                for line in self.client.read_json_lines(response):
                    if time.monotonic() > end:
                        raise PullError(f"it took longer than {timeout:.0f} s")
                    if line.get("error"):
                        raise PullError(str(line["error"]))
        except EngineRefusedError as error:
            raise PullError(str(error)) from None
        except (OSError, ValueError) as error:
            raise PullError(f"the engine's answer broke off: {error}") from None
        self._verify_pulled_image(repository, digest)

    def _verify_pulled_image(self, repository: str, digest: str) -> None:
        wanted = f"{repository}@{digest}"
        try:
            image = self.client.request_json("GET", f"/images/{wanted}/json")
        except EngineRefusedError as error:
            raise PullError(f"the pull ended without an error, but {wanted} is not there: {error}") from None
        if not any(name.endswith(f"@{digest}") for name in image.get("RepoDigests") or []):
            raise PullError(f"pulled {wanted}, but the engine has {image.get('RepoDigests')}")
        self.client.request_json("POST", f"/images/{wanted}/tag", {"repo": repository, "tag": _format_tag(digest)})

    def remove_image(self, repository: str, digest: str) -> None:
        """Our tag and the digest's name; the layers go when nobody else's name holds them. Never forced."""
        for name in (f"{repository}:{_format_tag(digest)}", f"{repository}@{digest}"):
            try:
                self.client.request_json("DELETE", f"/images/{name}", timeout=SLOW_CALL_TIMEOUT_S)
            except EngineRefusedError as error:
                if error.status != 404:
                    raise

    def run_preflight(self, group: SlotGroup, digest: str, command: tuple[str, ...], timeout: float) -> tuple[int, str]:
        """Run a command in a throwaway container: its status (124: it took too long) and what it printed last."""
        body = container_request.build_preflight_request(group, digest, self._owner, command)
        made = self.client.request_json(
            "POST", "/containers/create", {"name": f"preflight-{secrets.token_hex(4)}"}, body
        )
        try:
            self.client.request_json("POST", f"/containers/{made['Id']}/start", timeout=SLOW_CALL_TIMEOUT_S)
            try:
                waited = self.client.request_json("POST", f"/containers/{made['Id']}/wait", timeout=timeout)
                status = int(waited["StatusCode"])
            except EngineUnreachableError as error:
                if not error.timed_out:
                    raise
                status = 124
            return status, self.read_logs(made["Id"], 5)
        finally:
            self.client.request_json(
                "DELETE", f"/containers/{made['Id']}", {"v": "true", "force": "true"}, timeout=SLOW_CALL_TIMEOUT_S
            )

    def remove_preflight_containers(self) -> None:
        """Throwaway containers that a killed watchdog left behind."""
        query = {"all": "true", "filters": self._build_label_filter(f"{self._owner} preflight")}
        for item in self.client.request_json("GET", "/containers/json", query) or []:
            self.client.request_json(
                "DELETE", f"/containers/{item['Id']}", {"v": "true", "force": "true"}, timeout=SLOW_CALL_TIMEOUT_S
            )

    def execute_command(self, container: str, command: tuple[str, ...], timeout: float = 30) -> tuple[int, str]:
        """A command inside a running container: its status (124: it took too long) and what it printed."""
        body = {"AttachStdout": True, "AttachStderr": True, "Cmd": list(command)}
        made = self.client.request_json("POST", f"/containers/{container}/exec", body=body)
        start = {"Detach": False, "Tty": False}
        try:
            with self.client.open_response(
                "POST", f"/exec/{made['Id']}/start", body=start, timeout=timeout
            ) as response:
                said = _strip_frame_headers(response.read(1 << 16))
        except (TimeoutError, EngineUnreachableError) as error:
            if isinstance(error, EngineUnreachableError) and not error.timed_out:
                raise
            return 124, f"no answer within {timeout:.0f} s"
        return int(self.client.request_json("GET", f"/exec/{made['Id']}/json")["ExitCode"] or 0), said

    def watch_container_ends(self) -> Iterator[str]:
        """The slots whose containers ended, as they end; "" once, when the engine begins to tell."""
        query = {
            "filters": json.dumps({"type": ["container"], "label": [f"{container_request.OWNER_LABEL}={self._owner}"]})
        }
        with self.client.open_response("GET", "/events", query, without_read_timeout=True) as response:
            yield ""
            for event in self.client.read_json_lines(response):
                if (event.get("Action") or event.get("status")) in ("die", "died"):  # Podman's own word is died
                    yield str((event.get("Actor") or {}).get("Attributes", {}).get(container_request.SLOT_LABEL, ""))

    def _build_label_filter(self, owner: str) -> str:
        return json.dumps({"label": [f"{container_request.OWNER_LABEL}={owner}"]})

    def _parse_container(self, found: dict[str, Any]) -> Container:
        state, labels = found["State"], found["Config"].get("Labels") or {}
        return Container(
            id=found["Id"],
            name=found["Name"].lstrip("/"),
            engine=self.name,
            slot=labels.get(container_request.SLOT_LABEL, ""),
            digest=labels.get(container_request.DIGEST_LABEL, ""),
            image=labels.get(container_request.IMAGE_LABEL, ""),
            state=PODMAN_STATES.get(state["Status"], state["Status"]),
            started=_parse_timestamp(state.get("StartedAt", "")),
            ended=_parse_timestamp(state.get("FinishedAt", "")),
            exit_code=int(state.get("ExitCode") or 0),
            oom_killed=bool(state.get("OOMKilled")),
        )


def _format_tag(digest: str) -> str:
    return f"{PULLED_TAG_PREFIX}{digest.partition(':')[2][:16]}"


def _parse_timestamp(text: str) -> float:
    """RFC 3339 with nanoseconds, as engines write it; year 1 is "never"."""
    match = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)", text or "")
    if match is None or match[1].startswith("0001"):
        return 0.0
    zone = "+00:00" if match[3] == "Z" else match[3]
    return datetime.datetime.fromisoformat(match[1] + zone).timestamp() + float(f"0.{match[2] or 0}")


def _strip_frame_headers(raw: bytes) -> str:
    """An engine's log stream without its 8-byte frame headers (stream, 3 x 0, length big-endian)."""
    if raw[:1] not in (b"\0", b"\1", b"\2") or raw[1:4] != b"\0\0\0":
        return raw.decode(errors="replace").strip()
    text, at = b"", 0
    while at + 8 <= len(raw):
        (length,) = struct.unpack(">I", raw[at + 4 : at + 8])
        text += raw[at + 8 : at + 8 + length]
        at += 8 + length
    return text.decode(errors="replace").strip()
