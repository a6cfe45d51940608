"""Cues of the outside: watches, maintenance, rendered files, permits, the registry's agent."""

from __future__ import annotations

import random

import pytest

from autopilot.machines import actions, cues, events, job, lifetime
from autopilot.machines.core import Core
from autopilot.spec.plan import ConsulAgent, Drain, Lifetime, Stop, Template, When
from tests.machines import plans


class StartedCore:
    """A core whose jobs start at once."""

    def __init__(self, *jobs, **fields):
        self.core = Core(plans.build_plan(*jobs, **fields), rng=random.Random(1), now=0.0)
        self.now = 0.0
        self._answer_spawns(self.core.begin(0.0))

    def _answer_spawns(self, effects):
        for effect in list(effects):
            if isinstance(effect, actions.Spawn):
                effects += self._answer_spawns(self.core.feed(cues.Spawned(effect.job, effect.run, 100), self.now))
        return effects

    def feed(self, cue, now=None):
        self.now = self.now if now is None else now
        return self._answer_spawns(self.core.feed(cue, self.now))

    def tick(self, now):
        self.now = now
        return self._answer_spawns(self.core.tick(now))

    def get_phase(self, name):
        return self.core.job_records[name].state.phase


def list_started(effects):
    return [effect.job for effect in effects if isinstance(effect, events.JobStarted)]


def test_watch_events_start_jobs():
    """A watched service that changed says so, then whether it is healthy; jobs wait for either."""
    waiting = {
        event: plans.build_job(event, when=plans.build_when("watch.db", event, each=True))
        for event in ("changed", "unhealthy")
    }
    started = StartedCore(plans.build_job("main"), *waiting.values())
    assert list_started(started.feed(cues.WatchChanged("db", True))) == ["changed"]
    effects = started.feed(cues.WatchChanged("db", False))
    assert [type(e) for e in effects if isinstance(e, events.Event)][:2] == [events.WatchChanged, events.WatchUnhealthy]
    assert started.feed(cues.WatchChanged("other", True))[0] == events.WatchChanged("other")


def test_maintenance_rests_the_checks():
    """In maintenance nothing is checked; leaving it checks all again, and entering it twice is entering it once."""
    started = StartedCore(plans.build_job("main", health=plans.build_check()))
    started.tick(started.core.get_deadline())  # the first check is out
    effects = started.feed(cues.RequestReceived("enter-maintenance", "a person"))
    assert effects == [events.MaintenanceEntered(), actions.CancelCheck("main")]
    assert started.feed(cues.RequestReceived("enter-maintenance", "a person")) == []
    assert started.core.job_records["main"].health.deadline is None
    started.feed(cues.RequestReceived("leave-maintenance", "a person"))
    assert started.core.job_records["main"].health.deadline is not None


def test_jobs_wait_for_maintenance():
    """Entering and leaving maintenance are events like others."""
    started = StartedCore(
        plans.build_job("main"), plans.build_job("in", when=plans.build_when("", "enterMaintenance", each=True))
    )
    assert list_started(started.feed(cues.RequestReceived("enter-maintenance", "a person"))) == ["in"]


@pytest.mark.parametrize(
    ("notice", "does"), [({"reload": "main"}, actions.Reload), ({"restart": "main"}, actions.Signal)]
)
def test_rendered_file(notice, does):
    """A changed file reloads its job or restarts it; a job that does not run reads it by itself."""
    started = StartedCore(
        plans.build_job("main"), plans.build_job("later", when=plans.build_when("main", "exitSuccess"))
    )
    effects = started.feed(cues.TemplateWritten("/f", **notice))
    assert [type(effect) for effect in effects if isinstance(effect, actions.Action)] == [does]
    assert not [e for e in started.feed(cues.TemplateWritten("/f", reload="later")) if isinstance(e, actions.Action)]


def render(started, name):
    return list_started(started.feed(cues.TemplateRendered(name, f"/{name}")))


