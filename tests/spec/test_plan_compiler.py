"""Test the way from spec to plan: every key arrives, every default is careful."""

from __future__ import annotations

import json
import signal

import pytest

from autopilot.adapters.batch.htcondor.access_point.access_point_settings import AccessPointSettings, Ending
from autopilot.adapters.batch.htcondor.htcondor_settings import HtcondorNode, HtcondorSettings
from autopilot.adapters.checks.exec_check import ExecProbe
from autopilot.adapters.checks.htcondor_check import HtcondorProbe
from autopilot.adapters.checks.http_check import HttpProbe
from autopilot.adapters.checks.tcp_check import TcpProbe
from autopilot.spec import load_text
from autopilot.spec import plan as p


def compile_plan(text: str) -> p.Plan:
    """Return the plan of a job spec."""
    return load_text(text, env={}).plan


def compile_job(keys: str) -> p.Job:
    """Return the planned job of these keys."""
    return compile_plan(f"{{jobs: [{{name: 'web', exec: 'run it', {keys}}}]}}").jobs[0]


def test_the_smallest_job() -> None:
    """A job with nothing but a command runs once at startup and is named after its program."""
    (job,) = compile_plan("{jobs: [{exec: 'sleep  1'}]}").jobs
    assert job == p.Job(name="sleep", command=p.Command(argv=("sleep", "1")))


def test_names_of_jobs_without_a_name() -> None:
    """Jobs without a name are named after their programs, with a number where the name is taken; arguments, which may
    be secrets, are in no name.
    """
    jobs = "{exec: '/bin/sh -c env'}, {exec: ['/bin/sh', '--password=x']}, {name: 'a', exec: 'b'}, {exec: 'a'}"
    names = [job.name for job in compile_plan(f"{{jobs: [{jobs}]}}").jobs]
    assert names == ["/bin/sh", "/bin/sh-2", "a", "a-2"]


def test_every_key_of_a_job() -> None:
    """Every key of a job reaches the plan, in seconds, bytes and numbers."""
    full = compile_job(
        """essential: "true", user: "root", group: 0, cwd: "/", umask: "022", env: {A: 1, B: "b"}, env_file: "/e",
        limits: {nofile: "65536", core: "unlimited", RLIMIT_AS: "1GiB"}, restarts: "7", timeout: "1h", stop_timeout: 4,
        backoff: {initial: "1s", factor: 3, max: "1m", jitter: "50%", resetAfter: 9}, logging: {raw: true},
        stop: {signal: "INT", timeout: "20s", order: -1, group: false, escalate: [{after: 5, signal: "QUIT"}]},
        port: "80", initialStatus: "passing", tags: ["x", "y"], interfaces: "eth1[0]",
        consul: {enableTagOverride: true, deregisterCriticalServiceAfter: "10m"},
        health: {http: {url: "http://x/", status: "200-204", header: {A: "b"}}, interval: 5, timeout: 2, ttl: 20,
                 initialDelay: 3, failures: 4, successes: 2, onFailure: "restart"},
        when: {source: "SIGHUP"}"""
    )
    assert full == p.Job(
        name="web",
        command=p.Command(
            argv=("run", "it"),
            user="root",
            group="0",
            cwd="/",
            umask=0o22,
            env={"A": "1", "B": "b"},
            env_file="/e",
            limits={"nofile": 65536, "core": -1, "as": 2**30},
        ),
        when=p.When(triggers=(p.Trigger(source="SIGHUP", event="signal"),), each=True),
        essential=True,
        restarts=7,
        backoff=p.Backoff(initial=1, factor=3, max=60, jitter=0.5, reset_after=9),
        stop=p.Stop(signal=signal.SIGINT, timeout=20, order=-1, group=False, escalate=((5.0, signal.SIGQUIT),)),
        timeout=3600,
        stopping_wait=4,
        health=p.Health(
            probe=HttpProbe(url="http://x/", status=(200, 204), headers={"A": "b"}),
            interval=5,
            timeout=2,
            ttl=20,
            initial_delay=3,
            failures=4,
            successes=2,
            on_failure="restart",
        ),
        service=p.Service(
            port=80,
            initial_status="passing",
            tags=("x", "y"),
            interfaces=("eth1[0]",),
            enable_tag_override=True,
            deregister_critical_service_after="600s",
        ),
        raw=True,
    )


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ("{interval: '10s'}", p.When(every=10)),
        (
            "{source: '', once: 'startup'}".replace("source: '', ", ""),
            p.When(triggers=(p.Trigger(source="", event="startup"),)),
        ),
        ("{source: 'b', each: 'exitFailed'}", p.When(triggers=(p.Trigger(source="b", event="exitFailed"),), each=True)),
        (
            "{source: 'b', once: 'exitSuccess', interval: '30m', timeout: 9}",
            p.When(triggers=(p.Trigger(source="b", event="exitSuccess"),), delay=1800, timeout=9),
        ),
        (
            "{all: [{source: 'b', once: 'stopped'}, {source: 'global', once: 'shutdown'}], timeout: '60s'}",
            p.When(
                triggers=(p.Trigger(source="b", event="stopped"), p.Trigger(source="", event="shutdown")), timeout=60
            ),
        ),
    ],
)
def test_when(when: str, expected: p.When) -> None:
    """The forms of `when` become triggers, a delay or a period."""
    assert (
        compile_plan(f"{{jobs: [{{name: 'a', exec: 'x', when: {when}}}, {{name: 'b', exec: 'x'}}]}}").jobs[0].when
        == expected
    )


