"""ContainerPilot's documented configs, and those of the images its authors published: each loads, or is refused for a
real error in it, at its place.

data/ holds their forms: the keys, values and mistakes of each, with other names; the first line says of which.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from autopilot.spec import SpecError, load_text

DATA = Path(__file__).parent / "data"
ENV = {
    **{"CONSUL": "consul", "PORT": "8080", "APP_PORT": "8000", "SENSOR_TYPE": "motion"},
    **{"SERVICE_NAME_0": "a", "SERVICE_NAME_3": "b", "SERVICE_INTERVAL_3": "7"},
}
WITH_AGENT = {**ENV, "CONSUL_AGENT": "1", "CONSUL_DEV": "1"}
WITH_ALL = {**WITH_AGENT, "ACME_DOMAIN": "example.org"}

NO_COMMA = 'expected "," or'
NO_EXEC = "exec: cannot be left out; it is the command"
NO_EVENT = "when.event: cannot be used: there is no such key; write once or each"
TYPO = 'health.tll: cannot be used: there is no such key; did you mean "ttl"?'

# Every problem of each that is refused: line, column, and what is said.
REFUSED = {
    "docs-schema": [(108, 7, NO_COMMA)],
    "docs-schema-with-commas": [(46, 15, 'cannot be "healthy": job "registry" has no health check')],
    "docs-template": [(3, 11, 'expected a value, found "consul"; put strings in quotes')],
    "docs-jobs": [(11, 15, 'cannot be "groundwork": no job has this name'), (21, 7, TYPO)],
    "docs-restarts": [(4, 3, NO_EXEC), (8, 15, 'cannot be "store": no job has this name')],
    "docs-restarts-of-an-interval": [(4, 3, NO_EXEC)],
    "docs-port": [(7, 5, "port: cannot be given without health")],
    "docs-chain": [
        (4, 1, NO_EXEC),
        (8, 11, 'cannot be "healthy": job "second" has no health check'),
        (11, 1, NO_EXEC),
        (18, 1, NO_EXEC),
    ],
    "example-consul-agent": [(32, 5, NO_COMMA)],
    "example-nginx-upstreams": [(46, 9, NO_COMMA)],
    "example-periodic-tasks": [(8, 7, NO_COMMA)],
    "example-stopping": [(13, 9, TYPO), (23, 7, 'cannot be used: there is no such key; did you mean "restarts"?')],
    "image-memcached": [(29, 34, "the string that begins here is not closed in its line")],
    "test-app": [(14, 9, NO_EVENT), (34, 9, NO_EVENT), (42, 9, NO_EVENT), (60, 5, "sensors: cannot be used")],
    "test-discovery": [(14, 9, NO_EVENT), (34, 9, NO_EVENT), (42, 9, NO_EVENT)],
    "test-nginx": [(15, 9, NO_EVENT), (34, 9, NO_EVENT)],
    "unit-bad-deregister": [(15, 39, 'cannot be read as a duration: "nope"')],
    "unit-bad-tag-override": [(15, 26, 'cannot be "nope"; write true or false')],
    "unit-initial-status": [(16, 21, 'cannot be "invalid-value"; one of passing, warning, critical')],
    "unit-sample": [(19, 9, NO_COMMA)],
}
TWICE = [(55, 13, 'cannot be "gateway-public-ssl" again')]
REFUSED_WITH_ALL = REFUSED | {"image-nginx": TWICE, "image-nginx-example": TWICE}


@pytest.mark.parametrize(("env", "refused"), [(ENV, REFUSED), (WITH_AGENT, REFUSED), (WITH_ALL, REFUSED_WITH_ALL)])
@pytest.mark.parametrize("path", sorted(DATA.glob("*.json5")), ids=lambda path: path.stem)
def test_documented_config(path, env, refused):
    """It loads with every job in it, or every mistake of it is named at its place."""
    text = path.read_text()
    if path.stem not in refused:
        assert load_text(text, path.name, env).plan.jobs
        return
    with pytest.raises(SpecError) as caught:
        load_text(text, path.name, env)
    found = [(problem.line, problem.column) for problem in caught.value.problems]
    assert found == [(line, column) for line, column, _ in refused[path.stem]]
    for problem, (*_, expected) in zip(caught.value.problems, refused[path.stem], strict=True):
        assert expected in str(problem)


def test_all_are_there():
    """Nothing is named that is not there, and the most of them load."""
    names = {path.stem for path in DATA.glob("*.json5")}
    assert names >= REFUSED_WITH_ALL.keys()
    assert len(names) == 64 and len(REFUSED) == 20


def test_forms_of_one():
    """Numeric strings, durations, words for numbers, interfaces of every form and a service's own keys come out as
    what they mean.
    """
    jobs = {job.name: job for job in load_text((DATA / "unit-config.json5").read_text(), env=ENV).plan.jobs}
    health, service = jobs["beta"].health, jobs["alpha"].service
    assert health is not None and (health.ttl, health.timeout, health.interval) == (103, 2, 20)
    assert service is not None and service.meta == {"keyA": "A"} and service.interfaces == ("inet", "lo0")
    tasks = {job.name: job for job in load_text((DATA / "test-tasks.json5").read_text(), env=ENV).plan.jobs}
    assert [(t.when.every, t.restarts, t.timeout) for t in tasks.values()] == [
        (0.5, 5, None),
        (0.5, 5, 0.5),
        (0.5, 5, 0.1),
        (1.0, None, None),
    ]
    user = load_text((DATA / "unit-user.json5").read_text(), env=ENV).plan.jobs[0].command
    assert (user.user, user.group) == ("1", "1")
    watches = load_text((DATA / "docs-loop.json5").read_text(), env=ENV).plan.watches
    assert [(watch.name, watch.interval) for watch in watches] == [("a", 10), ("b", 7)]
