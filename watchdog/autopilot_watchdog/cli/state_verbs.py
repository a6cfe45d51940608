"""Change what the state folder belongs to and knows: the verbs `adopt` and `forget-engine`."""

from __future__ import annotations

from pathlib import Path

import click

from autopilot_watchdog.cli.order_verbs import apply_order
from autopilot_watchdog.cli.verb_support import EX_USAGE, config_option, fail, get_config_path
from autopilot_watchdog.config.config_model import Config
from autopilot_watchdog.core import engine_memory
from autopilot_watchdog.core.memory import Memory
from autopilot_watchdog.core.observation import EngineView
from autopilot_watchdog.core.state_ownership import adopt_state
from autopilot_watchdog.engine.engine_registry import create_engine
from autopilot_watchdog.shell.config_owner import compare_with_owner
from autopilot_watchdog.shell.observe import observe_engine
from autopilot_watchdog.shell.state_file import StateStore


@click.command()
@config_option
def adopt(config: Config) -> None:
    """Let the state folder belong to this configuration file; a `watch` with the former one ends."""
    path = get_config_path()

    def adopt_here(memory: Memory) -> tuple[Memory, str]:
        return adopt_state(memory, compare_with_owner(path, memory.config_file, is_in_use=False), config.state)

    apply_order(config, adopt_here)


@click.command()
@click.argument("name")
@config_option
def forget_engine(config: Config, name: str) -> None:
    """Forget the former engine NAME, which is gone for ever, so that the slots of its containers are filled again.

    It is refused while the engine answers or the configuration uses it. A container that still runs there has the
    slot's resources: make sure that there is none.
    """
    former = engine_memory.list_former_engines(config, StateStore(Path(config.state)).peek())
    if name in former:
        view = observe_engine(config, create_engine(name, former[name], config.state), Memory())
        if isinstance(view, EngineView):
            fail(
                f"cannot do that: the engine {name} answers at {former[name]}, so it is looked after until its "
                f"containers ({', '.join(one.name for one in view.containers) or 'none'}) have ended and its images "
                "are removed",
                EX_USAGE,
            )
    apply_order(config, lambda memory: engine_memory.forget_engine(config, memory, name))