def test_probes() -> None:
    """A TCP check has host and port; a command runs as its job does."""
    assert compile_job("health: {tcp: '[::1]:80'}").health == p.Health(
        probe=TcpProbe(host="::1", port=80), interval=10, timeout=10, ttl=20
    )
    assert compile_job("health: {exec: ['x', 1], logging: {raw: true}}, umask: '077'").health == p.Health(
        probe=ExecProbe(command=p.Command(argv=("x", "1"), umask=0o77), raw=True), interval=10, timeout=10, ttl=20
    )


@pytest.mark.parametrize(("action", "failures"), [("event", 1), ("restart", 3), ("drain", 3), ("shutdown", 3)])
def test_failures(action: str, failures: int) -> None:
    """A check that only emits an event needs one failure; a check that acts needs three."""
    text = (
        f"{{htcondor: true, jobs: [{{exec: 'condor_master', health: {{htcondor: 'startd', on_failure: '{action}'}}}}]}}"
    )
    health = compile_plan(text).jobs[0].health
    assert health is not None
    assert (health.probe, health.failures) == (HtcondorProbe(aspect="startd"), failures)


@pytest.mark.parametrize(
    ("keys", "restarts"),
    [
        ("restarts: 'unlimited'", None),
        ("restarts: 'never'", 0),
        ("restarts: 3", 3),
        ("when: {interval: 1}", None),
        ("when: {interval: 1}, restarts: 2", 2),
        ("when: {once: 'startup'}", 0),
    ],
)
def test_restarts(keys: str, restarts: int | None) -> None:
    """Only interval jobs run again by default."""
    assert compile_job(keys).restarts == restarts


def test_an_interval_job_is_not_killed_at_its_interval() -> None:
    """Without a timeout a slow interval job runs to its end (ContainerPilot kills it: #525)."""
    assert compile_job("when: {interval: 1}").timeout is None


def test_stop_timeout_is_the_worst_ordered_stop() -> None:
    """Orders stop one after the other, each as slow as its slowest job, including waits for pre-stop jobs."""
    jobs = ", ".join(
        f"{{name: 'j{i}', exec: 'x', stop: {{order: {order}, timeout: {timeout}}}, stopTimeout: {wait}}}"
        for i, (order, timeout, wait) in enumerate([(1, 20, 0), (0, 3, 4), (1, 2, 1), (0, 6, 0)])
    )
    assert compile_plan(f"{{jobs: [{jobs}]}}").stop_timeout == 27


def test_stop_timeout_is_at_least_5_s() -> None:
    """The whole stop gets at least 5 s, as in ContainerPilot, even when its jobs need less."""
    assert compile_plan("{jobs: [{exec: 'x', stop: {timeout: 1}}]}").stop_timeout == 5
    assert compile_plan("{stopTimeout: 2, jobs: [{exec: 'x', stop: {timeout: 1}}]}").stop_timeout == 2


