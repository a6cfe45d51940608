"""Generate docs/events.md: `python -m autopilot.adapters.logs.event_catalog > docs/events.md`."""

from __future__ import annotations

import string
from collections.abc import Iterator

from autopilot.adapters.logs.log_messages import OWN_LINES, SENTENCES, UNLOGGED, Sentence, get_event_id
from autopilot.machines.events import Event

HEAD = """\
# Look up a line of the log

<!-- Generated: `python -m autopilot.adapters.logs.event_catalog > docs/events.md`. -->

Each line of the supervisor has a stable `event` id for machines beside its sentence (`message`) for people. In JSON:

```json
{"time": "2026-01-01T00:00:00.000000Z", "level": "info", "job": "app", "event": "healthy", "message": "marked healthy"}
```

Filter and alert on `event`: sentences may change between versions, ids do not. Text format shows the sentence only.
Lines of jobs have `stream` (`stdout`, `stderr`), their text in `message`, and no `event`. ContainerPilot's formats
(`containerpilot` with `logging.format` `default`, `text` or `json`) are as that program's: the sentence is `msg`, and
there is no id.

`autopilot events` shows the same events with their class names (`JobStarted` for `job_started`).
Words in capitals below stand for values.
"""


def render_catalog() -> str:
    """Return docs/events.md."""
    sections = [
        HEAD,
        "## Events\n",
        "| `event` | level | `message` | other fields |\n|---|---|---|---|",
        *(row for event_class, sentences in SENTENCES.items() for row in _list_rows(event_class, sentences)),
        "\n## Other lines\n",
        "| `event` | meaning |\n|---|---|",
        *(f"| `{line_id}` | {meaning} |" for line_id, meaning in OWN_LINES.items()),
        "\n## Events without a line\n",
        "`autopilot events` shows them, except `check_passed`.\n",
        "| `event` | why it is not logged |\n|---|---|",
        *(f"| `{get_event_id(event_class)}` | {reason} |" for event_class, reason in UNLOGGED.items()),
    ]
    return "\n".join(sections) + "\n"


def _list_rows(event_class: type[Event], sentences: tuple[Sentence, ...]) -> Iterator[str]:
    for sentence in sentences:
        fields = ", ".join(f"`{name.removeprefix('jobs_')}`" for name in sentence.fields)
        template = _strip_format_specs(sentence.template)
        yield f"| `{get_event_id(event_class)}` | {sentence.level} | {template} | {fields} |"


def _strip_format_specs(template: str) -> str:
    """Return `template` with its values as capital words: `{delay:.2g} s` becomes `DELAY s`, `{grace_text}` GRACE."""
    parts = string.Formatter().parse(template)
    return "".join(text + (name.removesuffix("_text").upper() if name else "") for text, name, *_ in parts)


if __name__ == "__main__":
    print(render_catalog(), end="")
