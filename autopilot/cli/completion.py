"""Print a script that lets a shell complete verbs, options and the names of running jobs."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    r"""Print the completion script for SHELL.

    \b
    bash   autopilot completion bash > /etc/bash_completion.d/autopilot
    zsh    autopilot completion zsh > "${fpath[1]}/_autopilot"
    fish   autopilot completion fish > ~/.config/fish/completions/autopilot.fish
    """
    completion = get_completion_class(shell)
    assert completion is not None, "click knows these three"
    click.echo(completion(ctx.find_root().command, {}, "autopilot", "_AUTOPILOT_COMPLETE").source())
