"""Warn about files and variables of this machine that the connection to Consul would fail at.

The section `consul` is completed from Consul's own variables, as `run` does it, so both are looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from autopilot.spec.consul_address import is_consul_address, split_consul_address
from autopilot.spec.executables import find_program_problem
from autopilot.spec.file_problems import build_machine_warning, find_read_problem
from autopilot.spec.findings import Finding
from autopilot.spec.key_paths import KeyPath
from autopilot.spec.tls_files import find_tls_problem

if TYPE_CHECKING:
    from autopilot.spec.spec_model import Spec

_FILE_VARIABLES = {  # the key of `consul.tls`, and the variable that stands for it
    "cafile": "CONSUL_CACERT",
    "capath": "CONSUL_CAPATH",
    "clientcert": "CONSUL_CLIENT_CERT",
    "clientkey": "CONSUL_CLIENT_KEY",
}


def check_consul_machine(spec: Spec, env: Mapping[str, str]) -> Iterator[Finding]:
    """Yield a warning for each file or variable that Consul's sections need and that cannot be used."""
    agent = spec.consul_agent
    if agent is not None:
        if problem := find_program_problem((agent.exec,)):
            yield build_machine_warning(("consul_agent", "exec"), "run", problem)
        if agent.config is not None and (problem := find_read_problem(agent.config, takes_directory=True)):
            yield build_machine_warning(("consul_agent", "config"), "read", problem)
    if spec.consul is not None:
        yield from _check_address_and_token(spec, env)
        if _uses_tls(spec, env):
            yield from _check_certificates(spec, env)


def _check_address_and_token(spec: Spec, env: Mapping[str, str]) -> Iterator[Finding]:
    assert spec.consul is not None, "called with a section"
    address = env.get("CONSUL_HTTP_ADDR", "")
    if spec.consul.address is None and address and not is_consul_address(address):
        yield build_machine_warning(("consul",), "used", f'CONSUL_HTTP_ADDR is "{address}"; write HOST:PORT')
    if spec.consul.token_file is not None:
        if problem := find_read_problem(spec.consul.token_file):
            yield build_machine_warning(("consul", "token_file"), "read", problem)
        return
    token_file = env.get("CONSUL_HTTP_TOKEN_FILE", "")
    if spec.consul.token is None and token_file and (problem := find_read_problem(token_file)):
        yield build_machine_warning(("consul",), "used", f"CONSUL_HTTP_TOKEN_FILE: {problem}")


def _uses_tls(spec: Spec, env: Mapping[str, str]) -> bool:
    assert spec.consul is not None, "called with a section"
    named, address = split_consul_address(spec.consul.address or env.get("CONSUL_HTTP_ADDR", ""))
    if address.startswith("unix://"):
        return False
    by_variable = "https" if env.get("CONSUL_HTTP_SSL", "").strip().lower() in ("1", "t", "true") else "http"
    return (spec.consul.scheme or named or by_variable) == "https"


def _check_certificates(spec: Spec, env: Mapping[str, str]) -> Iterator[Finding]:
    assert spec.consul is not None, "called with a section"
    found: dict[str, str] = {}
    problems: list[Finding] = []
    for key, variable in _FILE_VARIABLES.items():
        written = getattr(spec.consul.tls, key, None)
        name = written or env.get(variable)
        if not name:
            continue
        found[key] = name
        path: KeyPath = ("consul", "tls", key) if written else ("consul",)
        if problem := find_read_problem(name, takes_directory=key == "capath"):
            problems.append(build_machine_warning(path, "read", problem if written else f"{variable}: {problem}"))
    yield from problems
    if problems:
        return
    problem = find_tls_problem(
        cafile=found.get("cafile"),
        capath=found.get("capath"),
        certfile=found.get("clientcert"),
        keyfile=found.get("clientkey"),
    )
    if problem:
        path = ("consul", "tls") if spec.consul.tls is not None else ("consul",)
        yield build_machine_warning(path, "used", problem)
