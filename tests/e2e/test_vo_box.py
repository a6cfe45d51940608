"""The example of a VO-box, on a real pool: daemons, proxy, submission, cron jobs and monitoring in one container."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import pool_settings
from lab.lab_host import Host
from lab.pool import Pool
from lab.service_hosts import build_service_tree
from tests.e2e.node import Node

pytestmark = pytest.mark.real("root", "htcondor", "openssl")

EXAMPLE = Path(__file__).parents[2] / "examples" / "vo-box"
PROXY = "/var/lib/vobox/proxy.pem"
REQUESTS, SUBMITTED = "/var/spool/vobox/requests", "/var/spool/vobox/submitted"
LOG = "/var/log/vobox.log"
LONG_S = 120.0  # for a command that waits for another program
# as in the README, with shorter intervals
ENVIRONMENT = {
    "AUTOPILOT_STATE": "/var/lib/autopilot",
    "AUTOPILOT_CONFIG": "/etc/vobox/vo-box.json5",
    "CONDOR_DOMAIN": pool_settings.DOMAIN,
    "RENEWAL_INTERVAL": "2s",
    "CHECK_INTERVAL": "1s",
    "MEASURE_INTERVAL": "1s",
    "CLEAN_UP": "* * * * * *",
}
REQUEST = """\
executable = /bin/sh
transfer_executable = false
should_transfer_files = YES
arguments = "-c 'grep -q CERTIFICATE proxy.pem && exec sleep 1'"
transfer_input_files = /var/lib/vobox/proxy.pem
request_memory = 32M
request_disk = 1M
queue
"""


@pytest.fixture
def pool() -> Iterator[Pool]:
    """Run a real pool on a Debian with the programs of a VO-box. A failed test shows the output of its workers."""
    with Pool(build_service_tree) as pool:
        yield pool
        for worker in pool.workers:
            print(f"--- {worker.name}, PID 1 {worker.exit_code=}\n{worker.read_log()}")


@pytest.fixture
def secrets(pool: Pool, tmp_path: Path) -> dict[str, str]:
    """Certificate and key of a user of the VO, the key for ssh, and alice's token for the pool, by their names."""
    key, certificate = tmp_path / "userkey.pem", tmp_path / "usercert.pem"
    subject = "/DC=org/DC=lab/CN=VO production"
    user = ["-addext", "basicConstraints=critical,CA:FALSE"]  # the certificate of an authority signs no proxy
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", subject, *user]
    subprocess.run([*words, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    pool.run_on_manager("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "/root/key")
    return {
        "userkey.pem": key.read_text(),
        "usercert.pem": certificate.read_text(),
        "token": pool.run_on_manager("condor_token_create", "-identity", f"alice@{pool_settings.DOMAIN}"),
        "authorized_keys": pool.manager.read_file("/root/key.pub"),
    }


def start_vo_box(pool: Pool, secrets: dict[str, str], *, open_files: int) -> Host:
    """A VO-box of the example, with a limit of open files as of `docker run --ulimit`."""
    scripts = [path for path in EXAMPLE.iterdir() if not path.suffix and path.name not in ("Dockerfile", "sshd_config")]
    settings = [EXAMPLE / name for name in ("vo-box.json5", "rsyslog.conf", "sshd_config")]
    limit = f"--nofile={open_files}:{open_files}"
    # prepare-image is a step of the image's recipe
    start = f"chmod 755 /usr/local/bin/* && prepare-image && exec prlimit {limit} autopilot run"
    return pool.start_worker(
        ["sh", "-c", start],
        env=ENVIRONMENT,
        files={
            **{f"/usr/local/bin/{path.name}": path.read_text() for path in scripts},
            **{f"/etc/vobox/{path.name}": path.read_text() for path in settings},
            "/etc/condor/config.d/50-vobox.conf": (EXAMPLE / "50-vobox.conf").read_text(),
            **{f"/run/secrets/vobox/{name}": text for name, text in secrets.items()},
        },
        token="",
    )


def await_health(pool: Pool, box: Host, job: str, wanted: str) -> None:
    """Wait until a job of the VO-box has this health."""

    def get_health() -> str | None:
        answer = box.run(["autopilot", "status", job, "-o", "json"], check=False)
        return json.loads(answer)["health"] if answer else None

    pool.wait_until(lambda: get_health() == wanted, 60, f"{job} is {wanted}")


def read_metrics(box: Host) -> dict[str, float]:
    """The samples of the telemetry port."""
    lines = box.run(["curl", "-sf", "http://127.0.0.1:9090/metrics"]).splitlines()
    samples = [line.rsplit(" ", 1) for line in lines if not line.startswith("#")]
    return {name: float(value) for name, value in samples}


def test_vo_box_serves_its_users(pool: Pool, secrets: dict[str, str]) -> None:
    """With too few open files no job starts. With enough, a request that comes by ssh becomes a job of the pool and
    completes; a proxy that is not renewed turns unhealthy while it is still valid, and healthy again by the renewal;
    rsyslog, a cron job, `service`, `systemctl` and the metrics work as on an ordinary machine.
    """
    worker = Node(pool)
    assert start_vo_box(pool, secrets, open_files=1024).wait(60) == 78
    box = start_vo_box(pool, secrets, open_files=16384)
    for job in ("rsyslog", "sshd", "proxy"):
        await_health(pool, box, job, "healthy")
    worker.wait_until_joined()

    # ssh, the stand-in for the CE, and the batch system
    ssh = ["ssh", "-i", "/root/key", "-o", "StrictHostKeyChecking=no", "-o", "BatchMode=yes", f"vobox@{box.name}"]
    request = f"{REQUESTS}/a"
    pool.manager.run([*ssh, f"cat > {request} && mv {request} {request}.sub"], stdin=REQUEST, timeout=LONG_S)
    job = pool.wait_until(lambda: box.run(f"cat {SUBMITTED}/a.sub.id", check=False).strip(), 60, "it is submitted")
    pool.wait_until(lambda: pool.get_job_status(job) == "Completed", 60, "the job completes")
    ad = pool.get_job_ad(job)
    assert (ad["Owner"], ad["ExitCode"]) == ("alice", 0), "the job is alice's, and has the proxy"

    # syslog has sshd's lines, a rotation by `systemctl` begins a new file, and the container's log has them too
    pool.wait_until(lambda: "Accepted publickey for vobox" in box.read_file(LOG), 60, "rsyslog has sshd's line")
    box.run(["autopilot", "start", "log-rotation"], timeout=LONG_S)
    pool.wait_until(lambda: box.run(f"test -e {LOG}.1 && echo yes", check=False), 60, "the log is renamed")
    box.run(["service", "rsyslog", "status"])
    # a line of the moment before the signal goes to the renamed file
    new_line = f"logger after the rotation; cat {LOG}"
    pool.wait_until(lambda: "after the rotation" in box.run(new_line, check=False), 60, "rsyslog writes a new file")
    pool.wait_until(lambda: "after the rotation" in box.read_log(), 60, "the container's log has the line")
    box.run(["service", "sshd", "restart"], timeout=LONG_S)
    box.run(["systemctl", "is-active", "--quiet", "sshd.service", "rsyslog"])

    # a cron job
    box.run(f"touch -d '40 days ago' {SUBMITTED}/old.sub")
    pool.wait_until(lambda: not box.run(f"ls {SUBMITTED}/old.sub 2>/dev/null", check=False), 60, "it is cleaned up")

    # the proxy: half an hour is left, and it cannot be renewed
    key = "/var/lib/vobox/secrets/userkey.pem"
    short = f"grid-proxy-init -q -cert /var/lib/vobox/secrets/usercert.pem -key {key} -valid 0:30 -out {PROXY}.short"
    box.run(f"{short} && mv {key} {key}.away && mv {PROXY}.short {PROXY}", user="vobox")
    pool.wait_until(lambda: "and 2h are needed" in box.read_log(), 60, "the check tells that the proxy expires")
    await_health(pool, box, "proxy", "unhealthy")
    box.run(["grid-proxy-info", "-file", PROXY, "-exists"], user="vobox")
    pool.wait_until(lambda: 0 < read_metrics(box)["vobox_proxy_left_seconds"] <= 1800, 60, "the monitor tells it")
    metrics = read_metrics(box)
    assert metrics['autopilot_job_healthy{name="proxy"}'] == 0
    assert metrics['autopilot_gate_open{name="files"}'] == 1
    assert metrics['autopilot_job_open_files{name="sshd"}'] > 0
    assert metrics["vobox_requests_submitted"] == 1
    box.run(f"mv {key}.away {key}")
    await_health(pool, box, "proxy", "healthy")
