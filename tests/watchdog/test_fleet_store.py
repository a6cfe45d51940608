"""The fleet's shared knowledge in a real Consul."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from autopilot_watchdog.core.fleet_good import GoodDigests
from autopilot_watchdog.core.observation import FleetPromotion, FleetState, FleetVoices
from autopilot_watchdog.core.slot_actions import ShareQuarantine
from autopilot_watchdog.shell.fleet_store import FleetStore

from lab.consul_agents import (
    DEFAULT_DENY_CONFIG,
    Agent,
    create_token,
    find_program,
    start_agent,
    start_agents,
)
from tests.watchdog.scenes import IMAGE, KEY, A, B, build_config
from tests.watchdog.site import eventually

pytestmark = pytest.mark.real("consul")
PATIENT = {"timeout": "60s"}  # a Consul on a busy machine may be slow
DOCS = Path(__file__).parents[2] / "docs"
CONTAINER_POLICY, WATCHDOG_POLICY = "consul-policy.hcl", "consul-policy-watchdog.hcl"


def test_quarantine_and_urgency() -> None:
    """Each host says by itself how a digest lives there; a release forgets all of it; the urgency is read with it."""
    with start_agent() as consul:
        one, other = (
            FleetStore(build_config(host, consul={"address": f"http://{consul.http_address}", **PATIENT}))
            for host in ("h1", "h2")
        )
        assert one.read_fleet_state() == FleetState()
        assert one.share_quarantine(ShareQuarantine(KEY, B, "3 lives failed")) == ""
        command = [
            find_program(),
            "kv",
            "put",
            f"-http-addr={consul.http_address}",
            "autopilot-watchdog/urgency",
            "now",
        ]
        subprocess.run(command, check=True, capture_output=True)
        state = other.read_fleet_state()
        assert state == FleetState({}, "now", {B: FleetVoices({"h1": "3 lives failed"})})
        assert other.share_good_life(B) == "" and other.share_quarantine(ShareQuarantine(KEY, A, "x")) == ""
        voices = {A: FleetVoices({"h2": "x"}), B: FleetVoices({"h1": "3 lives failed"}, ("h2",))}
        assert one.read_fleet_state() == FleetState({}, "now", voices)
        assert other.withdraw_quarantine(A) == ""
        state = one.read_fleet_state()
        assert state is not None and set(state.voices) == {B}
        assert other.release_quarantine(B) == ""
        state = one.read_fleet_state()
        assert state is not None and not state.quarantine and not state.voices


@pytest.fixture(scope="module")
def guarded() -> Iterator[Agent]:
    """Start a Consul that denies everything by default."""
    with start_agent(DEFAULT_DENY_CONFIG) as found:
        yield found


def build_store(consul: Agent, folder: Path, policy: str) -> FleetStore:
    """Build the store of a host whose token has one of the documented policies."""
    token = folder / policy
    token.write_text(create_token(consul, (DOCS / policy).read_text(), f"{Path(policy).stem}-{folder.name}"))
    consul_keys = {"address": f"http://{consul.http_address}", "token_file": str(token), **PATIENT}
    return FleetStore(build_config(consul=consul_keys))


def test_watchdog_policy_is_enough(guarded: Agent, tmp_path: Path) -> None:
    """With docs/consul-policy-watchdog.hcl a host reads everything, shares what hosts share, and writes no more."""
    store = build_store(guarded, tmp_path, WATCHDOG_POLICY)
    guarded.put("/v1/kv/autopilot-watchdog/urgency", "now")
    assert store.share_quarantine(ShareQuarantine(KEY, B, "3 lives failed")) == ""
    assert store.read_fleet_state() == FleetState({}, '"now"', {B: FleetVoices({"h1": "3 lives failed"})})
    assert store.release_quarantine(B) == ""
    assert store.read_fleet_state() == FleetState({}, '"now"')
    assert store.share_good_digests(GoodDigests(IMAGE, (B, A))) == ""
    assert store.read_fleet_state() == FleetState({}, '"now"', good={IMAGE: (B, A)})
    assert store.order_quarantine(B, "by alice on h1: bad") == ""
    assert store.read_fleet_state() == FleetState({B: "by alice on h1: bad"}, '"now"', good={IMAGE: (B, A)})
    assert store.release_quarantine(B) == ""
    promotion = FleetPromotion(B, A, f"{IMAGE}-next", "by alice on h1")
    assert store.share_lives(B, 3) == store.order_promotion(IMAGE, promotion) == ""
    for path in ("lives/x/h1", f"lives/{A}/h2", f"promoted/{os.uname().machine}/other:stable"):
        store._request("PUT", f"kv/autopilot-watchdog/{path}", b"neither a number nor JSON")
    state = store.read_fleet_state()
    assert state is not None and (state.lives, state.promotions) == ({B: {"h1": 3}}, {IMAGE: promotion})
    assert store.share_lives(B, 0) == ""
    state = store.read_fleet_state()
    assert state is not None and not state.lives
    store._request("PUT", "kv/autopilot-watchdog/urgency", b"2026-01-01")
    assert "403" in store.last_error
    store._request("PUT", "kv/autopilot/lives/2026-01/x", b"forged")
    assert "403" in store.last_error


def test_a_containers_token_orders_nothing(guarded: Agent, tmp_path: Path) -> None:
    """With docs/consul-policy.hcl a compromised container can neither quarantine nor release, nor order drains."""
    watchdog = build_store(guarded, tmp_path, WATCHDOG_POLICY)
    container = build_store(guarded, tmp_path, CONTAINER_POLICY)
    assert watchdog.share_quarantine(ShareQuarantine(KEY, B, "3 lives failed")) == ""
    assert "403" in container.share_quarantine(ShareQuarantine(KEY, A, "forged"))
    assert "403" in container.release_quarantine(B)
    assert "403" in container.share_good_digests(GoodDigests(IMAGE, (A,)))
    assert "403" in container.share_lives(A, 9)
    assert "403" in container.order_promotion(IMAGE, FleetPromotion(A, B))
    for path in ("autopilot-watchdog/urgency", "autopilot-watchdog/quarantine/x", "autopilot-watchdog", "site/mode"):
        container._request("PUT", f"kv/{path}", b"now")
        assert "403" in container.last_error, path
    for path in ("autopilot/lives/2026-01/x", "autopilot/locks/drain/.lock"):
        container._request("PUT", f"kv/{path}", b"x")
        assert container.last_error == "", path
    state = watchdog.read_fleet_state()
    assert state is not None and set(state.voices) == {B}


def test_consul_away() -> None:
    """Without Consul nothing is learned, nothing fails, and the trouble is a sentence."""
    store = FleetStore(build_config(consul={"address": "http://127.0.0.1:1"}))
    assert store.read_fleet_state() is None
    assert "cannot reach Consul" in store.last_error


def test_the_dead_leave() -> None:
    """The agent of a killed container, which Consul would list for 72 h, is gone in seconds."""
    with start_agents(1, 1) as (server, client):
        node = client.node_name
        client.kill()
        eventually(lambda: _get_member_status(server, node) == 4, 30, "Consul has seen it fail")
        consul_keys = {"address": f"http://{server.http_address}", "node": node, **PATIENT}
        FleetStore(build_config(consul=consul_keys)).force_leave("wn-01")
        eventually(
            lambda: node not in [found["Node"] for found in server.request("/v1/catalog/nodes")], 5, "it is gone"
        )


def _get_member_status(consul: Agent, node: str) -> int:
    return next(int(member["Status"]) for member in consul.request("/v1/agent/members") if member["Name"] == node)
