"""Drive Docker through its API: list, start and remove containers; pull, check and remove images.

Other engines with the same API subclass DockerEngine and override the members that say where they differ.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import http.client
import json
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar

from autopilot_watchdog.bounded_json import MAX_TEXT_CHARS, clip_text, get_integer, get_list, get_object, get_text
from autopilot_watchdog.config.slot_config import SlotGroup, format_slot_name
from autopilot_watchdog.core.observation import Container
from autopilot_watchdog.core.state_ownership import CONFIG_LABEL, ForeignContainer
from autopilot_watchdog.engine import container_request
from autopilot_watchdog.engine.docker_answers import parse_container, split_log_stream, strip_frame_headers
from autopilot_watchdog.engine.engine import (
    SLOW_CALL_TIMEOUT_S,
    TIMED_OUT_STATUS,
    EngineNonsenseError,
    EngineRefusedError,
    EngineUnreachableError,
    PullError,
)
from autopilot_watchdog.engine.engine_http import EngineClient
from autopilot_watchdog.engine.kill_events import needs_kill_events, was_kill_asked
from autopilot_watchdog.engine.known_containers import KnownContainers

PULLED_TAG_PREFIX = "watchdog-"  # images we pulled carry a tag of ours, so that `docker image prune` leaves them alone
MAX_NAME_TRIES = 5
MAX_PATH_CHARS = 4096
MAX_LOG_BYTES, MAX_OUTPUT_BYTES = 1 << 20, 1 << 16


class DockerEngine:
    """Docker of this host, for the containers with one owner's label."""

    STATES: ClassVar[Mapping[str, str]] = {}  # a container's states that Docker calls otherwise -> Docker's word
    # Events that say that a container ended or is gone: during a forced removal it counts as alive until it is gone.
    END_ACTIONS: ClassVar[frozenset[str]] = frozenset({"die", "destroy"})
    KILL_ACTIONS: ClassVar[frozenset[str]] = frozenset({"kill"})  # events that say that somebody asked for a kill
    # Further events to ask for, since they change a container; none: all events. A command inside, such as a health
    # check, changes nothing.
    CHANGE_ACTIONS: ClassVar[frozenset[str]] = frozenset(
        {"start", "restart", "pause", "unpause", "oom", "health_status", "rename", "update"}
    )

    def __init__(self, name: str, socket: str, owner: str) -> None:
        self.name = name
        self._client = EngineClient(name, socket)
        self._owner = owner
        self._known = KnownContainers()

    @functools.cached_property
    def storage_folder(self) -> str:
        """Folder of the engine's images and containers; "" if the engine does not tell."""
        try:
            return get_text(self._client.request_json("GET", "/info"), "DockerRootDir", MAX_PATH_CHARS)
        except (EngineRefusedError, EngineUnreachableError):
            return ""

    def get_platform(self) -> tuple[str, str]:
        """Return operating system and architecture in the registries' words, such as linux, amd64."""
        version = self._client.version_info
        return get_text(version, "Os") or "linux", get_text(version, "Arch") or "amd64"

    def list_containers(self) -> list[Container]:
        """Return every container with this owner's label, dead or alive, without last words."""
        containers = []
        items = self._list_by_owner(self._owner)
        self._known.keep_only([item["Id"] for item in items])
        for item in items:
            if (known := self._known.find(item)) is not None:
                containers.append(known)
                continue
            document, changes = None, self._known.count_changes()
            try:
                document = self._client.request_json("GET", f"/containers/{item['Id']}/json")
            except EngineRefusedError as error:
                if self._is_container_missing(error):  # removed between the two questions
                    continue
            except EngineNonsenseError:
                pass  # nothing is known about this one, and its slot is left alone
            container = parse_container(item, document, self.name, self.STATES)
            if needs_kill_events(container):
                container = replace(container, stop_asked=was_kill_asked(self._client, container, self.KILL_ACTIONS))
            self._known.remember(container, changes)
            containers.append(container)
        return containers

    def list_foreign_containers(self) -> list[ForeignContainer]:
        """Return the living containers that other owners' watchdogs started with a configuration file."""
        items = self._request_list("/containers/json", {"filters": json.dumps({"label": [CONFIG_LABEL]})})
        found: list[ForeignContainer] = []
        for item in items if isinstance(items, list) else []:
            labels = get_object(item, "Labels")
            owner = get_text(labels, container_request.OWNER_LABEL, MAX_PATH_CHARS)
            if not owner or owner == self._owner:
                continue
            names = [name for name in get_list(item, "Names") if isinstance(name, str)]
            name = clip_text(names[0].lstrip("/")) if names else get_text(item, "Id")[:12]
            config_file = get_text(labels, CONFIG_LABEL, MAX_PATH_CHARS)
            found.append(ForeignContainer(name, owner, config_file, get_text(labels, container_request.SLOT_LABEL)))
        return found

    def start_container(
        self, group: SlotGroup, number: int, digest: str, *, host: str, state_folder: str | None
    ) -> str:
        """Create and start a container for a slot, under a new name; return the engine's id of it."""
        for attempt in range(1, MAX_NAME_TRIES + 1):
            name = f"{format_slot_name(group.name, host, number)}-{secrets.token_hex(4)}"
            body = container_request.build_container_request(
                group, number, host=host, name=name, digest=digest, owner=self._owner, state_folder=state_folder
            )
            try:
                created = self._request_id("/containers/create", {"name": name}, body)
                break
            except EngineRefusedError as error:
                if not self._is_name_taken(error) or attempt == MAX_NAME_TRIES:
                    raise
        try:
            self._client.request_json("POST", f"/containers/{created}/start", timeout=SLOW_CALL_TIMEOUT_S)
        except EngineRefusedError:
            with contextlib.suppress(EngineRefusedError):  # else the next pass removes it
                self.remove_container(created)
            raise
        return created

    def remove_container(self, container: str) -> None:
        """Remove a dead container with its unnamed volumes; a missing one is fine, a running one is refused."""
        try:
            self._delete_container(container)
        except EngineRefusedError as error:
            if not self._is_container_missing(error):
                raise

    def find_container_root(self) -> int:
        """Return the user on this host that root inside of a container is: the socket's owner."""
        try:
            return os.stat(self._client.path).st_uid
        except OSError:
            return os.getuid()

    def stop_container(self, container: str, timeout: float) -> None:
        """Ask a container to end in order, and wait for its end; a missing or dead one is fine."""
        try:
            self._client.request_json("POST", f"/containers/{container}/stop", timeout=timeout)
        except EngineRefusedError as error:
            if not self._is_container_missing(error):
                raise

    def read_logs(self, container: str, lines: int = 20) -> str:
        """Return the last lines that the container printed."""
        query = {"stdout": "true", "stderr": "true", "tail": str(lines)}
        with self._client.open_response(
            "GET", f"/containers/{container}/logs", query, max_bytes=MAX_LOG_BYTES
        ) as response:
            return strip_frame_headers(response.read(MAX_LOG_BYTES))

    def follow_logs(self, container: str, lines: int) -> Iterator[str]:
        """Yield the last lines that the container printed, and each further one until the container ends."""
        query = {"stdout": "true", "stderr": "true", "tail": str(lines), "follow": "true"}
        with self._client.open_response("GET", f"/containers/{container}/logs", query, is_endless=True) as response:
            yield from split_log_stream(self._client.read_chunks(response))

    def execute_command(self, container: str, command: tuple[str, ...], timeout: float = 30) -> tuple[int, str]:
        """Run a command inside a running container; return its exit status (124: timed out) and its output."""
        body = {"AttachStdout": True, "AttachStderr": True, "Cmd": list(command)}
        created = self._request_id(f"/containers/{container}/exec", {}, body)
        start = {"Detach": False, "Tty": False}
        try:
            with self._client.open_response(
                "POST",
                f"/exec/{created}/start",
                body=start,
                timeout=timeout,
                max_bytes=MAX_OUTPUT_BYTES,
            ) as response:
                output = strip_frame_headers(response.read(MAX_OUTPUT_BYTES))
        except EngineUnreachableError as error:
            if not error.timed_out:
                raise
            return TIMED_OUT_STATUS, f"no answer within {timeout:g} s"
        return get_integer(self._client.request_json("GET", f"/exec/{created}/json"), "ExitCode") or 0, output

    def watch_container_ends(self) -> Iterator[str]:
        """Yield the slot of each container that ends or is removed; first yield "" when the stream is open."""
        label = f"{container_request.OWNER_LABEL}={self._owner}"
        filters = {"type": ["container"], "label": [label]}
        if self.CHANGE_ACTIONS:
            filters["event"] = sorted(self.END_ACTIONS | self.CHANGE_ACTIONS)
        query = {"filters": json.dumps(filters)}
        with (
            self._client.open_response("GET", "/events", query, is_endless=True) as response,
            self._known.listen(),
        ):
            yield ""
            for event in self._client.read_json_lines(response):
                action, actor = get_text(event, "Action") or get_text(event, "status"), get_object(event, "Actor")
                if not action.startswith("exec_"):
                    self._known.forget(get_text(actor, "ID"))
                if action in self.END_ACTIONS:
                    yield get_text(get_object(actor, "Attributes"), container_request.SLOT_LABEL)

    def has_image(self, repository: str, digest: str) -> bool:
        """Return True if the image is on disk.

        It is asked for by name: on Podman 4.3 the list of all images lacks those that were pulled by digest.
        """
        try:
            self._client.request_json("GET", f"/images/{repository}@{digest}/json")
        except EngineRefusedError as error:
            if error.status != 404:
                raise
            return False
        return True

    def pull_image(self, repository: str, digest: str, *, auth: dict[str, str] | None, timeout: float) -> None:
        """Fetch exactly this digest and check that the engine has it.

        An engine answers 200 before it pulls. It reports an error as a line of the stream and, if the stream breaks
        off, not at all; hence the check at the end.

        Raises:
            PullError: The pull failed, or the engine has another digest.
        """
        query = {"fromImage": repository, "tag": digest}
        headers, end = {}, time.monotonic() + timeout
        if auth:
            headers["X-Registry-Auth"] = base64.urlsafe_b64encode(json.dumps(auth).encode()).decode()
        try:
            with self._client.open_response(
                "POST", "/images/create", query, headers=headers, timeout=timeout
            ) as response:
                self._follow_pull(response, end, timeout)
        except EngineRefusedError as error:
            raise PullError(str(error)) from None
        self._verify_pulled_image(repository, digest)

    def _follow_pull(self, response: http.client.HTTPResponse, end: float, timeout: float) -> None:
        """Read the progress of a pull to its end; raise PullError if it fails."""
        try:
            for line in self._client.read_json_lines(response):
                if isinstance(line, dict) and line.get("error"):
                    raise PullError(get_text(line, "error") or "the engine gives no reason")
        except (OSError, http.client.HTTPException, ValueError) as error:
            if time.monotonic() <= end:
                raise PullError(f"the engine's answer broke off: {error}") from None
        if time.monotonic() > end:  # the answer may have been cut
            raise PullError(f"the pull took longer than {timeout:g} s")

    def remove_image(self, repository: str, digest: str) -> None:
        """Remove our tag and the digest's name; the layers go with their last name. Never force."""
        for name in (f"{repository}:{_format_tag(digest)}", f"{repository}@{digest}"):
            try:
                self._client.request_json("DELETE", f"/images/{name}", timeout=SLOW_CALL_TIMEOUT_S)
            except EngineRefusedError as error:
                if error.status != 404:
                    raise

    def run_preflight(self, group: SlotGroup, digest: str, command: tuple[str, ...], timeout: float) -> tuple[int, str]:
        """Run a command in a throwaway container; return its exit status (124: timed out) and its last output."""
        body = container_request.build_preflight_request(group, digest, self._owner, command)
        name = f"preflight-{secrets.token_hex(4)}"
        created = self._request_id("/containers/create", {"name": name}, body)
        try:
            self._client.request_json("POST", f"/containers/{created}/start", timeout=SLOW_CALL_TIMEOUT_S)
            try:
                result = self._client.request_json("POST", f"/containers/{created}/wait", timeout=timeout)
                status = get_integer(result, "StatusCode")
                if status is None:
                    raise EngineUnreachableError(f"{self.name} answers nonsense: no exit status of the pre-flight")
            except EngineUnreachableError as error:
                if not error.timed_out:
                    raise
                status = TIMED_OUT_STATUS
            return status, self.read_logs(created, 5)
        finally:
            self._delete_container(created, force=True)

    def remove_preflight_containers(self) -> None:
        """Remove throwaway containers that a killed watchdog left behind."""
        for item in self._list_by_owner(container_request.format_preflight_owner(self._owner)):
            self._delete_container(item["Id"], force=True)

    def _is_name_taken(self, error: EngineRefusedError) -> bool:
        return error.status == 409

    def _is_container_missing(self, error: EngineRefusedError) -> bool:
        return error.status == 404

    def _list_by_owner(self, owner: str) -> list[dict[str, Any]]:
        filters = json.dumps({"label": [f"{container_request.OWNER_LABEL}={owner}"]})
        items = self._request_list("/containers/json", {"all": "true", "filters": filters})
        if not isinstance(items, list) or not all(get_text(item, "Id") for item in items):
            raise EngineUnreachableError(f"{self.name} answers nonsense: its list of containers is no list of objects")
        return items

    def _request_list(self, path: str, query: dict[str, str]) -> Any:
        """Ask for a list, a second time if the engine fails: a container that ends meanwhile can spoil the answer."""
        try:
            return self._client.request_json("GET", path, query) or []
        except EngineRefusedError as error:
            if error.status < 500:
                raise
        return self._client.request_json("GET", path, query) or []

    def _request_id(self, path: str, query: dict[str, str], body: dict[str, Any]) -> str:
        """Ask the engine to create something and return its id."""
        created = get_text(self._client.request_json("POST", path, query, body), "Id")
        if not created:
            raise EngineUnreachableError(f"{self.name} answers nonsense: it created something without an id")
        return created

    def _delete_container(self, container: str, *, force: bool = False) -> None:
        query = {"v": "true", **({"force": "true"} if force else {})}
        self._client.request_json("DELETE", f"/containers/{container}", query, timeout=SLOW_CALL_TIMEOUT_S)

    def _verify_pulled_image(self, repository: str, digest: str) -> None:
        """Check that the engine has the digest, and tag it as ours."""
        name = f"{repository}@{digest}"
        try:
            image = self._client.request_json("GET", f"/images/{name}/json")
        except EngineRefusedError as error:
            raise PullError(f"the pull ended without an error, but the engine has no {name}: {error}") from None
        names = [str(known)[:MAX_TEXT_CHARS] for known in get_list(image, "RepoDigests")]
        if not any(known.endswith(f"@{digest}") for known in names):
            raise PullError(f"pulled {name}, but the engine has {', '.join(names[:5]) or 'no name for it'}")
        self._client.request_json("POST", f"/images/{name}/tag", {"repo": repository, "tag": _format_tag(digest)})


def _format_tag(digest: str) -> str:
    return f"{PULLED_TAG_PREFIX}{digest.partition(':')[2][:16]}"
