"""Let a state folder belong to one configuration file.

Theory of operation. The containers of a slot that the configuration lacks are surplus and are drained. So two
configurations with one state folder would drain each other's containers for ever. The first pass writes the path of its
configuration file into the memory. Passes with another file are refused while a `watch` works with the first one.
Otherwise the folder follows: the first file was renamed, or replaced by the other one. An operator may let the folder
belong to another file on purpose.

A container carries the path of the configuration file, too. So the first pass with another state folder finds the
containers that run under the former one, which it would not see otherwise, and is refused until they have ended. If
the file was renamed as well, the containers carry its former path: they are found by their slots and by that path, at
which there is no file any more.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from autopilot_watchdog.core.memory import Memory
from autopilot_watchdog.errors import WatchdogError

CONFIG_LABEL = "autopilot.config"  # of a container: the configuration file that it was started with


@dataclass(frozen=True, slots=True)
class ForeignContainer:
    """Living container that carries another state folder."""

    name: str
    state_folder: str
    config_file: str  # that it was started with
    slot: str


@dataclass(frozen=True, slots=True)
class ConfigClaim:
    """Claim of the configuration file in use to the state folder."""

    path: str  # absolute
    is_owner: bool  # the folder belongs to this file, perhaps under another name, or to none yet
    is_owner_idle: bool = False  # no `watch` works with the file that the folder belongs to, or it exists no more


class ForeignConfigError(WatchdogError):
    """The state folder belongs to another configuration file; the message has the remedy."""


def claim_state(memory: Memory, file: ConfigClaim, folder: str) -> Memory:
    """Return the memory as that of a configuration file.

    Raises:
        ForeignConfigError: The state folder belongs to another file.
    """
    if sentence := explain_foreign_config(memory, file, folder):
        raise ForeignConfigError(sentence)
    return memory if file.is_owner and memory.config_file else replace(memory, config_file=file.path)


def explain_foreign_config(memory: Memory, file: ConfigClaim, folder: str) -> str:
    """Return the sentence that refuses a configuration file; "" if the state folder belongs to it."""
    if not memory.config_file or file.is_owner or file.is_owner_idle:
        return ""
    return (
        f"cannot use the state folder {folder} with {file.path}: a `watch` uses it with {memory.config_file}, and each "
        "of the two files would drain the containers of the other one; give this file a `state` of its own. "
        f"If it replaces the other one: autopilot-watchdog adopt --config {file.path}"
    )


def adopt_state(memory: Memory, file: ConfigClaim, folder: str) -> tuple[Memory, str]:
    """Return the memory as that of a configuration file in any case, and a sentence about it."""
    if memory.config_file in {"", file.path}:
        sentence = f"the state folder {folder} belongs to {file.path}"
    else:
        sentence = f"the state folder {folder} belongs to {file.path} now; a `watch` with {memory.config_file} ends"
    return replace(memory, config_file=file.path, state_folder=folder), sentence


def select_strays(
    found: Iterable[ForeignContainer], config_file: str, slots: Collection[str], is_gone: Callable[[str], bool]
) -> dict[str, str]:
    """Return the state folders of the containers that a configuration file has under another folder, by name.

    Args:
        found: The living containers with another state folder.
        config_file: The path of the configuration file.
        slots: Its slots.
        is_gone: Tells whether there is no file any more at the path of a configuration file.
    """
    return {
        one.name: one.state_folder
        for one in found
        if one.config_file == config_file or (one.slot in slots and is_gone(one.config_file))
    }


def check_former_folder(memory: Memory, folder: str, strays: Mapping[str, str] | None) -> Memory:
    """Return the memory in which it is noted that no container of this configuration runs under another folder.

    Args:
        memory: The memory before.
        folder: The state folder in use.
        strays: The state folders of such containers, by container; None if an engine did not answer.

    Raises:
        ForeignConfigError: There are such containers.
    """
    if strays:
        former = next(iter(strays.values()))
        raise ForeignConfigError(
            f"cannot use the state folder {folder}: containers of this configuration run under {former} "
            f"({', '.join(sorted(strays))}), and their slots would be filled a second time; write the former `state` "
            "again. To change it: `drain --host`, wait until `status` shows no container, and change it then. "
            "If the containers belong to another watchdog: autopilot-watchdog adopt"
        )
    return memory if strays is None else replace(memory, state_folder=folder)
