"""Determine how Consul is reached: address, TLS and token, from the plan and from Consul's environment variables.

The plan's values win; the variables are those of Consul's command line and of ContainerPilot.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from autopilot.errors import AutopilotError
from autopilot.spec.consul_address import DEFAULT_ADDRESS, UNIX_PREFIX, is_consul_address, split_consul_address
from autopilot.spec.plan import Consul, Tls

if TYPE_CHECKING:
    import ssl


class ConsulSetupError(AutopilotError):
    """The plan or the environment names a setting that cannot be used; the message names the key and the remedy."""


@dataclass(frozen=True, slots=True)
class ConnectionSettings:
    """Address, TLS and token of one Consul agent."""

    base_url: str  # http://host:port; http://localhost when there is a socket_path
    token: str = field(default="", repr=False)
    token_file: str = ""
    ssl_context: ssl.SSLContext | None = field(default=None, repr=False)
    server_name: str | None = None
    socket_path: str = ""  # of the agent's unix socket

    def read_current_token(self) -> str:
        """Return the token; a token file is read each time, since it may be renewed while the process runs."""
        if not self.token_file:
            return self.token
        try:
            return Path(self.token_file).read_text().strip()
        except OSError:
            return self.token  # Consul refuses the call when this token does not suffice, and that is reported


def build_connection_settings(plan: Consul, env: Mapping[str, str]) -> ConnectionSettings:
    """Return the settings of the plan's `consul` section, completed from the environment.

    Raises:
        ConsulSetupError: A certificate or key file, or the address in the environment, cannot be used.
    """
    tls = plan.tls or Tls()
    named_scheme, address = split_consul_address(plan.address or _get_default_address(env))
    socket_path = address.removeprefix(UNIX_PREFIX) if address.startswith(UNIX_PREFIX) else ""
    scheme = plan.scheme or named_scheme or ("https" if _parse_flag(env.get("CONSUL_HTTP_SSL", "")) else "http")
    scheme = "http" if socket_path else scheme
    token_file = plan.token_file or ("" if plan.acl_token else env.get("CONSUL_HTTP_TOKEN_FILE", ""))
    return ConnectionSettings(
        base_url=f"{scheme}://{'localhost' if socket_path else address}",
        token=plan.acl_token or env.get("CONSUL_HTTP_TOKEN", "").strip(),
        token_file=token_file,
        ssl_context=_build_ssl_context(tls, env) if scheme == "https" else None,
        server_name=tls.servername or env.get("CONSUL_TLS_SERVER_NAME") or None,
        socket_path=socket_path,
    )


def _get_default_address(env: Mapping[str, str]) -> str:
    address = env.get("CONSUL_HTTP_ADDR") or DEFAULT_ADDRESS
    if not is_consul_address(address):
        raise ConsulSetupError(f'consul: cannot use CONSUL_HTTP_ADDR="{address}"; write HOST:PORT')
    return address


def _build_ssl_context(tls: Tls, env: Mapping[str, str]) -> ssl.SSLContext:
    import ssl

    authority, folder = tls.cafile or env.get("CONSUL_CACERT"), tls.capath or env.get("CONSUL_CAPATH")
    certificate = tls.clientcert or env.get("CONSUL_CLIENT_CERT")
    key = tls.clientkey or env.get("CONSUL_CLIENT_KEY")
    try:
        context = ssl.create_default_context(cafile=authority or None, capath=folder or None)
        if certificate:
            context.load_cert_chain(certificate, key or None, password="")  # "": ask no terminal
    except (OSError, ssl.SSLError) as error:
        files = ", ".join(name for name in (authority, folder, certificate, key) if name)
        reason = getattr(error, "strerror", None) or str(error)
        remedy = "write PEM files that autopilot may read"
        raise ConsulSetupError(f"consul.tls: cannot use {files}: {reason}; {remedy}") from None
    if not tls.verify or not _parse_flag(env.get("CONSUL_HTTP_SSL_VERIFY", "true")):
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _parse_flag(text: str) -> bool:
    return text.strip().lower() in ("1", "t", "true")
