"""Real Consul agents, each on a loopback address of its own, so that every one has Consul's usual ports.

The program is the one on PATH, else Debian's package (the last one Debian has is bullseye's), unpacked.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_DNS, uuid5

from lab.cache import create_run_folder, discard
from lab.debs import DebianPackage, get_unpacked_package
from lab.lab_errors import LabError
from lab.ports import find_free_network

CONSUL_PACKAGE = DebianPackage(
    "consul", "1.8.7+dfsg1-2+b3", "bullseye", "e4e888bba104daba1d9161f49bfc52649a7e4efd45b1a7ead5bc54f2cb9c89d9"
)
STARTUP_TIMEOUT_S = 60.0  # s for an agent to answer and a cluster to have a leader
ROOT_TOKEN = "6f1e8d2a-5c1b-4d0e-8f3a-000000000001"
DATACENTER = "lab"


def find_program() -> str:
    """Raises LabError with what to install."""
    found = shutil.which("consul")
    if found:
        return found
    try:
        return str(get_unpacked_package(CONSUL_PACKAGE) / "usr/bin/consul")
    except LabError as error:
        raise LabError(f"no Consul here: {error}; install Consul so that `consul` is on PATH") from None


class Agent:
    """One agent, started by `start`. It forgets everything when it is started again, unless `keep`."""

    def __init__(self, folder: Path, address: str, *, server: bool, join: Sequence[str], config: Mapping[str, Any]):
        self.address, self.config = address, dict(config)
        self.node_name = f"wn-{address.replace('.', '-')}"
        self.token: str | None = None
        self._folder, self._is_server, self._join = folder / self.node_name, server, tuple(join)
        self._folder.mkdir()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def http_address(self) -> str:
        return f"{self.address}:8500"

    @property
    def pid(self) -> int:
        assert self._process is not None, "started"
        return self._process.pid

    def build_command(self) -> list[str]:
        alone = ["-dev"]  # has a leader at once
        one_of_many = ["-server", f"-bootstrap-expect={len(self._join)}"]
        role = [] if not self._is_server else alone if len(self._join) == 1 else one_of_many
        node_id = str(uuid5(NAMESPACE_DNS, self.node_name))
        return [
            *(
                find_program(),
                "agent",
                "-data-dir",
                str(self._folder / "data"),
                "-config-file",
                str(self._write_config()),
            ),
            *("-node", self.node_name, "-node-id", node_id, "-datacenter", DATACENTER),
            *("-bind", self.address, "-client", self.address),
            *("-dns-port", "-1", "-grpc-port", "-1", "-disable-host-node-id", "-log-level", "warn"),
            *role,
            *(f"-retry-join={peer}" for peer in self._join if peer != self.address),
        ]

    def _write_config(self) -> Path:
        path = self._folder / "agent.json"
        quick = {"raft_multiplier": 1}
        path.write_text(json.dumps({"retry_interval": "1s", "performance": quick, **self.config}))
        return path

    def start(self, *, keep_data: bool = False) -> None:
        if not keep_data:
            discard(self._folder / "data")
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(self.build_command(), stdout=log, stderr=log, start_new_session=True)

    def kill(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait()
            self._process = None

    def suspend(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def read_log(self) -> str:
        return (self._folder / "log").read_text(errors="replace")

    # --- what it says ---

    def request(self, path: str, *, method: str = "GET", body: object = None, token: str | None = None) -> Any:
        """Its answer as data, None for 404. Raises OSError, also for what it refuses."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else None
        secret = token or self.token
        connection = http.client.HTTPConnection(self.address, 8500, timeout=STARTUP_TIMEOUT_S)
        try:
            connection.request(method, path, data, {"X-Consul-Token": secret} if secret else {})
            answer = connection.getresponse()
            text = answer.read()
        except http.client.HTTPException as error:
            raise ConnectionError(f"Consul on {self.address}: {error!r}") from error
        finally:
            connection.close()
        if answer.status == 404:
            return None
        if answer.status >= 400:
            raise OSError(f"Consul on {self.address} answers {answer.status}: {text.decode(errors='replace')}")
        return json.loads(text) if text.strip() else None

    def put(self, path: str, body: object = None, *, token: str | None = None) -> Any:
        return self.request(path, method="PUT", body=body, token=token)

    def get_service_health(self, service: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.request(f"/v1/health/service/{service}")
        return found

    def await_leader(self) -> None:
        """Raises LabError with the end of its log."""
        until = time.monotonic() + STARTUP_TIMEOUT_S
        while time.monotonic() < until:
            try:
                if self.request("/v1/status/leader") and self.request(f"/v1/catalog/node/{self.node_name}"):
                    return
            except (OSError, ValueError):
                pass
            time.sleep(0.02)
        raise LabError(
            f"Consul on {self.address} has no leader after {STARTUP_TIMEOUT_S:g} s: {self.read_log()[-2000:]}"
        )


def _choose_addresses(count: int) -> list[str]:
    """Return loopback addresses nobody else of the lab uses."""
    network = find_free_network()
    return [f"{network}.{number + 1}" for number in range(count)]


@contextmanager
def start_agents(servers: int, clients: int = 0, *, config: Mapping[str, Any] | None = None) -> Iterator[list[Agent]]:
    """A cluster that has a leader: first its servers, then its clients."""
    addresses = _choose_addresses(servers + clients)
    peers = addresses[:servers]
    with create_run_folder() as place, ExitStack() as stack:
        cluster = []
        for number, address in enumerate(addresses):
            agent = Agent(place, address, server=number < servers, join=peers, config=config or {})
            stack.callback(agent.kill)
            agent.start()
            cluster.append(agent)
        if (config or {}).get("acl"):
            for agent in cluster:
                agent.token = ROOT_TOKEN
        for agent in cluster:
            agent.await_leader()
        yield cluster


@contextmanager
def start_agent(config: Mapping[str, Any] | None = None) -> Iterator[Agent]:
    """One agent that is its own server."""
    with start_agents(1, config=config) as (only,):
        yield only


DEFAULT_DENY_CONFIG = {
    "acl": {
        "enabled": True,
        "default_policy": "deny",
        "down_policy": "extend-cache",
        "tokens": {"master": ROOT_TOKEN, "agent": ROOT_TOKEN},
    }
}


def create_token(agent: Agent, rules: str, name: str = "autopilot") -> str:
    """A new token with just these rules (HCL). Raises OSError."""
    until = time.monotonic() + STARTUP_TIMEOUT_S
    while True:  # servers that have only just met take no policy: "currently in legacy mode"
        try:
            agent.put("/v1/acl/policy", {"Name": name, "Rules": rules})
            break
        except OSError:
            if time.monotonic() > until:
                raise
        time.sleep(0.1)
    made: str = agent.put("/v1/acl/token", {"Policies": [{"Name": name}]})["SecretID"]
    return made


def set_policy_rules(agent: Agent, rules: str, name: str = "autopilot") -> None:
    """Change what the tokens of `token_for` may do."""
    (policy,) = [policy["ID"] for policy in agent.request("/v1/acl/policies") if policy["Name"] == name]
    agent.put(f"/v1/acl/policy/{policy}", {"Name": name, "Rules": rules})


class Certificates:
    """An authority, a server's and a client's certificate, made by Consul itself."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._run_tls_command("ca", "create")
        self._run_tls_command("cert", "create", "-server", "-dc", DATACENTER)
        self._run_tls_command("cert", "create", "-client", "-dc", DATACENTER)
        self.authority_file = folder / "consul-agent-ca.pem"
        self.server_name = f"server.{DATACENTER}.consul"

    def _run_tls_command(self, *words: str) -> None:
        subprocess.run([find_program(), "tls", *words], cwd=self.folder, check=True, capture_output=True)

    def get_file(self, owner: str, *, key: bool = False) -> str:
        """Of the `server` or the `client`."""
        return str(self.folder / f"{DATACENTER}-{owner}-consul-0{'-key' if key else ''}.pem")

    def build_agent_settings(self) -> dict[str, Any]:
        """HTTPS on port 8501 that wants a client's certificate; plain HTTP stays for the lab itself."""
        return {
            "ca_file": str(self.authority_file),
            "cert_file": self.get_file("server"),
            "key_file": self.get_file("server", key=True),
            "verify_incoming_https": True,
            "ports": {"https": 8501},
        }
