"""Configure the lab's Slurm cluster: munge, dynamic nodes, short intervals, no accounting and no cgroups."""

from __future__ import annotations

from lab import pool_settings

CLUSTER_NAME = "lab"
CONFIG_PATH = "/etc/slurm/slurm.conf"
CGROUP_CONFIG_PATH = "/etc/slurm/cgroup.conf"
MUNGE_KEY_PATH = "/etc/munge/munge.key"
USERS = {"alice": 1001, "bob": 1002}  # with their uids: Slurm runs a job as its submitter, by number

# The lab's hosts have no cgroups of their own, so Slurm follows the processes of a job by their parents.
SLURM_CONFIG = f"""\
ClusterName={CLUSTER_NAME}
SlurmctldHost={pool_settings.MANAGER_NAME}({pool_settings.compute_address(0)})
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
StateSaveLocation=/var/spool/slurmctld
SlurmdSpoolDir=/var/spool/slurmd
SlurmctldPidFile=/run/slurmctld.pid
SlurmdPidFile=/run/slurmd.pid
SlurmctldLogFile=/var/log/slurmctld.log
SlurmdLogFile=/var/log/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=2
MaxNodeCount=20
SlurmdTimeout=30
SlurmctldParameters=enable_configless
SchedulerParameters=sched_interval=2,batch_sched_delay=0,bf_interval=2
KillWait=30
PartitionName=work Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
CGROUP_CONFIG = "CgroupPlugin=disabled\n"

# Prepares a host before its daemons start; the munge key must be its user's own.
HOST_SETUP_SCRIPT = f"""\
set -e
install -d -o munge -g munge -m 0755 /run/munge
install -d -o munge -g munge -m 0700 /var/log/munge /var/lib/munge
chown munge:munge {MUNGE_KEY_PATH}
chmod 0400 {MUNGE_KEY_PATH}
install -d /var/spool/slurmctld /var/spool/slurmd
{chr(10).join(f"id {user} >/dev/null 2>&1 || useradd --uid {uid} --create-home {user}" for user, uid in USERS.items())}
"""
