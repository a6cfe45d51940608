"""autopilot drain: the lifetime's end, now."""

from __future__ import annotations

import click

from autopilot.cli.control_client import (
    add_wait_options,
    find_socket_path,
    output_option,
    print_result,
    send_request,
    socket_option,
    wait_for_end,
)


@click.command()
@click.option("--deadline", metavar="DURATION", help='Ask payloads to end after so long ("90s", "2h").')
@add_wait_options
@output_option
@socket_option
def command(deadline: str | None, no_wait: bool, timeout: float | None, output: str, given_socket: str | None) -> None:
    """End this life peacefully: no new payload starts, the running ones finish, the container exits.

    Waits until it has. Asked again with another --deadline, that one counts.
    """
    path = find_socket_path(given_socket)
    body: dict[str, object] = {} if deadline is None else {"deadline": _parse_seconds(deadline)}
    answer = send_request(path, "POST", "/v1/drain", body)
    print_result(output, f"draining; {len(answer['payloads'])} payloads run", answer)
    if not no_wait:
        wait_for_end(path, timeout)
        print_result(output, "ended", {"ended": True})


def _parse_seconds(text: str) -> float:
    from autopilot.spec.quantities import parse_duration

    try:
        return parse_duration(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--deadline") from None
