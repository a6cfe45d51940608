"""The examples of services, on the real software: a web site and a database are renewed while clients use them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.lab_host import Host
from lab.service_hosts import CONSUL_ADDRESS, ServiceNetwork, compute_address, start_script

pytestmark = pytest.mark.real("root", "htcondor", "consul")

EXAMPLES = Path(__file__).parents[2] / "examples"
WEB, DATABASE = EXAMPLES / "web-service", EXAMPLES / "database"
# more than all buffers between the server and the client hold, so that it is sent only as fast as the client reads
DOWNLOAD_BYTES = 64 << 20


@pytest.fixture
def network() -> Iterator[ServiceNetwork]:
    """Run a network with Consul. A failed test shows the output of its hosts."""
    with ServiceNetwork() as network:
        yield network
        for host in network.hosts:
            print(f"--- {host.name}, PID 1 {host.exit_code=}\n{host.read_log()}")


def await_instances(network: ServiceNetwork, service: str, *names: str) -> None:
    """Wait until Consul lists these hosts as the healthy instances of a service, and no other."""
    wanted = sorted(map(compute_address, names))
    network.wait_until(lambda: network.list_addresses(service) == wanted, 60, f"Consul lists {names} for {service}")


def await_registered(network: ServiceNetwork, service: str, name: str) -> None:
    """Wait until this host is the only registered instance of a service, healthy or not."""
    wanted = [compute_address(name)]
    network.wait_until(lambda: network.list_registered(service) == wanted, 60, f"only {name} has {service}")


def start_web_server(network: ServiceNetwork, name: str) -> Host:
    """A web server of the example, with a large file beside its page."""
    host = network.start_host(
        name,
        ["autopilot", "run", "/etc/web.json5"],
        files={
            "/etc/web.json5": (WEB / "web.json5").read_text(),
            "/etc/nginx/web.conf": (WEB / "web.conf").read_text(),
            "/var/www/html/index.html": "hello\n",
        },
        programs={"/usr/local/bin/is-quiet": (WEB / "is-quiet").read_text()},
    )
    host.run(["truncate", f"--size={DOWNLOAD_BYTES}", "/var/www/html/download"])
    return host


def start_balancer(network: ServiceNetwork) -> Host:
    """The balancer of the example."""
    return network.start_host(
        "balancer",
        ["autopilot", "run", "/etc/balancer.json5"],
        files={
            "/etc/balancer.json5": (WEB / "balancer.json5").read_text(),
            "/etc/haproxy/haproxy.cfg.j2": (WEB / "haproxy.cfg.j2").read_text(),
        },
    )


DOWNLOAD_SCRIPT = """
import http.client, sys
while True:
    connection = http.client.HTTPConnection(sys.argv[1], timeout=300)
    connection.request("GET", "/download")
    answer = connection.getresponse()
    if answer.getheader("X-Served-By") == sys.argv[2]:
        break
    connection.close()
print("begun", flush=True)
sys.stdin.readline()
print(len(answer.read()))
"""


def start_download_from(client: Host, server: str) -> subprocess.Popen[str]:
    """A download through the balancer that this server has begun; it goes on at a line of standard input.

    Downloads that another server answers are given up.
    """
    words = ["python3", "-I", "-c", DOWNLOAD_SCRIPT, compute_address("balancer"), server]
    process = subprocess.Popen(
        client.build_nsenter_command(words),
        env=client.env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    return process


def test_web_site_is_renewed_without_a_failed_request(network: ServiceNetwork) -> None:
    """Both web servers are renewed, one after the other, while a client asks without a break: each request and the
    download that runs is answered whole. A server leaves Consul's list when its drain begins.
    """
    client = network.start_host("client", ["sh", "-c", "sleep infinity & wait"])
    servers = {name: start_web_server(network, name) for name in ("web-1", "web-2")}
    start_balancer(network)
    await_instances(network, "web", *servers)
    url = f"http://{compute_address('balancer')}/"
    network.wait_until(lambda: client.run(["curl", "-sf", url], check=False), 60, "the balancer answers")
    requests = start_script(client, Path(__file__).with_name("steady_requests.py"), url)

    for name, other in (("web-1", "web-2"), ("web-2", "web-1")):
        download = start_download_from(client, name)
        servers[name].run(["autopilot", "drain", "--no-wait"])
        await_instances(network, "web", other)
        assert servers[name].exit_code is None, "the server waits for the download"
        assert download.communicate("go on\n", timeout=300)[0] == f"{DOWNLOAD_BYTES}\n"
        assert servers[name].wait(60) == 0
        await_registered(network, "web", other)
        servers[name] = start_web_server(network, name)
        await_instances(network, "web", *servers)

    result = json.loads(requests.communicate(timeout=300)[0])
    assert result["failures"] == []
    assert set(result["served"]) == set(servers)


def start_database(network: ServiceNetwork, name: str) -> Host:
    """A database server of the example, with an empty disk."""
    scripts = [path for path in DATABASE.iterdir() if not path.suffix and path.name != "Dockerfile"]
    return network.start_host(
        name,
        ["autopilot", "run", "/etc/database.json5"],
        files={
            "/etc/database.json5": (DATABASE / "database.json5").read_text(),
            "/etc/redis/primary.j2": (DATABASE / "primary.j2").read_text(),
        },
        programs={f"/usr/local/bin/{script.name}": script.read_text() for script in scripts},
    )


def await_replication(network: ServiceNetwork, host: Host, wanted: str) -> None:
    """Wait until redis says this line of its replication."""
    network.wait_until(
        lambda: wanted in host.run(["redis-cli", "info", "replication"], check=False).split(),
        60,
        f"{host.name} says {wanted}",
    )


def count_keys(host: Host) -> int:
    """Return the number of keys that redis has."""
    return int(host.run(["redis-cli", "-e", "--raw", "dbsize"]))


def test_database_hands_over_before_it_ends(network: ServiceNetwork) -> None:
    """Both database servers are renewed, each with an empty disk, while a client writes without a break: the primary
    hands over before it ends, and each acknowledged key is there at the end.
    """
    client = network.start_host("client", ["sh", "-c", "sleep infinity & wait"])
    servers = {name: start_database(network, name) for name in ("db-1", "db-2")}
    for server in servers.values():
        await_replication(network, server, "role:slave")
    servers["db-1"].run(["redis-cli", "-e", "replicaof", "no", "one"])
    script = Path(__file__).with_name("steady_writes.py")
    writes = start_script(client, script, f"{CONSUL_ADDRESS}:8500", "redis-primary")

    for name, other in (("db-1", "db-2"), ("db-2", "db-1")):
        await_instances(network, "redis-primary", name)
        await_replication(network, servers[other], "master_link_status:up")
        servers[name].run(["autopilot", "drain", "--no-wait"])
        assert servers[name].wait(120) == 0
        servers[name] = start_database(network, name)
    await_instances(network, "redis-primary", "db-1")
    count = count_keys(servers["db-1"])
    network.wait_until(lambda: count_keys(servers["db-1"]) > count, 60, "the client writes to db-1 again")

    result = json.loads(writes.communicate(timeout=300)[0])
    assert result["primaries"] == [compute_address(name) for name in ("db-1", "db-2", "db-1")]
    keys = [f"key-{number}" for number in range(result["written"])]
    found = servers["db-1"].run(["redis-cli", "-e"], stdin=f"MGET {' '.join(keys)}\n").split()
    assert found == keys
