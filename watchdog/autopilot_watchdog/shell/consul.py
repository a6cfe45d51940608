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

from autopilot_watchdog.config.model import Config, slot_name
from autopilot_watchdog.core.actions import ShareQuarantine
from autopilot_watchdog.core.observation import Fleet


class ConsulKV:
    def __init__(self, config: Config) -> None:
        assert config.consul is not None
        self._rules = config.consul
        self._config = config
        self.trouble = ""  # of the last request, a sentence

    def fleet(self) -> Fleet | None:
        """None when Consul cannot be asked: what was known stays known."""
        found = self._ask("GET", f"kv/{self._rules.prefix}/?recurse=true")
        if found is None:
            return None if self.trouble else Fleet()
        values = {item["Key"]: base64.b64decode(item["Value"] or "").decode(errors="replace").strip() for item in found}
        start = f"{self._rules.prefix}/quarantine/"
        quarantine = {key.removeprefix(start): why for key, why in values.items() if key.startswith(start)}
        return Fleet(quarantine, values.get(f"{self._rules.prefix}/urgency", ""))

    def share(self, action: ShareQuarantine) -> str:
        """The complaint; "" when the fleet knows now."""
        reason = f"{self._config.host}: {action.reason}"
        self._ask("PUT", f"kv/{self._rules.prefix}/quarantine/{action.digest}", reason.encode())
        return self.trouble

    def release(self, digest: str) -> str:
        self._ask("DELETE", f"kv/{self._rules.prefix}/quarantine/{digest}")
        return self.trouble

    def leave(self, slot: str) -> str:
        """A killed container's agent stays listed for 72 h; this takes it out within a second."""
        if not self._rules.node:
            return ""
        number = self._config.group_of()[slot][1] if slot in self._config.group_of() else 0
        node = slot_name(self._rules.node, self._config.host, number)
        self._ask("PUT", f"agent/force-leave/{urllib.parse.quote(node)}")
        return self.trouble

    def _ask(self, method: str, path: str, body: bytes | None = None) -> Any:
        request = urllib.request.Request(f"{self._rules.address}/v1/{path}", body, method=method)
        self.trouble = ""
        try:
            if self._rules.token_file:
                request.add_header("X-Consul-Token", Path(self._rules.token_file).read_text().strip())
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # the agent is this host's
            with opener.open(request, timeout=self._rules.timeout) as response:
                text = response.read()
            return json.loads(text) if text.strip() else None
        except urllib.error.HTTPError as error:
            error.close()
            if error.code != 404:  # no such key
                self.trouble = f"Consul refuses {method} {path}: {error.code}"
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.trouble = f"cannot reach Consul at {self._rules.address}: {error}"
        return None
