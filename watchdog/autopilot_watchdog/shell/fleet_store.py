"""The fleet's shared knowledge in Consul's KV store, and the registrations of the dead. Best effort: never in the way.

Keys: PREFIX/quarantine/DIGEST holds the reason, PREFIX/urgency "now" or a date.
"""

from __future__ import annotations

import base64
import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from autopilot_watchdog.config.config_model import Config, format_slot_name
from autopilot_watchdog.core.observation import FleetState
from autopilot_watchdog.core.slot_actions import ShareQuarantine


class FleetStore:
    def __init__(self, config: Config) -> None:
        assert config.consul is not None
        self._settings = config.consul
        self._config = config
        self.last_error = ""  # of the last request, a sentence

    def read_fleet_state(self) -> FleetState | None:
        """None when Consul cannot be asked: what was known stays known."""
        found = self._request("GET", f"kv/{self._settings.prefix}/?recurse=true")
        if found is None:
            return None if self.last_error else FleetState()
        values = {item["Key"]: base64.b64decode(item["Value"] or "").decode(errors="replace").strip() for item in found}
        start = f"{self._settings.prefix}/quarantine/"
        quarantine = {key.removeprefix(start): why for key, why in values.items() if key.startswith(start)}
        return FleetState(quarantine, values.get(f"{self._settings.prefix}/urgency", ""))

    def share_quarantine(self, action: ShareQuarantine) -> str:
        """The complaint; "" when the fleet knows now."""
        reason = f"{self._config.host}: {action.reason}"
        self._request("PUT", f"kv/{self._settings.prefix}/quarantine/{action.digest}", reason.encode())
        return self.last_error

    def release_quarantine(self, digest: str) -> str:
        self._request("DELETE", f"kv/{self._settings.prefix}/quarantine/{digest}")
        return self.last_error

    def force_leave(self, slot: str) -> str:
        """A killed container's agent stays listed for 72 h; this takes it out within a second."""
        if not self._settings.node:
            return ""
        number = self._config.map_slots_to_groups()[slot][1] if slot in self._config.map_slots_to_groups() else 0
        node = format_slot_name(self._settings.node, self._config.host, number)
        self._request("PUT", f"agent/force-leave/{urllib.parse.quote(node)}")
        return self.last_error

    def _request(self, method: str, path: str, body: bytes | None = None) -> Any:
        request = urllib.request.Request(f"{self._settings.address}/v1/{path}", body, method=method)
        self.last_error = ""
        try:
            if self._settings.token_file:
                request.add_header("X-Consul-Token", Path(self._settings.token_file).read_text().strip())
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # the agent is this host's
            with opener.open(request, timeout=self._settings.timeout) as response:
                text = response.read()
            return json.loads(text) if text.strip() else None
        except urllib.error.HTTPError as error:
            error.close()
            if error.code != 404:  # no such key
                self.last_error = f"Consul refuses {method} {path}: {error.code}"
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.last_error = f"cannot reach Consul at {self._settings.address}: {error}"
        return None
