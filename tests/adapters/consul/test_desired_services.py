"""The wanted services follow the events of a life; without any Consul."""

from __future__ import annotations

from dataclasses import replace

import pytest

from autopilot import __version__
from autopilot.adapters.consul.desired_services import DesiredServices, LifeIdentity
from autopilot.adapters.consul.service_definition import ServiceDefinition, build_registration_body, is_redefined
from autopilot.machines import events
from autopilot.spec.plan import Consul, Service, Telemetry
from tests.machines.plans import build_check, build_job, build_plan

LIFE = LifeIdentity("h", {"container-id": "c1", "life": "l1"}, 1_700_000_000.0)
NOW = 1_700_000_100.0


def build_offers(**options):
    web = build_job("web", health=build_check(), service=Service(port=80))
    early = build_job("early", health=build_check(), service=Service(port=81, initial_status="warning"))
    return DesiredServices(
        build_plan(web, early, telemetry=Telemetry(port=9090)),
        LIFE,
        {"web": "10.0.0.1", "early": "", "": ""},
        **options,
    )


@pytest.fixture
def offers():
    return build_offers()


def apply_events(offers, *heard, id="web-h"):
    for fact in heard:
        offers.on_event(fact, NOW)
    return offers.compute_desired(id) if id else None


UP = (events.JobStarted("web", 1, 7), events.CheckPassed("web", "fine"), events.Healthy("web"))


def test_the_life_of_a_service(offers):
    """A service is wanted from the first passing check, critical when its job is unhealthy or ended, and not after a
    stop.
    """
    assert apply_events(offers, UP[0]) is None
    assert apply_events(offers, *UP[1:]).status == "passing"
    assert apply_events(offers, events.CheckFailed("web", "slow", 1, False)).output == "slow"
    bad = apply_events(offers, events.Unhealthy("web", "no disk", 3))
    assert (bad.status, bad.output) == ("critical", "no disk")
    assert apply_events(offers, events.Healthy("web")).status == "passing"
    assert apply_events(offers, events.JobExited("web", 1, 9, False)).status == "critical"
    assert apply_events(offers, events.JobStopping("web")) is None


def test_initial_status(offers):
    """A service with an initial status is wanted from its job's start."""
    assert apply_events(offers, events.JobStarted("early", 1, 8), id="early-h").status == "warning"


def test_only_what_changed_is_told(offers):
    """An event of a job changes its service only, one of the life all of them, others none."""
    assert list(offers.on_event(UP[0], NOW)) == []
    assert list(offers.on_event(UP[2], NOW)) == ["web-h"]
    assert set(offers.on_event(events.MaintenanceEntered(), NOW)) == {
        "web-h",
        "early-h",
        "autopilot-h",
        "containerpilot-h",
    }
    assert list(offers.on_event(events.ConditionCleared("x"), NOW)) == []


def test_metadata(offers):
    """Metadata of every service has the life's identity and the lifetime's end, the supervisor's also the drain, its
    deadline and the payloads.
    """
    heard = (
        events.LifetimeBegun(60.0),
        events.DrainBegun("lifetime", "its end", 30.0),
        events.PayloadsChanged(("a", "b"), ("a", "b"), ()),
    )
    assert apply_events(offers, *UP, *heard).definition.meta == {**LIFE.meta, "lifetime-end": "2023-11-14T22:16:00Z"}
    own = offers.compute_desired("autopilot-h").definition.meta
    assert (own["drain"], own["payloads"], own["drain-deadline"]) == ("lifetime", "2", "2023-11-14T22:15:30Z")
    assert not [key for key in own if "." in key]


def test_telemetry_is_a_service_of_its_own(offers):
    """The telemetry port is ContainerPilot's service, so that its users' Prometheus finds it."""
    definition = offers.compute_desired("containerpilot-h").definition
    assert (definition.name, definition.port) == ("containerpilot", 9090)
    assert definition.tags[-1] == __version__


def test_containerpilot_offers_only_what_it_would():
    """As ContainerPilot, the supervisor has no service beside its telemetry, and in maintenance there is none."""
    offers = build_offers(containerpilot=True)
    assert set(offers.ids) == {"web-h", "early-h", "containerpilot-h"}
    apply_events(offers, *UP, events.MaintenanceEntered())
    assert [offers.compute_desired(id) for id in offers.ids] == [None, None, None]


def test_the_own_service_can_be_left_out():
    """With `own_service: false` only the jobs' services and the telemetry's are offered."""
    offers = build_offers()
    plan = build_plan(consul=Consul(address="h:1", own_service=False), telemetry=Telemetry(port=9090))
    assert set(offers.apply_plan(plan, {"": ""}, healthy_jobs=())) == {"web-h", "early-h", "autopilot-h"}
    assert set(offers.ids) == {"containerpilot-h"}


def test_without_a_port_there_is_no_service(offers):
    """Without telemetry the supervisor is no service, because its port would be 0: it is an entry of the fleet with the
    same metadata, unless it is left out, or is ContainerPilot.
    """
    assert offers.build_fleet_record() is None
    offers.apply_plan(build_plan(), {"": "10.0.0.1"}, healthy_jobs=())
    assert list(offers.ids) == []
    apply_events(offers, events.PayloadsChanged(("a",), ("a",), ()), events.MaintenanceEntered(), id=None)
    record = offers.build_fleet_record()
    assert (record["life"], record["payloads"], record["status"]) == ("l1", "1", "maintenance")
    offers.deregistered = True
    assert offers.build_fleet_record() is None
    left_out = build_plan(consul=Consul(address="h:1", own_service=False))
    assert DesiredServices(left_out, LIFE, {"": ""}).build_fleet_record() is None
    assert DesiredServices(build_plan(), LIFE, {"": ""}, containerpilot=True).build_fleet_record() is None


def test_all_is_taken_back(offers):
    """After the deregistration no service is wanted."""
    apply_events(offers, *UP)
    offers.deregistered = True
    assert [offers.compute_desired(id) for id in offers.ids] == [None] * 4


WEB = ServiceDefinition(
    id="web-h", name="web", ttl=30, address="10.0.0.1", port=80, tags=("b", "a"), meta={"x": "y", "z": ""}
)
FOUND = {"Service": "web", "Address": "10.0.0.1", "Port": 80, "Tags": ["a", "b"], "Meta": {"x": "y"}}


@pytest.mark.parametrize(
    ("change", "differ"),
    [
        ({}, False),
        ({"Port": 81}, True),
        ({"Meta": {}}, True),
        ({"Tags": ["a"]}, True),
        ({"Service": "other"}, True),
        ({"Address": ""}, True),
    ],
)
def test_what_is_a_difference(change, differ):
    """An entry that differs from the registration in any field is redefined; another order of tags is no difference."""
    assert is_redefined(WEB, {**FOUND, **change}) is differ


def test_tags_of_others_are_no_difference():
    """With enable_tag_override other tags are no difference."""
    assert not is_redefined(replace(WEB, enable_tag_override=True), {**FOUND, "Tags": ["theirs"]})


def test_a_long_value_is_cut():
    """Metadata values are cut at 512 characters, since Consul refuses a registration with a longer one."""
    long = build_registration_body(replace(WEB, meta={"x": "y" * 600}), "passing")
    assert len(long["Meta"]["x"]) == 512
