"""Print a script that lets a shell complete verbs and options: the verb `completion`."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    r"""Print the completion script for SHELL.

    \b
    bash   autopilot-watchdog completion bash > /etc/bash_completion.d/autopilot-watchdog
    zsh    autopilot-watchdog completion zsh > "${fpath[1]}/_autopilot-watchdog"
    fish   autopilot-watchdog completion fish > ~/.config/fish/completions/autopilot-watchdog.fish
    """
    complete = get_completion_class(shell)
    assert complete is not None, "click knows these three"
    root = context.find_root().command
    click.echo(complete(root, {}, "autopilot-watchdog", "_AUTOPILOT_WATCHDOG_COMPLETE").source())