def test_jobs_start_when_their_templates_are_rendered():
    """A job waits for each template that reloads or restarts it, or that its `when` names, besides its other events."""
    templates = (
        Template(name="a", source="/t", destination="/a", reload="main"),
        Template(name="b", source="/t", destination="/b", restart="main"),
        Template(name="c", source="/t", destination="/c", reload="late"),
    )
    started = StartedCore(
        plans.build_job("main"),
        plans.build_job("named", when=plans.build_when("template.b", "rendered")),
        plans.build_job("late", when=plans.build_when("named", "exitSuccess")),
        plans.build_job("other"),
        templates=templates,
    )
    assert set(started.core.job_records["main"].held_for) == {"a", "b"}
    assert started.core.job_records["other"].is_alive and not started.core.job_records["main"].is_alive
    assert render(started, "a") == []
    assert set(render(started, "b")) == {"main", "named"}
    assert not [e for e in started.feed(cues.Exited("named", 1, 0)) if isinstance(e, actions.Spawn)]
    assert render(started, "c") == ["late"]


@pytest.mark.parametrize(
    ("rendered_at", "starts", "skipped"),
    [(5.0, [65.0], 0), (75.0, [75.0], 0), (119.0, [119.0], 0), (150.0, [], 1)],
)
def test_a_cron_job_is_held(rendered_at, starts, skipped):
    """A cron job does not run before its file is rendered; then it runs if its time came at most a minute ago."""
    template = Template(name="a", source="/t", destination="/a", restart="main")
    main = plans.build_job("main", when=When(cron="1 0 * * *"), restarts=None)
    times = (60.0, 86460.0)
    core = Core(
        plans.build_plan(main, plans.build_job("other"), templates=(template,)),
        rng=random.Random(1),
        now=0.0,
        next_time=lambda _, after: next((time for time in times if time > after), None),
    )
    found: list[float] = []
    effects = core.begin(0.0)
    for now in (*range(0, int(rendered_at), 5), rendered_at, *range(int(rendered_at), 200, 5)):
        effects += core.tick(float(now), float(now))
        if now == rendered_at:
            effects += core.feed(cues.TemplateRendered("a", "/a"), now, now)
        found += [float(now) for e in effects if isinstance(e, actions.Spawn) and e.job == "main"]
        skipped -= sum(e.count for e in effects if isinstance(e, events.RunsSkipped))
        effects = []
    assert (found, skipped) == (starts, 0)


def test_a_rendered_template_is_news_to_a_later_plan():
    """After a reload a job that waits for a rendered template starts at once, as does one whose template is gone."""
    template = Template(name="a", source="/t", destination="/a")
    held = Template(name="b", source="/t", destination="/b", reload="held")
    started = StartedCore(plans.build_job("main"), plans.build_job("held"), templates=(template, held))
    render(started, "a")
    new = plans.build_job("new", when=plans.build_when("template.a", "rendered"))
    plan = plans.build_plan(plans.build_job("main"), plans.build_job("held"), new, templates=(template,))
    assert set(list_started(started.feed(cues.PlanChanged(plan)))) == {"new", "held"}


FILE = Template(name="a", source="/t", destination="/a", restart="main")


@pytest.mark.parametrize("when", [When(cron="1 0 * * *"), When(), When(every=1000.0)])
def test_an_operator_starts_a_held_job(when):
    """A held job that an operator starts is held no longer: its file neither starts it again nor ends its run."""
    started = StartedCore(plans.build_job("main", when=when), plans.build_job("other"), templates=(FILE,))
    started.feed(cues.RequestReceived("start-job", "a person", job="main"))
    assert started.get_phase("main") is job.Phase.RUNNING
    assert started.core.job_records["main"].held_for == ()
    assert not [e for e in started.feed(cues.TemplateRendered("a", "/a")) if isinstance(e, actions.Action)]
    assert started.get_phase("main") is job.Phase.RUNNING


