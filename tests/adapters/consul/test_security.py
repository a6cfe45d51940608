"""Default-deny ACLs with the documented policy, TLS with client certificates, and secrets that stay secret."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lab import consul
from tests.adapters.consul.conftest import service, status
from tests.app.harness import Pilot, eventually

pytestmark = pytest.mark.real("consul")
POLICY = Path(__file__).parents[3] / "docs/consul-policy.hcl"


def condor(agent, **consul_section):
    """A service that the documented policy allows, a watch and the telemetry port."""
    spec = service(agent, name="condor-master")
    return {
        **spec,
        "consul": {"address": agent.http, **consul_section},
        "watches": [{"name": "autopilot", "interval": "0.2s"}],
    }


def test_documented_policy_is_enough(tmp_path):
    """With docs/consul-policy.hcl and nothing more everything is registered, watched and taken out again."""
    with consul.agent(consul.DEFAULT_DENY) as agent:
        token = consul.token_for(agent, POLICY.read_text())
        with Pilot(tmp_path, condor(agent), env={"CONSUL_HTTP_TOKEN": token}) as pilot:
            for name in ("condor-master", "autopilot"):
                eventually(lambda name=name: status(agent, name) == "passing", f"{name} passes")
            pilot.wait_for(lambda line: line.get("watch") == "autopilot")
            assert pilot.stop() == 0
            assert not [line for line in pilot.lines if "trouble" in line]
        assert agent.ask("/v1/agent/services") == {}


def test_agent_in_the_container_under_default_deny(tmp_path):
    """The agent of consul_agent registers its node with the same token."""
    with consul.agent(consul.DEFAULT_DENY) as server:
        token = tmp_path / "token"
        token.write_text(consul.token_for(server, POLICY.read_text()))
        http = f"{server.address.rpartition('.')[0]}.9"
        spec = condor(server, token_file=str(token))
        spec["consul"]["address"] = f"{http}:8500"
        agent = {"join": server.address, "exec": consul.program(), "datacenter": consul.DATACENTER, "bind": http}
        node = {"AUTOPILOT_HOST": "h", "AUTOPILOT_SLOT": "1"}
        with Pilot(tmp_path, {**spec, "consul_agent": agent}, env=node) as pilot:
            eventually(lambda: status(server, "condor-master") == "passing", "in the catalog")
            (entry,) = server.health("condor-master")
            assert entry["Node"]["Node"] == "wn-h-1"
            assert pilot.stop() == 0


def test_tls_with_client_certificates(tmp_path):
    """TLS both ways, the server known by its name although it is reached by address; without a certificate: refused."""
    certificates = consul.Certificates(tmp_path)
    with consul.agent(certificates.settings()) as agent:
        tls = {"cafile": str(certificates.authority), "servername": certificates.server_name}
        ours = {"clientcert": certificates.file("client"), "clientkey": certificates.file("client", key=True)}
        for name, section, reaches in (("with", {**tls, **ours}, True), ("without", tls, False)):
            spec = service(agent, name=name)
            spec["consul"] = {"address": f"{agent.address}:8501", "scheme": "https", "tls": section}
            (tmp_path / name).mkdir()
            with Pilot(tmp_path / name, spec) as pilot:
                pilot.wait_event(name, "healthy")
                if reaches:
                    eventually(lambda name=name: status(agent, name) == "passing", "registered through TLS")
                else:
                    pilot.wait_for(lambda line: line.get("trouble") == "consul-lost")
                    assert status(agent, name) is None
                assert pilot.stop() == 0


def test_tls_from_the_environment(tmp_path):
    """Consul's own variables are enough: scheme, authority, certificate, key, the server's name, and a token."""
    certificates = consul.Certificates(tmp_path)
    with consul.agent({**certificates.settings(), **consul.DEFAULT_DENY}) as agent:
        env = {
            "CONSUL_HTTP_SSL": "true",
            "CONSUL_CACERT": str(certificates.authority),
            "CONSUL_CLIENT_CERT": certificates.file("client"),
            "CONSUL_CLIENT_KEY": certificates.file("client", key=True),
            "CONSUL_TLS_SERVER_NAME": certificates.server_name,
            "CONSUL_HTTP_TOKEN": consul.token_for(agent, POLICY.read_text()),
        }
        spec = {**service(agent, name="condor-master"), "consul": f"{agent.address}:8501"}
        unverified = {**env, "CONSUL_TLS_SERVER_NAME": "", "CONSUL_CACERT": "", "CONSUL_HTTP_SSL_VERIFY": "false"}
        for name, given in (("verified", env), ("unverified", unverified)):
            (tmp_path / name).mkdir()
            with Pilot(tmp_path / name, spec, env=given) as pilot:
                eventually(lambda: status(agent, "condor-master") == "passing", "registered through TLS")
                assert pilot.stop() == 0


def test_secrets_stay_secret(tmp_path):
    """A token in the spec is in no line of the log, no argument of a process, and not in what `plan` prints."""
    with consul.agent(consul.DEFAULT_DENY) as agent:
        token = consul.token_for(agent, POLICY.read_text())
        spec = condor(agent, token=token)
        spec["logging"] = {"level": "DEBUG"}
        with Pilot(tmp_path, spec) as pilot:
            eventually(lambda: status(agent, "condor-master") == "passing", "registered")
            commands = [content(path) for path in Path("/proc").glob("[0-9]*/cmdline")]
            assert not any(token.encode() in command for command in commands)
            shown = pilot.ask("plan", str(tmp_path / "autopilot.json5"))
            assert shown.returncode == 0 and token not in shown.stdout + shown.stderr
            assert '"acl_token": "***"' in shown.stdout
            assert token not in pilot.ask("status", "-o", "json").stdout
            assert pilot.stop() == 0
        assert token not in json.dumps(pilot.lines) + pilot.complaints


def content(path):
    """Nothing of a process that has just ended."""
    try:
        return path.read_bytes()
    except OSError:
        return b""
