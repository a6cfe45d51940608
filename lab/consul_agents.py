"""Run real Consul agents, each on its own loopback address and therefore on Consul's usual ports.

The program is taken from PATH, else from Debian's package (bullseye is the last release that has one), unpacked.
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
from lab.polling import BUSY_FACTOR, poll_until
from lab.ports import find_free_network

CONSUL_PACKAGE = DebianPackage(
    "consul", "1.8.7+dfsg1-2+b3", "bullseye", "e4e888bba104daba1d9161f49bfc52649a7e4efd45b1a7ead5bc54f2cb9c89d9"
)
STARTUP_TIMEOUT_S = 60.0  # until an agent answers and its cluster has a leader
ROOT_TOKEN = "6f1e8d2a-5c1b-4d0e-8f3a-000000000001"
DATACENTER = "lab"


def find_program() -> str:
    """Return the path of the Consul program.

    Raises:
        LabError: there is none here; the message says how to install it.
    """
    program = shutil.which("consul")
    if program:
        return program
    try:
        return str(get_unpacked_package(CONSUL_PACKAGE) / "usr/bin/consul")
    except LabError as error:
        raise LabError(f"no Consul here: {error}; install Consul so that `consul` is on PATH") from None


class Agent:
    """Consul agent, run from `start` to `kill`. Its data is deleted at each start, unless `keep_data` is set."""

    def __init__(self, folder: Path, address: str, *, server: bool, join: Sequence[str], config: Mapping[str, Any]):
        self.address, self.config = address, dict(config)
        self.node_name = f"wn-{address.replace('.', '-')}"
        self.token: str | None = None
        self._folder, self._is_server, self._join = folder / self.node_name, server, tuple(join)
        self._folder.mkdir()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def http_address(self) -> str:
        """Address of the HTTP API (host:port)."""
        return f"{self.address}:8500"

    @property
    def pid(self) -> int:
        """Process id of the running agent."""
        assert self._process is not None, "started"
        return self._process.pid

    def build_command(self) -> list[str]:
        """Return the agent's command line, after writing its configuration file."""
        single_server = ["-dev"]  # has a leader at once
        clustered_server = ["-server", f"-bootstrap-expect={len(self._join)}"]
        role = [] if not self._is_server else single_server if len(self._join) == 1 else clustered_server
        node_id = str(uuid5(NAMESPACE_DNS, self.node_name))
        return [
            *(find_program(), "agent", "-data-dir", f"{self._folder}/data", "-config-file", str(self._write_config())),
            *("-node", self.node_name, "-node-id", node_id, "-datacenter", DATACENTER),
            *("-bind", self.address, "-client", self.address),
            *("-dns-port", "-1", "-grpc-port", "-1", "-disable-host-node-id", "-log-level", "warn"),
            *role,
            *(f"-retry-join={peer}" for peer in self._join if peer != self.address),
        ]

    def _write_config(self) -> Path:
        path = self._folder / "agent.json"
        fast_elections = {"raft_multiplier": 1}
        path.write_text(json.dumps({"retry_interval": "1s", "performance": fast_elections, **self.config}))
        return path

    def start(self, *, keep_data: bool = False) -> None:
        """Start the process; `await_leader` waits until it answers."""
        if not keep_data:
            discard(self._folder / "data")
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(self.build_command(), stdout=log, stderr=log, start_new_session=True)

    def kill(self) -> None:
        """Kill the process, also a suspended one, and wait for its end."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait()
            self._process = None

    def suspend(self) -> None:
        """Suspend the process: connections are accepted, but nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Resume the suspended process."""
        os.kill(self.pid, signal.SIGCONT)

    def read_log(self) -> str:
        """Return everything the process has written."""
        return (self._folder / "log").read_text(errors="replace")

    # --- requests ---

    def request(self, path: str, *, method: str = "GET", body: object = None, token: str | None = None) -> Any:
        """Send one HTTP request and return the decoded JSON answer; None for 404 and for an empty body.

        Args:
            path: path and query, such as `/v1/agent/checks`.
            method: HTTP method.
            body: bytes are sent unchanged, anything else as JSON.
            token: ACL token; default is the agent's own.

        Raises:
            OSError: the agent is unreachable, or answers with a status of 400 or above.
        """
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
        """Send a PUT request and return its decoded answer; see `request`."""
        return self.request(path, method="PUT", body=body, token=token)

    def get_service_health(self, service: str) -> list[dict[str, Any]]:
        """Return the health entries of all instances of a service."""
        entries: list[dict[str, Any]] = self.request(f"/v1/health/service/{service}")
        return entries

    def await_leader(self) -> None:
        """Wait until the cluster has a leader and the catalog contains this node.

        Raises:
            LabError: not within STARTUP_TIMEOUT_S; the message ends with the end of the log.
        """
        poll_until(
            self._has_leader,
            STARTUP_TIMEOUT_S,
            lambda _: f"Consul on {self.address} has no leader in time: {self.read_log()[-2000:]}",
            interval_s=0.02,
        )

    def _has_leader(self) -> bool:
        try:
            return bool(self.request("/v1/status/leader") and self.request(f"/v1/catalog/node/{self.node_name}"))
        except (OSError, ValueError):
            return False


def _choose_addresses(count: int) -> list[str]:
    """Return loopback addresses that no other process of the lab uses."""
    network = find_free_network()
    return [f"{network}.{number + 1}" for number in range(count)]


@contextmanager
def start_agents(servers: int, clients: int = 0, *, config: Mapping[str, Any] | None = None) -> Iterator[list[Agent]]:
    """Run a cluster that has a leader, and kill it at the end.

    Args:
        servers: number of server agents, at least one.
        clients: number of client agents.
        config: settings of every agent's configuration file.

    Yields:
        All agents, servers first.
    """
    addresses = _choose_addresses(servers + clients)
    peers = addresses[:servers]
    with create_run_folder() as folder, ExitStack() as stack:
        cluster = []
        for number, address in enumerate(addresses):
            agent = Agent(folder, address, server=number < servers, join=peers, config=config or {})
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
    """Run one agent that is its own server."""
    with start_agents(1, config=config) as (agent,):
        yield agent


DEFAULT_DENY_CONFIG = {
    "acl": {
        "enabled": True,
        "default_policy": "deny",
        "down_policy": "extend-cache",
        "tokens": {"master": ROOT_TOKEN, "agent": ROOT_TOKEN},
    }
}


def create_token(agent: Agent, rules: str, name: str = "autopilot") -> str:
    """Create an ACL token that grants exactly `rules` (HCL) and return its secret.

    Raises:
        OSError: Consul still refuses the policy after BUSY_FACTOR times STARTUP_TIMEOUT_S.
    """
    deadline = time.monotonic() + BUSY_FACTOR * STARTUP_TIMEOUT_S
    while True:  # a cluster that has just formed refuses policies: "currently in legacy mode"
        try:
            agent.put("/v1/acl/policy", {"Name": name, "Rules": rules})
            break
        except OSError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.1)
    secret: str = agent.put("/v1/acl/token", {"Policies": [{"Name": name}]})["SecretID"]
    return secret


def set_policy_rules(agent: Agent, rules: str, name: str = "autopilot") -> None:
    """Replace the rules of the tokens made by `create_token` under this name."""
    (policy,) = [policy["ID"] for policy in agent.request("/v1/acl/policies") if policy["Name"] == name]
    agent.put(f"/v1/acl/policy/{policy}", {"Name": name, "Rules": rules})


class Certificates:
    """Authority, server certificate and client certificate, made by Consul itself in `folder`."""

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
        """Return the path of the certificate, or key, of `owner`: `server` or `client`."""
        return str(self.folder / f"{DATACENTER}-{owner}-consul-0{'-key' if key else ''}.pem")

    def build_agent_settings(self) -> dict[str, Any]:
        """Return settings for HTTPS on port 8501 with required client certificates; plain HTTP stays for the lab."""
        return {
            "ca_file": str(self.authority_file),
            "cert_file": self.get_file("server"),
            "key_file": self.get_file("server", key=True),
            "verify_incoming_https": True,
            "ports": {"https": 8501},
        }
