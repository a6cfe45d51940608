"""Ask the gates of a job spec now, outside of the supervisor, for `autopilot check --gates`."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from typing import Any, NamedTuple

import click

from autopilot.adapters.checks.gate_question import ask_gate
from autopilot.amounts import format_seconds
from autopilot.process.line_buffer import escape_controls
from autopilot.process.spawn import SECRET_VARIABLES
from autopilot.runtime.command_runner import ProcessCommandRunner
from autopilot.runtime.process_table import ProcessTable
from autopilot.spec.plan import Gate, Plan

CONSEQUENCES = {
    "neutral": "the life would end with exit code 75",
    "failed": "the life would end with exit code 78",
    "start": "start without it",
    "wait": "wait on without limit",
}


class GateAnswer(NamedTuple):
    """Answer of one gate: its output or a sentence, and the seconds that it took."""

    gate: Gate
    passed: bool
    output: str
    seconds: float

    @property
    def sentence(self) -> str:
        """The last line of the output."""
        lines = self.output.strip().splitlines()
        return lines[-1] if lines else "no output"


def report_gates(plan: Plan, output: str) -> int:
    """Ask every gate of a plan once, all at the same time, and print the answers.

    Args:
        plan: The plan.
        output: `text` or `json`.

    Returns:
        The exit code: 0 when no life would end by a gate, 78 when one would by a fault of the image, else 75.
    """
    answers = asyncio.run(_ask_all(plan.checks))
    if output == "json":
        click.echo(json.dumps([_serialize(answer) for answer in answers], indent=2, ensure_ascii=False))
    else:
        for line in _format_lines(answers):
            click.echo(escape_controls(line))
    consequences = {answer.gate.on_failure for answer in answers if not answer.passed}
    if "failed" in consequences:
        return os.EX_CONFIG
    return os.EX_TEMPFAIL if "neutral" in consequences else os.EX_OK


async def _ask_all(gates: tuple[Gate, ...]) -> list[GateAnswer]:
    loop = asyncio.get_running_loop()
    processes = ProcessTable(loop, SECRET_VARIABLES, no_new_privs=True)
    loop.add_signal_handler(signal.SIGCHLD, processes.reap)
    commands = ProcessCommandRunner(processes, lambda: os.environ)

    async def ask(gate: Gate) -> GateAnswer:
        began = loop.time()
        passed, output = await ask_gate(gate, commands, lambda *_: None)
        return GateAnswer(gate, passed, output, loop.time() - began)

    return list(await asyncio.gather(*map(ask, gates)))


def _format_lines(answers: list[GateAnswer]) -> Iterator[str]:
    if not answers:
        yield "no checks: the job spec has no key `checks`"
    for answer in answers:
        gate = answer.gate
        yield f"{gate.name}: {'yes' if answer.passed else 'no'}, {answer.sentence} ({answer.seconds:.2f} s)"
        if not answer.passed:
            wait = f"would wait {format_seconds(gate.timeout)} at most" if gate.timeout else "would not start"
            yield f"  {', '.join(gate.before)} {wait}, then {CONSEQUENCES[gate.on_failure]}"
            if gate.remedy:
                yield f"  remedy: {gate.remedy}"


def _serialize(answer: GateAnswer) -> dict[str, Any]:
    gate = answer.gate
    return {
        "name": gate.name,
        "passed": answer.passed,
        "answer": answer.output,
        "seconds": round(answer.seconds, 3),
        "before": list(gate.before),
        "on_failure": gate.on_failure,
        "remedy": gate.remedy,
    }
