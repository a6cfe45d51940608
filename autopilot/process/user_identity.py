"""Translate names of users and groups to numbers, before the fork: a wrong name is our error, not the child's."""

from __future__ import annotations

import grp
import os
import pwd


class Identity:
    """The user and groups of a process.

    Attributes:
        uid: For the kernel.
        gid: For the kernel.
        groups: Supplementary groups, for the kernel.
        name: For USER and LOGNAME; None where the password database has no entry: both are then left out.
        home: For HOME; None where the password database has no entry: it is then `/`.
    """

    __slots__ = ("gid", "groups", "home", "name", "uid")

    def __init__(self, uid: int, gid: int, groups: list[int], name: str | None = None, home: str | None = None) -> None:
        self.uid, self.gid, self.groups, self.name, self.home = uid, gid, groups, name, home


def resolve(user: str | None, group: str | None) -> Identity | None:
    """Look up a process's user and groups.

    A numeric user needs no entry in the password database. Supplementary groups are the user's own (initgroups(3)); a
    `group` replaces the primary one only.

    Returns:
        The identity; None when neither is given: the process runs as we do.

    Raises:
        LookupError: A name is unknown; the message is one sentence.
    """
    if user is None and group is None:
        return None
    gid = _find_group_id(group) if group is not None else None
    if user is None:
        own = os.getgid() if gid is None else gid
        return Identity(os.getuid(), own, [own])
    entry = _find_user(user)
    if entry is None:
        primary = int(user) if gid is None else gid
        return Identity(int(user), primary, [primary])
    primary = entry.pw_gid if gid is None else gid
    return Identity(entry.pw_uid, primary, os.getgrouplist(entry.pw_name, primary), entry.pw_name, entry.pw_dir)


def _find_user(user: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwuid(int(user)) if user.isdigit() else pwd.getpwnam(user)
    except KeyError:
        if user.isdigit():
            return None
        raise LookupError(f"user {user!r} does not exist here") from None


def _find_group_id(group: str) -> int:
    if group.isdigit():
        return int(group)
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise LookupError(f"group {group!r} does not exist here") from None