CONDOR = "{jobs: [{name: 'm', exec: '/usr/sbin/condor_master -f'}], %s}"


def test_the_htcondor_job_gets_what_fits_it() -> None:
    """condor_master gets 30 s, its signal alone, and a SIGQUIT before the end."""
    found = compile_plan(CONDOR % "htcondor: 'm'")
    assert found.jobs[0].stop == p.Stop(timeout=30, group=False, escalate=((20.0, signal.SIGQUIT),))
    assert found.stop_timeout == 30


def test_the_htcondor_jobs_own_escalation() -> None:
    """Further signals of its own replace the SIGQUIT, and may come as late as its longer timeout allows."""
    text = "{jobs: [{exec: 'condor_master', stop: {escalate: [{after: 25, signal: 'INT'}]}}], htcondor: true}"
    assert compile_plan(text).jobs[0].stop.escalate == ((25.0, signal.SIGINT),)


@pytest.mark.parametrize("shorthand", ["true", "'m'", "{}", "{job: 'm'}"])
def test_htcondor_finds_its_job(shorthand: str) -> None:
    """The job that runs condor_master need not be named, and the drain is HTCondor's own."""
    found = compile_plan(CONDOR % f"htcondor: {shorthand}")
    assert found.batch == p.Batch(system="htcondor", job="m", settings=HtcondorSettings())
    assert found.lifetime == p.Lifetime(drain=p.Drain(by_batch_system=True))


def test_htcondor_in_full() -> None:
    """Every key of the htcondor section arrives; sizes are bytes."""
    keys = """poll: "5s", minExecute: "2GB", min_log: 1, node: {path: "/n", condorHost: "cm", name: "w", cpus: "1.5",
        memory: "1GiB", token: "/t", settings: {START: "True"}}"""
    batch = compile_plan(CONDOR % f"htcondor: {{{keys}}}").batch
    assert batch is not None
    assert batch.settings == HtcondorSettings(
        poll=5,
        min_execute=2 * 10**9,
        min_log=1,
        node=HtcondorNode(
            path="/n", condor_host="cm", name="w", cpus=1.5, memory=2**30, token="/t", settings={"START": "True"}
        ),
    )
    batch = compile_plan(CONDOR % "htcondor: {node: true}").batch
    assert batch is not None
    assert batch.settings == HtcondorSettings(node=HtcondorNode())


def test_lifetime() -> None:
    """Every key of the lifetime arrives; a drain by command has both its commands."""
    keys = """max: "30m", jitter: "5m", after: {source: "m", once: "stopped"}, idle: 600, deadline: "72h", grace: 0"""
    assert compile_plan(CONDOR % f"htcondor: true, lifetime: {{{keys}}}").lifetime == p.Lifetime(
        drain=p.Drain(by_batch_system=True),
        max=1800,
        jitter=300,
        after=p.Trigger(source="m", event="stopped"),
        idle=600,
        deadline=259200,
        grace=0,
    )
    by_command = compile_plan(
        CONDOR % "lifetime: {max: 1, drain: {exec: 'off', until: ['is', 'off'], poll: 2}}"
    ).lifetime
    assert by_command == p.Lifetime(
        drain=p.Drain(begin=p.Command(argv=("off",)), until=p.Command(argv=("is", "off")), poll=2), max=1
    )


def test_the_rest() -> None:
    """State, socket, log, SIGTERM and the time to boot success arrive."""
    keys = """state: "/s", control: {socket: "/c"}, logging: {level: "debug", format: "json", output: "/l"},
        onSigterm: "drain", htcondor: true, healthyFor: "1m" """
    found = compile_plan(CONDOR % keys)
    assert (found.state, found.socket, found.on_sigterm, found.healthy_for) == ("/s", "/c", "drain", 60)
    assert found.logging == p.Logging(level="DEBUG", format="json", output="/l")
    assert compile_plan(CONDOR % "logging: {format: 'default'}").logging == p.Logging()


