"""End the life of the supervisor peacefully."""

from __future__ import annotations

import click

from autopilot.amounts import format_count
from autopilot.cli.control_client import find_socket_path, send_request, wait_for_end
from autopilot.cli.verb_options import DurationParam, add_wait_options, output_option, print_result, socket_option


@click.command()
@click.option(
    "--deadline", type=DurationParam(), metavar="DURATION", help='Ask payloads to end after DURATION ("90s", "2h").'
)
@add_wait_options
@output_option
@socket_option
def command(
    deadline: float | None, no_wait: bool, timeout: float | None, output: str, given_socket: str | None
) -> None:
    """End this life peacefully: no new payload starts, the running ones finish, the container exits.

    The verb returns when the life has ended. A second drain with another --deadline replaces the first deadline.
    """
    path = find_socket_path(given_socket)
    answer = send_request(path, "POST", "/v1/drain", None if deadline is None else {"deadline": deadline})
    count = len(answer["payloads"])
    print_result(output, f"draining; {format_count(count, 'payload')} run{'s' if count == 1 else ''}", answer)
    if not no_wait:
        wait_for_end(path, timeout)
        count = len(answer["payloads"])
    print_result(output, "ended", {"ended": True})
