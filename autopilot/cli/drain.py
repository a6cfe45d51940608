"""autopilot drain: the lifetime's end, now."""

from __future__ import annotations

import click

from autopilot.cli.client import ask, output_option, say, socket_option, socket_path, wait_for_end, waiting


@click.command()
@click.option("--deadline", metavar="DURATION", help='Ask payloads to end after so long ("90s", "2h").')
@waiting
@output_option
@socket_option
def command(deadline: str | None, no_wait: bool, timeout: float | None, output: str, given_socket: str | None) -> None:
    """End this life peacefully: no new payload starts, the running ones finish, the container exits.

    Waits until it has. Asked again with another --deadline, that one counts.
    """
    path = socket_path(given_socket)
    body: dict[str, object] = {} if deadline is None else {"deadline": _seconds(deadline)}
    answer = ask(path, "POST", "/v1/drain", body)
    say(output, f"draining; {len(answer['payloads'])} payloads run", answer)
    if not no_wait:
        wait_for_end(path, timeout)
        say(output, "ended", {"ended": True})


def _seconds(text: str) -> float:
    from autopilot.spec.units import duration

    try:
        return duration(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--deadline") from None
