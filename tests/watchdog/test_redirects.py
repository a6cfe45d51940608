"""Redirects: credentials and tokens go to the asked host alone, and no redirect leads out of http and https."""

from __future__ import annotations

from pathlib import Path

import pytest
from autopilot_watchdog.registry.credentials import Credentials
from autopilot_watchdog.registry.registry_client import RegistryClient, RegistryError
from autopilot_watchdog.shell.fleet_store import FleetStore

from tests.watchdog.hostile_servers import serve_answers
from tests.watchdog.scenes import build_config
from tests.watchdog.test_hostile_neighbours import CONFIG_DIGEST, build_answers

ALICE = Credentials("alice", "secret")
PLATFORM = ("linux", "amd64")
BASIC = {"WWW-Authenticate": 'Basic realm="x"'}


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_credentials_stay(status: int) -> None:
    """A registry that redirects to a store gets the credentials, the store does not, and the answer counts."""
    with serve_answers(build_answers(CONFIG_DIGEST, {})) as store, serve_answers({}) as registry:
        registry.first_answers = {"manifests/v1": [(401, BASIC, b"")]}
        registry.answers = {end: (status, {"Location": f"http://{store.address}/{end}"}, b"") for end in store.answers}
        client = RegistryClient(f"{registry.address}/site/wn:v1", ALICE, (), 60)
        assert client.fetch_tag_digest(PLATFORM, {}, ()).digest in store.answers
        assert registry.requests[1][2].startswith("Basic ")
        assert store.requests and not any(sent for _, _, sent in store.requests)


@pytest.mark.parametrize(
    "location",
    [
        *("file:///etc/hostname", "ftp://127.0.0.1/x", "data:,x", "http://[", "http://127.0.0.1:x/", "http://a b/"),
        *("//", "http://", "", "\t", "http://127.0.0.1:99999/", "http://u:p@127.0.0.1:1/", "http://\xff/"),
    ],
)
def test_strange_targets(location: str) -> None:
    """A redirect to anything strange is a sentence."""
    with serve_answers({"manifests/v1": (302, {"Location": location}, b"")}) as registry:
        client = RegistryClient(f"{registry.address}/site/wn:v1", None, (), 60)
        with pytest.raises(RegistryError):
            client.fetch_tag_digest(PLATFORM, {}, ())


def test_circle() -> None:
    """A redirect to itself is given up after a few requests."""
    with serve_answers({}) as registry:
        location = f"http://{registry.address}/v2/site/wn/manifests/v1"
        registry.answers["manifests/v1"] = (302, {"Location": location}, b"")
        with pytest.raises(RegistryError):
            RegistryClient(f"{registry.address}/site/wn:v1", None, (), 60).fetch_tag_digest(PLATFORM, {}, ())
        assert len(registry.requests) < 50


def test_consul_token_stays(tmp_path: Path) -> None:
    """Consul's token goes to the agent, and to no host that the agent names."""
    token = tmp_path / "token"
    token.write_text("s3cret\n")
    with serve_answers({"/": (200, {}, b"[]")}) as other:
        with serve_answers({"autopilot-watchdog/": (302, {"Location": f"http://{other.address}/"}, b"")}) as agent:
            consul = {"address": f"http://{agent.address}", "token_file": str(token)}
            FleetStore(build_config(consul=consul)).read_fleet_state()
            assert {name.lower(): value for name, value in agent.headers[0].items()}["x-consul-token"] == "s3cret"
        assert not any("s3cret" in str(headers) for headers in other.headers)
