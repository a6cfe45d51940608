"""Check and prepare the node before condor_master starts. Each problem is one line that ends with its remedy."""

from __future__ import annotations

import asyncio
import errno
import os
import pwd
import shutil
import time
from collections.abc import Mapping
from pathlib import Path

from autopilot.adapters.batch.batch_system import OutsideProblem
from autopilot.adapters.batch.htcondor import id_tokens
from autopilot.adapters.batch.htcondor.collector_link import parse_collectors
from autopilot.adapters.batch.htcondor.condor_commands import CondorCommands
from autopilot.adapters.batch.htcondor.free_space import read_free_bytes

LOOKUP_TIMEOUT_S = 5.0  # a dead name server holds each daemon up for minutes
MIN_LOG_BYTES = 1 << 20  # condor_master exits 44 within a second when its log is full
DIRECTORY_SETTINGS = ("RUN", "LOCK", "LOG", "SPOOL", "EXECUTE")
# of an image or a mount that does not fit; others are of the disk behind it
CONTAINER_ERRORS = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.EEXIST)
TOKEN_IDENTITIES = {"ADVERTISE_STARTD": "worker@POOL", "ADVERTISE_SCHEDD": "access-point@POOL"}


def check_installation(env: Mapping[str, str]) -> list[str]:
    """Find condor_master on the PATH of `env`; returns the problems."""
    if shutil.which("condor_master", path=env.get("PATH", os.defpath)) is None:
        return ["cannot find condor_master on PATH: install HTCondor in this image, or set PATH"]
    return []


def get_host_name() -> str:
    """Return this host's own name."""
    return os.uname().nodename


async def check_names(commands: CondorCommands, collector_host: str | None) -> list[str]:
    """Look up our own name and the managers' by this host's resolver; returns the problems."""
    own = get_host_name()
    hosts = [host for host, _ in parse_collectors(collector_host or "") if not _is_address(host)]
    answers = await asyncio.gather(*(commands.can_resolve(host, LOOKUP_TIMEOUT_S) for host in [own, *hosts]))
    problems = []
    if answers[0] is False:
        problems.append(
            f"cannot resolve this host's own name {own}: the daemons would take minutes to start; "
            "put it into /etc/hosts or give the container a name its DNS knows"
        )
    if (
        hosts
        and len(hosts) == len(parse_collectors(collector_host or ""))
        and all(answer is False for answer in answers[1:])
    ):
        problems.append(f"cannot resolve the manager {', '.join(hosts)}: check CONDOR_HOST and this container's DNS")
    return problems


def _is_address(host: str) -> bool:
    return ":" in host or host.replace(".", "").isdigit()


def get_condor_ids(settings: Mapping[str, str]) -> tuple[int, int]:
    """Return the (uid, gid) that own the daemons' directories: CONDOR_IDS, else the user condor, else our own."""
    uid, _, gid = settings.get("CONDOR_IDS", "").partition(".")
    if os.geteuid() != 0:
        return os.geteuid(), os.getegid()
    if uid.isdigit() and gid.isdigit():
        return int(uid), int(gid)
    try:
        entry = pwd.getpwnam("condor")
    except KeyError:
        return 0, 0
    return entry.pw_uid, entry.pw_gid


def prepare_directories(settings: Mapping[str, str]) -> list[str]:
    """Make missing directories; returns the problems: not made, not writable, not for programs, full."""
    uid, gid = get_condor_ids(settings)
    problems = []
    for name in DIRECTORY_SETTINGS:
        if (path := settings.get(name)) is None:
            continue
        try:
            _make_directory(Path(path), uid, gid)
            mount_flags, free = os.statvfs(path).f_flag, read_free_bytes(path)
        except OSError as error:
            problems.append(add_disk_remedy(f"{name} = {path}: cannot make it", error))
            continue
        if mount_flags & os.ST_RDONLY:
            problems.append(f"{name} = {path} is mounted read-only: mount a volume or a tmpfs there")
        elif name == "EXECUTE" and mount_flags & os.ST_NOEXEC:
            problems.append(f"EXECUTE = {path} is mounted noexec, so no job could start: mount it with exec")
        elif name == "LOG" and free < MIN_LOG_BYTES:
            problems.append(f"LOG = {path} is full, condor_master would exit 44: make room there")
    return problems


