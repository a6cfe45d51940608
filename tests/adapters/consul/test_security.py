"""Default-deny ACLs with the documented policy, TLS with client certificates, and secrets that stay secret."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lab import consul_agents
from tests.adapters.consul.conftest import build_service_spec, get_service_status
from tests.app.harness import SupervisorProcess, eventually, find_free_port

pytestmark = pytest.mark.real("consul")
POLICY = Path(__file__).parents[3] / "docs/consul-policy.hcl"


def build_condor_spec(agent, **consul_section):
    """A service that the documented policy allows, a watch and the telemetry port."""
    spec = build_service_spec(agent, name="condor-master")
    return {
        **spec,
        "consul": {"address": agent.http_address, **consul_section},
        "watches": [{"name": "autopilot", "interval": "0.2s"}],
        "telemetry": {"port": find_free_port(), "interfaces": ["lo"]},
    }


def test_documented_policy_is_enough(tmp_path):
    """With docs/consul-policy.hcl and nothing more everything is registered, watched and taken out again."""
    with consul_agents.start_agent(consul_agents.DEFAULT_DENY_CONFIG) as agent:
        token = consul_agents.create_token(agent, POLICY.read_text())
        with SupervisorProcess(tmp_path, build_condor_spec(agent), env={"CONSUL_HTTP_TOKEN": token}) as pilot:
            for name in ("condor-master", "autopilot"):
                eventually(lambda name=name: get_service_status(agent, name) == "passing", f"{name} passes")
            pilot.wait_for(lambda line: line.get("watch") == "autopilot")
            assert pilot.stop() == 0
            assert not [line for line in pilot.lines if "trouble" in line]
        assert agent.request("/v1/agent/services") == {}


def test_documented_policy_is_enough_without_a_port(tmp_path):
    """Without a telemetry port it is enough too: the life has its entry in the list of the fleet, and no trouble."""
    with consul_agents.start_agent(consul_agents.DEFAULT_DENY_CONFIG) as agent:
        token = consul_agents.create_token(agent, POLICY.read_text())
        spec = {**build_service_spec(agent, name="condor-master"), "consul": agent.http_address}
        with SupervisorProcess(tmp_path, spec, env={"CONSUL_HTTP_TOKEN": token}) as pilot:
            eventually(lambda: get_service_status(agent, "condor-master") == "passing", "it passes")
            eventually(lambda: bool(agent.request("/v1/kv/autopilot/fleet/?keys")), "it is listed")
            assert pilot.stop() == 0
            assert not [line for line in pilot.lines if "trouble" in line]
        assert agent.request("/v1/kv/autopilot/fleet/?keys") is None


def test_agent_in_the_container_under_default_deny(tmp_path):
    """The agent of consul_agent registers its node with the same token."""
    with consul_agents.start_agent(consul_agents.DEFAULT_DENY_CONFIG) as server:
        token = tmp_path / "token"
        token.write_text(consul_agents.create_token(server, POLICY.read_text()))
        http = f"{server.address.rpartition('.')[0]}.9"
        spec = build_condor_spec(server, token_file=str(token))
        spec["consul"]["address"] = f"{http}:8500"
        agent = {
            "join": server.address,
            "exec": consul_agents.find_program(),
            "datacenter": consul_agents.DATACENTER,
            "bind": http,
        }
        node = {"AUTOPILOT_HOST": "h", "AUTOPILOT_SLOT": "1"}
        with SupervisorProcess(tmp_path, {**spec, "consul_agent": agent}, env=node) as pilot:
            eventually(lambda: get_service_status(server, "condor-master") == "passing", "in the catalog")
            (entry,) = server.get_service_health("condor-master")
            assert entry["Node"]["Node"] == "wn-h-1"
            assert pilot.stop() == 0


def test_tls_with_client_certificates(tmp_path):
    """TLS both ways, the server known by its name although it is reached by address; without a certificate: refused."""
    certificates = consul_agents.Certificates(tmp_path)
    with consul_agents.start_agent(certificates.build_agent_settings()) as agent:
        tls = {"cafile": str(certificates.authority_file), "servername": certificates.server_name}
        ours = {"clientcert": certificates.get_file("client"), "clientkey": certificates.get_file("client", key=True)}
        for name, section, reaches in (("with", {**tls, **ours}, True), ("without", tls, False)):
            spec = build_service_spec(agent, name=name)
            spec["consul"] = {"address": f"{agent.address}:8501", "scheme": "https", "tls": section}
            (tmp_path / name).mkdir()
            with SupervisorProcess(tmp_path / name, spec) as pilot:
                pilot.wait_for_event(name, "marked healthy")
                if reaches:
                    eventually(lambda name=name: get_service_status(agent, name) == "passing", "registered through TLS")
                else:
                    pilot.wait_for(lambda line: line.get("trouble") == "consul-lost")
                    assert get_service_status(agent, name) is None
                assert pilot.stop() == 0


def test_tls_from_the_environment(tmp_path):
    """Consul's own variables are enough: scheme, authority, certificate, key, the server's name, and a token."""
    certificates = consul_agents.Certificates(tmp_path)
    with consul_agents.start_agent(
        {**certificates.build_agent_settings(), **consul_agents.DEFAULT_DENY_CONFIG}
    ) as agent:
        env = {
            "CONSUL_HTTP_SSL": "true",
            "CONSUL_CACERT": str(certificates.authority_file),
            "CONSUL_CLIENT_CERT": certificates.get_file("client"),
            "CONSUL_CLIENT_KEY": certificates.get_file("client", key=True),
            "CONSUL_TLS_SERVER_NAME": certificates.server_name,
            "CONSUL_HTTP_TOKEN": consul_agents.create_token(agent, POLICY.read_text()),
        }
        spec = {**build_service_spec(agent, name="condor-master"), "consul": f"{agent.address}:8501"}
        unverified = {**env, "CONSUL_TLS_SERVER_NAME": "", "CONSUL_CACERT": "", "CONSUL_HTTP_SSL_VERIFY": "false"}
        for name, given in (("verified", env), ("unverified", unverified)):
            (tmp_path / name).mkdir()
            with SupervisorProcess(tmp_path / name, spec, env=given) as pilot:
                eventually(lambda: get_service_status(agent, "condor-master") == "passing", "registered through TLS")
                assert pilot.stop() == 0


def test_secrets_stay_secret(tmp_path):
    """A token in the spec is in no line of the log, no argument of a process, and not in what `plan` prints."""
    with consul_agents.start_agent(consul_agents.DEFAULT_DENY_CONFIG) as agent:
        token = consul_agents.create_token(agent, POLICY.read_text())
        spec = build_condor_spec(agent, token=token)
        spec["logging"] = {"level": "DEBUG"}
        with SupervisorProcess(tmp_path, spec) as pilot:
            eventually(lambda: get_service_status(agent, "condor-master") == "passing", "registered")
            commands = [read_process_file(path) for path in Path("/proc").glob("[0-9]*/cmdline")]
            assert not any(token.encode() in command for command in commands)
            shown = pilot.run_verb("plan", str(tmp_path / "autopilot.json5"))
            assert shown.returncode == 0 and token not in shown.stdout + shown.stderr
            assert '"acl_token": "***"' in shown.stdout
            assert token not in pilot.run_verb("status", "-o", "json").stdout
            assert pilot.stop() == 0
        assert token not in json.dumps(pilot.lines) + pilot.stderr_text


def read_process_file(path):
    """The text of a process's file, "" if the process has just ended."""
    try:
        return path.read_bytes()
    except OSError:
        return b""