def test_containerpilot_sections() -> None:
    """Every key around ContainerPilot's registry is accepted, without a warning."""
    text = """{
      consul: {address: "consul:8500", scheme: "https", token: "t", tls: {cafile: "/a", capath: "/b", clientcert: "/c",
               clientkey: "/d", servername: "s", verify: "false"}},
      stopTimeout: "30", logging: {level: "INFO", format: "default", output: "stderr"},
      control: {socket: "/var/run/containerpilot.socket"},
      telemetry: {port: 9090, interfaces: ["eth0", "eth0:inet6", "eth0[1]", "10.0.0.0/16", "fdc6::/48", "inet", "inet6",
                  "static:192.168.1.100"], tags: ["op"], metrics: [{namespace: "n", subsystem: "s", name: "m",
                  help: "h", type: "histogram", buckets: [1, "2.5"]}]},
      watches: [{name: "db", interval: 3, tag: "t", dc: "d"}],
      jobs: [
        {name: "app", exec: ["/bin/app", "-x"], port: 8000, initial_status: "warning", restarts: "unlimited",
         health: {exec: "check", interval: "10", ttl: "25", timeout: "5s", logging: {raw: false}}},
        {name: "pre-stop", exec: "x", when: {source: "app", once: "stopping"}},
        {name: "on-change", exec: "x", when: {source: "watch.db", each: "changed"}},
        {name: "paused", exec: "x", when: {source: "containerpilot", each: "enterMaintenance", timeout: "1s"}}]}"""
    found = load_text(text, env={})
    assert found.warnings == ()
    consul, telemetry = found.plan.consul, found.plan.telemetry
    assert consul is not None and (consul.address, consul.scheme, consul.acl_token) == ("consul:8500", "https", "t")
    assert consul.tls is not None and (consul.tls.cafile, consul.tls.verify) == ("/a", False)
    assert telemetry is not None and telemetry.metrics[0].name == "n_s_m"
    assert [(w.name, w.interval, w.tag, w.dc) for w in found.plan.watches] == [("db", 3.0, "t", "d")]
    assert [job.name for job in found.plan.jobs] == ["app", "pre-stop", "on-change", "paused"]
    assert found.plan.stop_timeout == 30


def test_both_spellings_of_every_key() -> None:
    """Every key of every section may be written in snake_case or camelCase."""
    from autopilot.spec.keys import NormalizedTree, convert_to_camel_case
    from autopilot.spec.model_base import StrictModel

    models: list[type[StrictModel]] = StrictModel.__subclasses__()
    for model in models:
        names = list(model.model_fields)
        for spelled in (names, list(map(convert_to_camel_case, names))):
            folded = NormalizedTree(dict.fromkeys(spelled, 0), model)
            assert (list(folded.tree), folded.findings) == (names, [])


def test_editors_may_name_their_schema() -> None:
    """`$schema` is for editors and means nothing."""
    assert compile_plan("{$schema: 'x', jobs: [{exec: 'x'}]}") == compile_plan("{jobs: [{exec: 'x'}]}")


def test_restarts_on_failure():
    """`on-failure` is a restart without limit, but not after a success; every other word restarts after both."""
    words = ("on-failure", "unlimited", 3)
    plans = [load_text(json.dumps({"jobs": [{"name": "a", "exec": "true", "restarts": w}]})).plan for w in words]
    compiled = [(plan.jobs[0].restarts, plan.jobs[0].restart_after_success) for plan in plans]
    assert compiled == [(None, False), (None, True), (3, True)]


@pytest.mark.parametrize(
    ("lifetime", "ending"),
    [
        ("", "queue"),
        ("lifetime: {drain: {access_point: true}},", "queue"),
        ("lifetime: {drain: {access_point: 'queue'}},", "queue"),
        ("lifetime: {drain: {access_point: 'handover'}},", "handover"),
    ],
)
def test_access_point(lifetime: str, ending: Ending) -> None:
    """The word in `lifetime.drain` says how the access point's life ends; by default its queue empties."""
    plan = compile_plan(CONDOR % f"{lifetime} access_point: {{name: 'ap@pool', spool: '/s'}}")
    assert plan.batch is not None and plan.batch.system == "access_point"
    assert plan.batch.settings == AccessPointSettings(name="ap@pool", spool="/s", ending=ending)
    assert plan.lifetime is not None and plan.lifetime.drain == p.Drain(by_batch_system=True)
