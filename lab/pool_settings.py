"""Configure the lab's HTCondor pool: short intervals, token authentication, names without DNS."""

from __future__ import annotations

DOMAIN = "pool"
NETWORK_PREFIX = "10.77.0"
MANAGER_NAME = "manager"
CONDOR_HOST = f"{MANAGER_NAME}.{DOMAIN}"
TOKEN_PATH = "/etc/condor/tokens.d/worker"
MOUNTED_TOKEN_PATH = "/run/secrets/condor/worker"  # where the worker-node image expects it
SITE_CONFIG_PATH = "/etc/condor/config.d/40-site.conf"
USERS = ("alice", "bob")
WORKER_IDENTITY = f"worker@{DOMAIN}"

_COMMON = f"""\
CONDOR_HOST = {CONDOR_HOST}
DEFAULT_DOMAIN_NAME = {DOMAIN}
UID_DOMAIN = {DOMAIN}
TRUST_DOMAIN = {DOMAIN}
ENABLE_KERNEL_TUNING = False
"""

MANAGER_CONFIG = f"""\
{_COMMON}
use ROLE: CentralManager
use ROLE: Submit
ALLOW_ADVERTISE_MASTER = $(ALLOW_DAEMON) {WORKER_IDENTITY}
ALLOW_ADVERTISE_STARTD = $(ALLOW_DAEMON) {WORKER_IDENTITY}
NEGOTIATOR_INTERVAL = 2
NEGOTIATOR_CYCLE_DELAY = 1
NEGOTIATOR_MIN_INTERVAL = 1
SCHEDD_INTERVAL = 2
SCHEDD_MIN_INTERVAL = 1
"""

# Prepares the manager's system before its daemons start.
MANAGER_SETUP_SCRIPT = f"""\
set -e
install -d -o condor -g condor /run/condor /var/lock/condor /var/spool/condor
for user in {" ".join(USERS)}; do useradd --create-home $user; done
"""

# A whole worker configuration, for a condor_master that runs without the supervisor or with one that renders none.
WORKER_CONFIG = f"""\
{_COMMON}
use ROLE: Execute
use FEATURE: PartitionableSlot(1, 100%)
RunBenchmarks = False
STARTER_ALLOW_RUNAS_OWNER = False
MAXJOBRETIREMENTTIME = 86400
SHUTDOWN_GRACEFUL_TIMEOUT = 90000
SHUTDOWN_FAST_TIMEOUT = 30
"""


def compute_address(number: int) -> str:
    """Return the address of worker `number`; 0 is the manager."""
    return f"{NETWORK_PREFIX}.{number + 1}"


def format_hosts_file(workers: int = 40) -> str:
    """Return an /etc/hosts with every name of the pool, so that no look-up waits for a name server."""
    named = [(compute_address(0), MANAGER_NAME), *[(compute_address(n), f"worker{n}") for n in range(1, workers + 1)]]
    return "127.0.0.1 localhost\n" + "".join(f"{ip} {name}.{DOMAIN} {name}\n" for ip, name in named)