def test_the_events_of_a_held_job_have_come():
    """A job that only waits for its file is not given up: neither by its timeout nor because its source is over."""
    whens = {
        "once": plans.build_when("source", "exitSuccess", timeout=5.0),
        "each": plans.build_when("source", "exitSuccess", each=True),
    }
    waiting = [plans.build_job(name, when=when) for name, when in whens.items()]
    files = [Template(name=name, source="/t", destination=f"/{name}", restart=name) for name in whens]
    started = StartedCore(plans.build_job("source"), plans.build_job("other"), *waiting, templates=tuple(files))
    started.feed(cues.Exited("source", 1, 0))
    started.tick(20.0)
    assert {started.get_phase(name) for name in whens} == {job.Phase.WAITING}
    assert [render(started, name) for name in whens] == [["once"], ["each"]]


def test_a_reload_renames_a_template():
    """A file counts for the template that renders it now: by its new name, and not at all without a template."""
    old = Template(name="old", source="/t", destination="/a")
    started = StartedCore(plans.build_job("main"), templates=(old,))
    started.feed(cues.TemplateRendered("old", "/a"))
    waiting = plans.build_job("waiting", when=plans.build_when("template.new", "rendered"))
    new = Template(name="new", source="/t", destination="/a")
    plan = plans.build_plan(plans.build_job("main"), waiting, templates=(new,))
    assert list_started(started.feed(cues.PlanChanged(plan))) == ["waiting"]
    started.feed(cues.PlanChanged(plans.build_plan(plans.build_job("main"))))
    held = plans.build_job("held")
    again = Template(name="again", source="/t", destination="/a", reload="held")
    assert (
        list_started(
            started.feed(cues.PlanChanged(plans.build_plan(plans.build_job("main"), held, templates=(again,))))
        )
        == []
    )
    assert list_started(started.feed(cues.TemplateRendered("again", "/a"))) == ["held"]


ENDING = Lifetime(max=10.0, drain=Drain(begin=plans.TRUE, until=plans.TRUE), queue=True)


def test_end_of_a_lifetime_waits_for_its_turn():
    """A lifetime that is over asks once for its permit, drains when it has it, and needs none for a person's drain."""
    started = StartedCore(plans.build_job("main"), lifetime=ENDING)
    assert started.tick(10.0) == [events.LifetimeQueued(), actions.RequestPermit()]
    assert started.core.lifetime.phase is lifetime.Phase.QUEUED
    effects = started.feed(cues.PermitGranted(True), now=500.0)
    assert actions.StartDrain("lifetime") in effects
    assert not [e for e in started.feed(cues.PermitGranted(True)) if isinstance(e, actions.StartDrain)]
    asked = StartedCore(plans.build_job("main"), lifetime=ENDING)
    asked.tick(10.0)
    assert actions.StartDrain("drain") in asked.feed(cues.RequestReceived("drain", "a person"))


AGENT = plans.build_job("consul-agent", restarts=None, stop=Stop(signal=2, order=1), stopping_wait=1.0)


def build_stopping_agent():
    started = StartedCore(plans.build_job("main"), AGENT, consul_agent=ConsulAgent(job="consul-agent", join=("a",)))
    started.feed(cues.RequestReceived("stop", "a person"))
    started.feed(cues.Exited("main", 1, 143))
    assert started.get_phase("consul-agent") is job.Phase.HOLDING
    return started


def test_agent_stops_when_services_are_out():
    """The registry's agent is last, and gets its signal when our services are out of it."""
    effects = build_stopping_agent().feed(cues.Deregistered())
    assert [e.signal for e in effects if isinstance(e, actions.Signal)] == [2]


def test_agent_does_not_wait_for_ever():
    """An agent that does not answer gets its signal all the same, after a bound."""
    effects = build_stopping_agent().tick(1.0)
    assert [e.signal for e in effects if isinstance(e, actions.Signal)] == [2]


def test_agent_alone_is_no_work():
    """The life is over with all other jobs."""
    started = StartedCore(plans.build_job("main"), AGENT, consul_agent=ConsulAgent(job="consul-agent", join=("a",)))
    effects = started.feed(cues.Exited("main", 1, 0))
    assert events.ShutdownBegun("completed", "all jobs are over") in effects
