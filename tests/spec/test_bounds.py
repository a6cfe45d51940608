"""Numbers and arrays of any size are either taken as they are or refused at their place."""

from __future__ import annotations

import json
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from autopilot.adapters.telemetry.job_metrics import JobMetrics
from autopilot.adapters.telemetry.metric_values import MAX_NUMBER, parse_metric_value
from autopilot.spec import SpecError, load_text
from autopilot.spec.keys import MAX_ITEMS
from autopilot.spec.plan import Metric

NUMBER_KEYS = [
    "stopTimeout: N",
    "healthy_for: N",
    "telemetry: {port: N}",
    "telemetry: {metrics: [{name: 'm', type: 'histogram', buckets: [1, N]}]}",
    "jobs: [{exec: 'true', restarts: N}]",
    "jobs: [{exec: 'true', limits: {nofile: N}}]",
    "jobs: [{exec: 'true', stop: {order: N}}]",
    "jobs: [{exec: 'true', stop: {signal: N}}]",
    "jobs: [{exec: 'true', backoff: {factor: N, jitter: N}}]",
    "jobs: [{exec: 'true', when: {interval: N}}]",
    "jobs: [{name: 'web', exec: 'true', port: N, health: {exec: 'true', interval: 1, ttl: N, failures: N}}]",
]


def shorten_id(value):
    """Return a test's id of at most 60 characters; a longer one slows the whole run down."""
    text = str(value)
    return text if len(text) <= 60 else f"{text[:50]}-{len(text)}"


HOSTILE_NUMBERS = ["9" * 400, "9" * 5000, "1e400", "-1e400", "Infinity", "NaN", "9" * 99]


@pytest.mark.parametrize(
    ("key", "number"),  # 10^99 is a possible bound of a histogram's bucket
    [(key, number) for key in NUMBER_KEYS for number in HOSTILE_NUMBERS if "buckets" not in key or number != "9" * 99],
    ids=shorten_id,
)
@pytest.mark.parametrize("form", ["{}", "'{}'"])
def test_hostile_numbers(key, number, form):
    """A number that nothing can have is refused at its place, as a number and as a string."""
    text = "{" + key.replace("N", form.format(number)) + ("" if "jobs" in key else ", jobs: [{exec: 'true'}]") + "}"
    with pytest.raises(SpecError) as caught:
        load_text(text, "spec", {}, runs_here=False)
    assert all(problem.line == 1 and problem.column > 1 for problem in caught.value.problems)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("number", ["9" * 400, "1e400", "Infinity", "-Infinity", "NaN"], ids=shorten_id)
@pytest.mark.parametrize("json_text", ['{"jobs": [{"exec": ["a", N]}]}', '{"jobs": [{"exec": "a", "env": {"A": N}}]}'])
def test_hostile_numbers_in_strict_json(json_text, number):
    """A number that JSON's parser would take as infinite reaches no command and no variable as "inf"."""
    with pytest.raises(SpecError, match=r"spec:1:\d+: .*number"):
        load_text(json_text.replace("N", number), "spec", {}, runs_here=False)


@pytest.mark.parametrize("key", ["user", "group"])
def test_ids_of_users(key):
    """The last number that a user or a group may have is 2^32 - 2, as a number and as a string."""
    text = "{jobs: [{exec: 'true', %s: %d}]}"
    assert load_text(text % (key, 2**32 - 2), runs_here=False).plan.jobs
    with pytest.raises(SpecError, match=rf"{key}: cannot be 4294967295"):
        load_text(text % (key, 2**32 - 1), runs_here=False)
    with pytest.raises(SpecError, match=rf"{key}: cannot be"):
        load_text(f"{{jobs: [{{exec: 'true', {key}: '{'9' * 400}'}}]}}", runs_here=False)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("jobs", "{jobs: [ITEMS]}"),
        ("watches", "{jobs: [{exec: 'true'}], watches: [ITEMS]}"),
        ("telemetry.metrics", "{jobs: [{exec: 'true'}], telemetry: {metrics: [ITEMS]}}"),
        ("jobs[0].when.all", "{jobs: [{exec: 'true', when: {all: [ITEMS]}}]}"),
    ],
)
def test_too_many_entries(path, text):
    """More jobs, watches and the like than a container can mean are one problem, at their place."""
    with pytest.raises(SpecError) as caught:
        load_text(text.replace("ITEMS", "{}," * (MAX_ITEMS + 1)), runs_here=False)
    (problem,) = caught.value.problems
    assert (problem.path, problem.line) == (path, 1)
    assert problem.message.startswith(f"cannot have more than {MAX_ITEMS} entries, got {MAX_ITEMS + 1}")


WAITS = st.lists(st.lists(st.integers(0, 7), max_size=3), min_size=1, max_size=8)


