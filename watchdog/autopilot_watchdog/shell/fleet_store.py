"""Share knowledge with the fleet through Consul's KV store, and remove the agents of dead containers.

The key PREFIX/quarantine/DIGEST holds the reason of an operator's quarantine for all hosts. A host says under
PREFIX/quarantine/DIGEST/failed/HOST that the digest fails there (with the reason), and under .../good/HOST that it
lives well there. PREFIX/urgency is "now" or a date, and PREFIX/good/MACHINE/IMAGE has the last good digests of an
image, one a line. PREFIX/lives/DIGEST/HOST is the number of good lives on a host, while a ring or a promotion needs
it, and PREFIX/promoted/MACHINE/IMAGE is the canary's digest that an operator promoted. A failing Consul delays nothing.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import threading
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import asdict
from pathlib import Path
from typing import Any

from autopilot_watchdog.bounded_http import HttpClient
from autopilot_watchdog.bounded_json import MAX_DOCUMENT_BYTES, clip_text, get_text, parse_json
from autopilot_watchdog.config.config_model import Config
from autopilot_watchdog.config.slot_config import format_slot_name
from autopilot_watchdog.core.fleet_good import GoodDigests
from autopilot_watchdog.core.observation import FleetPromotion, FleetState
from autopilot_watchdog.core.slot_actions import ShareQuarantine
from autopilot_watchdog.shell.fleet_keys import parse_fleet_state


class FleetStore:
    """Client of the host's Consul agent; no method raises, `last_error` tells the failure of the last request."""

    def __init__(self, config: Config) -> None:
        assert config.consul is not None
        self._settings = config.consul
        self._config = config
        self._http = HttpClient(use_proxies=False)  # the agent is on this host
        self._lock = threading.Lock()  # several containers are removed at once
        self.last_error = ""  # sentence about the last request; "" after a success
        # True while a question for the fleet's state has waited longer than a pass does: nothing is told to Consul then
        self.is_silent = False

    def read_fleet_state(self) -> FleetState | None:
        """Return the fleet's quarantines and urgency; None if Consul does not answer."""
        try:
            return self._parse_fleet_state()
        except Exception as error:  # a mistake of ours about Consul's answer: the slots are filled without it
            self.last_error = clip_text(f"internal error with the answer of Consul: {error!r}; please report it")
            return None

    def _parse_fleet_state(self) -> FleetState | None:
        prefix = self._settings.prefix
        items = self._request("GET", f"kv/{prefix}/?recurse=true")
        if items is None:
            return None if self.last_error else FleetState()
        if not isinstance(items, list):
            self.last_error = f"Consul at {self._settings.address} answers nonsense: its list of keys is no list"
            return None
        values = {get_text(item, "Key"): _decode_value(item) for item in items}
        return parse_fleet_state(values, prefix, os.uname().machine)

    def share_good_digests(self, good: GoodDigests) -> str:
        """Tell the fleet the good digests of an image; return a sentence about the failure, "" after a success.

        They are kept by machine type, because each has digests of its own.
        """
        path = urllib.parse.quote(f"{os.uname().machine}/{good.reference}")
        return self._tell("PUT", f"kv/{self._settings.prefix}/good/{path}", "\n".join(good.digests).encode())

    def order_quarantine(self, digest: str, reason: str) -> str:
        """Quarantine a digest for the whole fleet; return a sentence about the failure, "" after a success."""
        return self._tell("PUT", f"kv/{self._settings.prefix}/quarantine/{digest}", reason.encode())

    def order_promotion(self, reference: str, promotion: FleetPromotion) -> str:
        """Promote a canary's digest for the whole fleet; return a sentence about the failure, "" after a success.

        It counts for hosts of this machine type, because each type has digests of its own.
        """
        path = urllib.parse.quote(f"{os.uname().machine}/{reference}")
        text = json.dumps(asdict(promotion))
        return self._tell("PUT", f"kv/{self._settings.prefix}/promoted/{path}", text.encode())

    def share_lives(self, digest: str, lives: int) -> str:
        """Tell the fleet the good lives of a digest here; return a sentence about the failure, "" after a success."""
        host = urllib.parse.quote(self._config.host, safe="")
        path = f"kv/{self._settings.prefix}/lives/{digest}/{host}"
        return self._tell("PUT", path, str(lives).encode()) if lives else self._tell("DELETE", path)

    def share_quarantine(self, action: ShareQuarantine) -> str:
        """Tell the fleet that a digest fails here; return a sentence about the failure, "" after a success."""
        return self._tell("PUT", self._format_voice(action.digest, "failed"), action.reason.encode())

    def share_good_life(self, digest: str) -> str:
        """Tell the fleet that a digest lives well here; return a sentence about the failure, "" after a success."""
        return self._tell("PUT", self._format_voice(digest, "good"), b"")

    def withdraw_quarantine(self, digest: str) -> str:
        """Take back that a digest fails here; return a sentence about the failure, "" after a success."""
        return self._tell("DELETE", self._format_voice(digest, "failed"))

    def _format_voice(self, digest: str, kind: str) -> str:
        host = urllib.parse.quote(self._config.host, safe="")
        return f"kv/{self._settings.prefix}/quarantine/{digest}/{kind}/{host}"

    def release_quarantine(self, digest: str) -> str:
        """Lift a quarantine for the fleet and forget what hosts said; return a sentence about the failure, or ""."""
        return self._tell("DELETE", f"kv/{self._settings.prefix}/quarantine/{digest}?recurse=true")

    def force_leave(self, slot: str) -> str:
        """Remove the agent of a killed container from Consul's members, where it would be listed for 72 h.

        Returns:
            A sentence about the failure; "" after a success or without a configured node name.
        """
        if not self._settings.node:
            return ""
        _, number = self._config.map_slots_to_groups().get(slot, (None, 0))
        node = format_slot_name(self._settings.node, self._config.host, number, slot)
        return self._tell("PUT", f"agent/force-leave/{urllib.parse.quote(node)}")

    def _tell(self, method: str, path: str, body: bytes | None = None) -> str:
        """Send something, unless Consul is silent; return a sentence about the failure, "" after a success."""
        if self.is_silent:
            return f"Consul at {self._settings.address} does not answer in time"
        with self._lock:
            self._send(method, path, body)
            return self.last_error

    def _request(self, method: str, path: str, body: bytes | None = None) -> Any:
        with self._lock:
            return self._send(method, path, body)

    def _send(self, method: str, path: str, body: bytes | None) -> Any:
        self.last_error = ""
        try:
            request = urllib.request.Request(f"{self._settings.address}/v1/{path}", body, method=method)
            if self._settings.token_file:
                token = Path(self._settings.token_file).read_text().strip()
                request.add_unredirected_header("X-Consul-Token", token)  # it is for this agent alone
            _, text = self._http.send(request, self._settings.timeout, MAX_DOCUMENT_BYTES)
            return parse_json(text) if text.strip() else None
        except urllib.error.HTTPError as error:
            if error.code != 404:  # 404: there is no such key
                self.last_error = f"Consul refuses {method} {path}: {error.code}"
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.last_error = clip_text(f"cannot reach Consul at {self._settings.address}: {error}")
        return None


def _decode_value(item: object) -> str:
    """Return the text of a key's value; "" for one that is no text."""
    try:
        return clip_text(base64.b64decode(get_text(item, "Value", MAX_DOCUMENT_BYTES)).decode(errors="replace").strip())
    except ValueError:
        return ""
