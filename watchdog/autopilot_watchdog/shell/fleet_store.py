"""Share knowledge with the fleet through Consul's KV store, and remove the agents of dead containers.

The key PREFIX/quarantine/DIGEST holds a reason, PREFIX/urgency "now" or a date. A failing Consul delays nothing.
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

from autopilot_watchdog.config.config_model import Config
from autopilot_watchdog.config.slot_config import format_slot_name
from autopilot_watchdog.core.observation import FleetState
from autopilot_watchdog.core.slot_actions import ShareQuarantine


class FleetStore:
    """Client of the host's Consul agent; no method raises, `last_error` tells the failure of the last request."""

    def __init__(self, config: Config) -> None:
        assert config.consul is not None
        self._settings = config.consul
        self._config = config
        self.last_error = ""  # sentence about the last request; "" after a success

    def read_fleet_state(self) -> FleetState | None:
        """Return the fleet's quarantines and urgency; None if Consul does not answer."""
        prefix = self._settings.prefix
        items = self._request("GET", f"kv/{prefix}/?recurse=true")
        if items is None:
            return None if self.last_error else FleetState()
        values = {item["Key"]: base64.b64decode(item["Value"] or "").decode(errors="replace").strip() for item in items}
        folder = f"{prefix}/quarantine/"
        quarantine = {key.removeprefix(folder): reason for key, reason in values.items() if key.startswith(folder)}
        return FleetState(quarantine, values.get(f"{prefix}/urgency", ""))

    def share_quarantine(self, action: ShareQuarantine) -> str:
        """Tell the fleet of a quarantine; return a sentence about the failure, "" after a success."""
        reason = f"{self._config.host}: {action.reason}"
        self._request("PUT", f"kv/{self._settings.prefix}/quarantine/{action.digest}", reason.encode())
        return self.last_error

    def release_quarantine(self, digest: str) -> str:
        """Lift a quarantine for the fleet; return a sentence about the failure, "" after a success."""
        self._request("DELETE", f"kv/{self._settings.prefix}/quarantine/{digest}")
        return self.last_error

    def force_leave(self, slot: str) -> str:
        """Remove the agent of a killed container from Consul's members, where it would be listed for 72 h.

        Returns:
            A sentence about the failure; "" after a success or without a configured node name.
        """
        if not self._settings.node:
            return ""
        _, number = self._config.map_slots_to_groups().get(slot, (None, 0))
        node = format_slot_name(self._settings.node, self._config.host, number)
        self._request("PUT", f"agent/force-leave/{urllib.parse.quote(node)}")
        return self.last_error

    def _request(self, method: str, path: str, body: bytes | None = None) -> Any:
        request = urllib.request.Request(f"{self._settings.address}/v1/{path}", body, method=method)
        self.last_error = ""
        try:
            if self._settings.token_file:
                request.add_header("X-Consul-Token", Path(self._settings.token_file).read_text().strip())
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no proxy: the agent is on this host
            with opener.open(request, timeout=self._settings.timeout) as response:
                text = response.read()
            return json.loads(text) if text.strip() else None
        except urllib.error.HTTPError as error:
            error.close()
            if error.code != 404:  # 404: there is no such key
                self.last_error = f"Consul refuses {method} {path}: {error.code}"
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.last_error = f"cannot reach Consul at {self._settings.address}: {error}"
        return None
