"""Consul's address, certificates and token come from the plan and the environment."""

from __future__ import annotations

import ssl
import subprocess

import pytest

from autopilot.adapters.consul.connection_settings import ConsulSetupError, build_connection_settings
from autopilot.spec.plan import Consul, Tls
from autopilot.spec.tls_files import find_tls_problem

HERE = Consul(address="127.0.0.1:8500")


def test_the_plan_wins():
    """The plan's values win over Consul's environment variables, which complete them."""
    env = {"CONSUL_HTTP_TOKEN": "from-env", "CONSUL_HTTP_SSL": "true", "CONSUL_TLS_SERVER_NAME": "server.dc1.consul"}
    found = build_connection_settings(HERE, env)
    assert (found.base_url, found.read_current_token()) == ("https://127.0.0.1:8500", "from-env")
    assert found.server_name == "server.dc1.consul"
    settings = build_connection_settings(Consul(address="h:1", scheme="http", acl_token="from-plan"), env)
    assert (settings.base_url, settings.read_current_token(), settings.ssl_context) == ("http://h:1", "from-plan", None)


@pytest.mark.parametrize(
    ("address", "env", "base_url", "socket_path"),
    [
        ("", {}, "http://127.0.0.1:8500", ""),
        ("", {"CONSUL_HTTP_ADDR": "agent:8501"}, "http://agent:8501", ""),
        ("", {"CONSUL_HTTP_ADDR": "https://agent"}, "https://agent", ""),
        ("", {"CONSUL_HTTP_ADDR": "unix:///run/c.sock", "CONSUL_HTTP_SSL": "1"}, "http://localhost", "/run/c.sock"),
        ("agent", {"CONSUL_HTTP_ADDR": "other:1"}, "http://agent", ""),
        ("https://agent", {}, "https://agent", ""),
        ("unix:///run/c.sock", {}, "http://localhost", "/run/c.sock"),
    ],
)
def test_address(address, env, base_url, socket_path):
    """The address is a host, a host with port, a URL or a unix socket; an empty one is taken from the environment."""
    found = build_connection_settings(Consul(address=address), env)
    assert (found.base_url, found.socket_path) == (base_url, socket_path)
    assert (found.ssl_context is not None) == base_url.startswith("https")


def test_bad_address_in_the_environment():
    """The error about an unusable CONSUL_HTTP_ADDR names it."""
    with pytest.raises(ConsulSetupError, match=r'cannot use CONSUL_HTTP_ADDR="ftp://x"; write HOST:PORT'):
        build_connection_settings(Consul(address=""), {"CONSUL_HTTP_ADDR": "ftp://x"})


def test_token_file(tmp_path):
    """A token in a file is read anew for every call."""
    file = tmp_path / "token"
    found = build_connection_settings(Consul(address="h:1", token_file=str(file)), {})
    for token in ("one", "two"):
        file.write_text(f"{token}\n")
        assert found.read_current_token() == token


def test_token_is_not_shown():
    """The text forms of the settings do not have the token."""
    assert "s3cret" not in repr(build_connection_settings(Consul(address="h:1", acl_token="s3cret"), {}))


def test_bad_certificates():
    """The error about an unusable file names the file and the key of the spec."""
    plan = Consul(address="h:1", scheme="https", tls=Tls(cafile="/no/ca.pem"))
    with pytest.raises(ConsulSetupError, match=r"consul.tls: cannot use /no/ca.pem: No such file"):
        build_connection_settings(plan, {})


@pytest.mark.real("openssl")
@pytest.mark.parametrize("spec_or_run", ["run", "check"])
def test_an_encrypted_key_asks_nobody(tmp_path, monkeypatch, spec_or_run):
    """A key with a passphrase is refused: nobody is asked for it on a terminal, which would hold up every job."""
    key, certificate = str(tmp_path / "key.pem"), str(tmp_path / "cert.pem")
    names = ("-subj", "/CN=x", "-keyout", key, "-out", certificate)
    command = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-passout", "pass:secret", "-days", "30", *names)
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    passwords = []  # None: it asks
    load = ssl.SSLContext.load_cert_chain

    def load_and_note(context, certfile, keyfile, password=None):
        passwords.append(password)
        load(context, certfile, keyfile, password="")

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", load_and_note)
    if spec_or_run == "check":
        assert "write PEM files" in find_tls_problem(certfile=certificate, keyfile=key)
    else:
        plan = Consul(address="h:1", scheme="https", tls=Tls(clientcert=certificate, clientkey=key))
        with pytest.raises(ConsulSetupError, match=r"consul\.tls: cannot use"):
            build_connection_settings(plan, {})
    assert passwords == [""]
