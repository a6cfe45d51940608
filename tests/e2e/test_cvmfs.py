"""examples/cvmfs with the kernel's autofs, Debian's automounter, and bindfs in the place of CVMFS."""

from __future__ import annotations

import base64
import json
from contextlib import ExitStack
from pathlib import Path

import pytest

from lab import pool_settings
from lab.automounts import build_automount_layer
from lab.debian_trees import build_condor_tree
from lab.host_network import HostNetwork
from lab.polling import poll_until

pytestmark = pytest.mark.real("root", "htcondor", "fuse")

EXAMPLE = Path(__file__).parents[2] / "examples" / "cvmfs"
REPOSITORY = "test.example.org"
WRAPPER = "/usr/libexec/cvmfs-job-wrapper"
PROGRAMS = [WRAPPER, "/etc/auto.cvmfs", "/usr/sbin/mount.cvmfs"]
CLAIMS = base64.urlsafe_b64encode(json.dumps({"iss": "pool", "sub": "worker@pool"}).encode()).decode().rstrip("=")
FILES = {
    WRAPPER: (EXAMPLE / "cvmfs-job-wrapper").read_text(),
    "/etc/auto.master": (EXAMPLE / "auto.master").read_text(),
    "/etc/auto.cvmfs": '#!/bin/sh\n[ ! -d "/srv/repositories/$1" ] || echo "-fstype=cvmfs :$1"\n',  # CVMFS has its own
    "/usr/sbin/mount.cvmfs": '#!/bin/sh\nexec bindfs -r "/srv/repositories/${1#:}" "$2"\n',
    f"/srv/repositories/{REPOSITORY}/setup.sh": "export EXPERIMENT=atlas\n",
    pool_settings.MOUNTED_TOKEN_PATH: f"e30.{CLAIMS}.e30",  # no pool is there to refuse it
}
AS_NOBODY = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups")
DEVICE = "mknod -m 666 /dev/fuse c 10 229"
HUNG_MOUNT = f"mkdir -p /cvmfs/{REPOSITORY} && mount.cvmfs :{REPOSITORY} /cvmfs/{REPOSITORY} && pkill -STOP bindfs"


@pytest.fixture
def start_worker(tmp_path):
    """Start a worker without a pool, whose PID 1 is the supervisor with one of the example's job specs."""
    with ExitStack() as stack:
        network = HostNetwork(stack, tmp_path, build_condor_tree())

        def start(spec, prepare, **env):
            steps = [f"chmod +x {' '.join(PROGRAMS)}", DEVICE, prepare, "exec autopilot run /etc/autopilot.json5"]
            host = network.create_worker(
                ["sh", "-c", " && ".join(steps)],
                env={"CONDOR_HOST": pool_settings.CONDOR_HOST, "CVMFS": REPOSITORY, **env},
                files={"/etc/autopilot.json5": (EXAMPLE / spec).read_text(), **FILES},
                more_layers=[build_automount_layer()],
            )
            host.run_ip("link", "set", "lo", "up")
            host.start_command()
            return host

        yield start
        for worker in network.workers:
            print(f"--- {worker.name} {worker.exit_code=}\n{worker.read_log()}")


def test_mounts(start_worker):
    """The gate lets the automounter in the container mount the repository before condor_master starts, and the wrapper
    gives a job its environment. A life that begins on a file system that hangs ends with 75, neutral for the image.
    """
    hung = start_worker("autopilot.json5", HUNG_MOUNT, WAIT="0")
    worker = start_worker("autopilot-autofs.json5", "mkdir -p /cvmfs", CVMFS_SETUP=f"/cvmfs/{REPOSITORY}/setup.sh")
    poll_until(lambda: worker.find_processes("condor_master"), 60, lambda _: f"no condor_master:\n{worker.read_log()}")
    job = [*AS_NOBODY, WRAPPER, "sh", "-c", 'echo "$EXPERIMENT"']
    assert worker.run(job, timeout=60) == "atlas\n"
    assert " fuse " in worker.run(["grep", f" /cvmfs/{REPOSITORY} ", "/proc/mounts"])
    assert hung.wait(60) == 75