@given(WAITS)
def test_cycles_of_waits(waits):
    """Jobs that wait for each other are found in every graph, and a job is told of at most once."""
    jobs = [
        {
            "name": f"j{i}",
            "exec": ["true"],
            **(
                {"when": {"all": [{"source": f"j{s % len(waits)}", "once": "stopped"} for s in sources]}}
                if sources
                else {}
            ),
        }
        for i, sources in enumerate(waits)
    ]
    reach = {i: {s % len(waits) for s in sources} for i, sources in enumerate(waits)}
    for _ in waits:
        reach = {i: direct | {t for s in direct for t in reach[s]} for i, direct in reach.items()}
    cyclic = {i for i, reached in reach.items() if i in reached}
    try:
        load_text(json.dumps({"jobs": jobs}), runs_here=False)
        cycles = []
    except SpecError as error:
        cycles = [re.findall(r"j(\d)", problem.message) for problem in error.problems]
    named = [int(name) for names in cycles for name in set(names)]
    assert bool(cyclic) == bool(named)
    assert set(named) <= cyclic
    assert len(named) == len(set(named))


@pytest.mark.parametrize("kind", ["gauge", "counter", "histogram", "summary"])
@pytest.mark.parametrize(
    "value", ["1e400", "-1e400", "inf", "nan", 1e400, "9" * 400, 10**4000, "1_000", "\u0663", True, ""], ids=shorten_id
)
def test_metric_values(kind, value):
    """A metric takes no value that is infinite, no number or longer than any number."""
    with pytest.raises(ValueError, match=r"m: cannot be .{1,80}; write a number of at most 1e"):
        parse_metric_value([Metric(name="m", help="h", type=kind)], "m", value)


@pytest.mark.parametrize("kind", ["counter", "histogram", "summary"])
def test_sums_of_metric_values(kind):
    """The sum of the largest values that a metric takes is finite."""
    registry = CollectorRegistry()
    metrics = JobMetrics([Metric(name="m", help="h", type=kind)], registry)
    for _ in range(1000):
        metrics.set_metric(*parse_metric_value([Metric(name="m", help="h", type=kind)], "m", MAX_NUMBER))
    assert all(math.isfinite(sample.value) for family in registry.collect() for sample in family.samples)
    with pytest.raises(ValueError, match="at most 1e\\+300"):
        parse_metric_value([Metric(name="m", help="h", type=kind)], "m", MAX_NUMBER * 1.01)


@pytest.mark.parametrize("value", [1, 1.5, "1", "1.5e-3", ".5", "+7.", " 3 ", 1e300])
def test_finite_metric_values(value):
    """A metric takes every finite number, also as text."""
    assert parse_metric_value([Metric(name="m", help="h", type="gauge")], "m", value) == ("m", float(value))


@pytest.mark.parametrize("digits", [5, 6, 40, 400, 5000])
@pytest.mark.parametrize("form", ["%{}d", "%-{}d", "%.{}d", "%1.{}d", "%0{}d", "%.000{}f", "%{}s", "%{}q", "%{}"])
def test_widths_of_printf(form, digits):
    """A width of any length is formatted as Go formats one that is too large, and ends no validation."""
    text = '{jobs: [{exec: ["echo", "{{ printf `' + form.format("9" * digits) + '` 1 }}"]}]}'
    word = load_text(text, runs_here=False).plan.jobs[0].command.argv[1]
    assert "%!" in word and len(word) < 100


def test_zeros_of_a_precision():
    """A precision with thousands of zeros before it is what its number says."""
    text = '{jobs: [{exec: ["echo", "{{ printf `%.' + "0" * 5000 + '3d` 1 }}"]}]}'
    assert load_text(text, runs_here=False).plan.jobs[0].command.argv[1] == "001"


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("jobs[0].name", "{jobs: [{name: 'N', exec: 'true'}]}"),
        ("watches[0].name", "{jobs: [{exec: 'true'}], consul: 'h:1', watches: [{name: 'N', interval: 1}]}"),
        ("locks[0].name", "{jobs: [{name: 'a', exec: 'true'}], consul: 'h:1', locks: [{name: 'N', before: 'a'}]}"),
        ("telemetry.metrics[0].name", "{jobs: [{exec: 'true'}], telemetry: {metrics: [{name: 'N', type: 'gauge'}]}}"),
        ("templates[0].name", "{jobs: [{exec: 'true'}], templates: [{name: 'N', source: '/a', destination: '/b'}]}"),
    ],
)
def test_length_of_names(path, text):
    """A name has at most 255 characters: it is in each line of the log, and in names of variables and metrics."""
    for length, is_wrong in ((255, False), (256, True), (100_000, True)):
        try:
            load_text(text.replace("N", "n" * length), runs_here=False)
            problems = []
        except SpecError as error:
            problems = [problem.message for problem in error.problems]
        assert problems == ([f"cannot be longer than 255 characters, got {length}"] if is_wrong else [])
