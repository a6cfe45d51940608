"""Write the document of all state machines, generated from their transition tables."""

from __future__ import annotations

from pathlib import Path

INTRODUCTION = """\
# State machines

Generated from the transition tables by `make diagrams`; a test fails when this page is stale. An arrow stands for the
inputs that may lead from one phase to another; the tables below the diagrams name the action of every cell that does
not ignore its input. The first part of each machine's module is its theory of operation.
"""


def render_document() -> str:
    """Return the Markdown text of the document."""
    from autopilot.adapters.consul import registration
    from autopilot.machines import diagrams, gate, health, job, lifetime, shutdown

    sections = [INTRODUCTION]
    for title, machine in (
        ("Job", job),
        ("Health of a job", health),
        ("Gate before jobs", gate),
        ("Lifetime of the container", lifetime),
        ("Shutdown", shutdown),
        ("Registration of a service in Consul", registration),
    ):
        path = machine.__name__.replace(".", "/")
        diagram, cells = diagrams.render_diagram(machine.TABLE), diagrams.render_cells(machine.TABLE)
        sections.append(f"## {title}\n\n`{path}.py`\n\n```mermaid\n{diagram}\n```\n\n{cells}\n")
    return "\n".join(sections)


def write_document(target: Path) -> None:
    """Write the document to `target`."""
    target.write_text(render_document())
