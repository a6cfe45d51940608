"""Real Consul agents, each on a loopback address of its own, so that every one has Consul's usual ports.

The program is the one on PATH, else Debian's package (the last one Debian has is bullseye's), unpacked.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_DNS, uuid5

from lab.cache import discard, workplace
from lab.debs import Deb, unpacked
from lab.errors import LabError

DEB = Deb("consul", "1.8.7+dfsg1-2+b3", "bullseye", "e4e888bba104daba1d9161f49bfc52649a7e4efd45b1a7ead5bc54f2cb9c89d9")
PATIENCE = 20.0  # s for an agent to answer and a cluster to have a leader
ROOT_TOKEN = "6f1e8d2a-5c1b-4d0e-8f3a-000000000001"
DATACENTER = "lab"


def program() -> str:
    """Raises LabError with what to install."""
    found = shutil.which("consul")
    if found:
        return found
    try:
        return str(unpacked(DEB) / "usr/bin/consul")
    except LabError as error:
        raise LabError(f"no Consul here: {error}; install Consul so that `consul` is on PATH") from None


class Agent:
    """One agent, started by `start`. It forgets everything when it is started again, unless `keep`."""

    def __init__(self, place: Path, address: str, *, server: bool, join: Sequence[str], config: Mapping[str, Any]):
        self.address, self.config = address, dict(config)
        self.node = f"wn-{address.replace('.', '-')}"
        self.token: str | None = None
        self._place, self._server, self._join = place / self.node, server, tuple(join)
        self._place.mkdir()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def http(self) -> str:
        return f"{self.address}:8500"

    @property
    def pid(self) -> int:
        assert self._process is not None, "started"
        return self._process.pid

    def command(self) -> list[str]:
        alone = ["-dev"]  # has a leader at once
        one_of_many = ["-server", f"-bootstrap-expect={len(self._join)}"]
        role = [] if not self._server else alone if len(self._join) == 1 else one_of_many
        node_id = str(uuid5(NAMESPACE_DNS, self.node))
        return [
            *(program(), "agent", "-data-dir", str(self._place / "data"), "-config-file", str(self._config())),
            *("-node", self.node, "-node-id", node_id, "-datacenter", DATACENTER),
            *("-bind", self.address, "-client", self.address),
            *("-dns-port", "-1", "-grpc-port", "-1", "-disable-host-node-id", "-log-level", "warn"),
            *role,
            *(f"-retry-join={peer}" for peer in self._join if peer != self.address),
        ]

    def _config(self) -> Path:
        path = self._place / "agent.json"
        quick = {"raft_multiplier": 1}
        path.write_text(json.dumps({"retry_interval": "1s", "performance": quick, **self.config}))
        return path

    def start(self, *, keep: bool = False) -> None:
        if not keep:
            discard(self._place / "data")
        with (self._place / "log").open("ab") as log:
            self._process = subprocess.Popen(self.command(), stdout=log, stderr=log, start_new_session=True)

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

    def log(self) -> str:
        return (self._place / "log").read_text(errors="replace")

    # --- what it says ---

    def ask(self, path: str, *, method: str = "GET", body: object = None, token: str | None = None) -> Any:
        """Its answer as data, None for 404. Raises OSError, also for what it refuses."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else None
        secret = token or self.token
        connection = http.client.HTTPConnection(self.address, 8500, timeout=PATIENCE)
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
        return self.ask(path, method="PUT", body=body, token=token)

    def health(self, service: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.ask(f"/v1/health/service/{service}")
        return found

    def await_leader(self) -> None:
        """Raises LabError with the end of its log."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            try:
                if self.ask("/v1/status/leader") and self.ask(f"/v1/catalog/node/{self.node}"):
                    return
            except (OSError, ValueError):
                pass
            time.sleep(0.02)
        raise LabError(f"Consul on {self.address} has no leader after {PATIENCE:g} s: {self.log()[-2000:]}")


def _addresses(count: int) -> list[str]:
    """Loopback addresses nobody else is likely to use now."""
    net = f"127.{random.randint(1, 254)}.{random.randint(1, 254)}"
    return [f"{net}.{number + 1}" for number in range(count)]


@contextmanager
def agents(servers: int, clients: int = 0, *, config: Mapping[str, Any] | None = None) -> Iterator[list[Agent]]:
    """A cluster that has a leader: first its servers, then its clients."""
    addresses = _addresses(servers + clients)
    peers = addresses[:servers]
    with workplace() as place, ExitStack() as stack:
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
def agent(config: Mapping[str, Any] | None = None) -> Iterator[Agent]:
    """One agent that is its own server."""
    with agents(1, config=config) as (only,):
        yield only


DEFAULT_DENY = {
    "acl": {
        "enabled": True,
        "default_policy": "deny",
        "down_policy": "extend-cache",
        "tokens": {"master": ROOT_TOKEN, "agent": ROOT_TOKEN},
    }
}


def token_for(agent: Agent, rules: str, name: str = "autopilot") -> str:
    """A new token with just these rules (HCL). Raises OSError."""
    until = time.monotonic() + PATIENCE
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


def allow(agent: Agent, rules: str, name: str = "autopilot") -> None:
    """Change what the tokens of `token_for` may do."""
    (policy,) = [policy["ID"] for policy in agent.ask("/v1/acl/policies") if policy["Name"] == name]
    agent.put(f"/v1/acl/policy/{policy}", {"Name": name, "Rules": rules})


class Certificates:
    """An authority, a server's and a client's certificate, made by Consul itself."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self._make("ca", "create")
        self._make("cert", "create", "-server", "-dc", DATACENTER)
        self._make("cert", "create", "-client", "-dc", DATACENTER)
        self.authority = place / "consul-agent-ca.pem"
        self.server_name = f"server.{DATACENTER}.consul"

    def _make(self, *words: str) -> None:
        subprocess.run([program(), "tls", *words], cwd=self.place, check=True, capture_output=True)

    def file(self, owner: str, *, key: bool = False) -> str:
        """Of the `server` or the `client`."""
        return str(self.place / f"{DATACENTER}-{owner}-consul-0{'-key' if key else ''}.pem")

    def settings(self) -> dict[str, Any]:
        """HTTPS on port 8501 that wants a client's certificate; plain HTTP stays for the lab itself."""
        return {
            "ca_file": str(self.authority),
            "cert_file": self.file("server"),
            "key_file": self.file("server", key=True),
            "verify_incoming_https": True,
            "ports": {"https": 8501},
        }