def add_disk_remedy(problem: str, error: OSError) -> str:
    """Return the problem with its cause and its remedy; an OutsideProblem when the disk fails, not the container."""
    if error.errno in CONTAINER_ERRORS:
        return f"{problem} ({error.strerror}); mount it writable for the user condor"
    return OutsideProblem(
        f"{problem} ({error.strerror}); look at its volume: the disk may be full or broken, "
        "and a file server may be away or know no locks"
    )


def _make_directory(path: Path, uid: int, gid: int) -> None:
    """Make a directory and give it to the user condor; of existing ones only an empty mount point of root's."""
    if not path.is_dir():
        path.mkdir(mode=0o755, parents=True)
    elif os.geteuid() != 0 or path.stat().st_uid != 0 or uid == 0 or any(path.iterdir()):
        return
    if os.geteuid() == 0:
        os.chown(path, uid, gid)


def get_token_directory(settings: Mapping[str, str], env: Mapping[str, str]) -> Path:
    """Return the token directory of this user's daemons.

    (HTCondor manual, SEC_TOKEN_SYSTEM_DIRECTORY and SEC_TOKEN_DIRECTORY.)
    """
    if os.geteuid() == 0:
        return Path(settings.get("SEC_TOKEN_SYSTEM_DIRECTORY", "/etc/condor/tokens.d"))
    return Path(settings.get("SEC_TOKEN_DIRECTORY") or Path(env.get("HOME", "/"), ".condor/tokens.d"))


def copy_tokens(source: str | None, directory: Path) -> list[str]:
    """Copy the tokens that the job spec names, if any; returns the problems."""
    if source is None:
        return []
    try:
        id_tokens.install(Path(source), directory)
    except OSError as error:
        problem = f"htcondor.node.token: cannot copy {source} to {directory}: {error.strerror}"
        return [f"{problem}; mount the token there, readable"]
    return []


def build_token_remedy(right: str) -> str:
    """Return the command that makes a token with a right to advertise a daemon."""
    identity = TOKEN_IDENTITIES[right]
    return (
        f"make one on the manager: condor_token_create -identity {identity} "
        f"-authz ADVERTISE_MASTER -authz {right} -authz READ"
    )


def check_tokens(
    directory: Path, settings: Mapping[str, str], *, expected: bool, right: str = id_tokens.REQUIRED_RIGHT
) -> list[str]:
    """Examine the tokens, where the pool needs one.

    Args:
        directory: The token directory.
        settings: HTCondor's settings.
        expected: The job spec names a token, so one must be there even where the pool needs none.
        right: The right that the node needs.

    Returns:
        The problems.
    """
    if not expected and not is_token_required(settings):
        return []
    remedy = build_token_remedy(right)
    if not directory.is_dir():
        return [f"no token: there is no {directory}; {remedy}"]
    usable, problems = id_tokens.examine(directory, time.time(), right)
    if usable:
        return _check_token_permissions(directory)
    return [f"{problem}; {remedy}" for problem in problems] or [f"no token in {directory}; {remedy}"]


def _check_token_permissions(directory: Path) -> list[str]:
    if os.geteuid() != 0:
        return []
    return [
        f"the token {path} can be read by every job: chmod 600 {path}"
        for path in id_tokens.list_token_files(directory)
        if id_tokens.is_readable_by_others(directory, path)
    ]


def is_token_required(settings: Mapping[str, str]) -> bool:
    """Return True when a token is the only way into this pool.

    It is not when authentication is optional, by other methods, or within this host.
    """
    if settings.get("SEC_DEFAULT_AUTHENTICATION", "").upper() != "REQUIRED":
        return False
    methods = settings.get("SEC_CLIENT_AUTHENTICATION_METHODS") or settings.get("SEC_DEFAULT_AUTHENTICATION_METHODS")
    if methods and not {"TOKEN", "TOKENS", "IDTOKEN", "IDTOKENS"} & set(methods.upper().replace(",", " ").split()):
        return False
    managers = {host for host, _ in parse_collectors(settings.get("COLLECTOR_HOST", ""))}
    local = {"localhost", "127.0.0.1", "::1", get_host_name(), settings.get("FULL_HOSTNAME", "")}
    return not managers & local
