"""Test that every mistake is reported in one pass: at its place, with the value and the remedy."""

from __future__ import annotations

import pytest

from autopilot.spec import LoadedSpec, SpecError, load_text

LONG = "x" * 107
MARK = "‸"  # the place of the problem
A = "{name: 'a', exec: 'true'}"


def list_problems(text: str, *, here: bool = True) -> list[str]:
    """Return the problems of a text that must be refused, as "LINE:COLUMN: PATH: MESSAGE"."""
    with pytest.raises(SpecError) as caught:
        load_text(text, "f", {}, runs_here=here)
    return [str(problem).removeprefix("f:") for problem in caught.value.problems]


def assert_problem_at_mark(marked: str, message: str) -> None:
    """Check that the text has one problem, at the mark, whose message begins with `message`."""
    (found,) = list_problems(marked.replace(MARK, ""))
    assert found.startswith(f"1:{marked.index(MARK) + 1}: {message}")


def load_spec(text: str, *, here: bool = True) -> LoadedSpec:
    """Load a text that must be accepted."""
    return load_text(text, "f", {}, runs_here=here)


def format_job(keys: str) -> str:
    """Return a spec with one job of these keys."""
    return f"{{jobs: [{{name: 'web', exec: 'true', {keys}}}]}}"


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("‸helth: {}", 'jobs[web].helth: cannot be used: there is no such key; did you mean "health"?'),
        ("stopTimeout: 1, ‸stop_timeout: 2", 'jobs[web].stop_timeout: cannot be given twice: "stopTimeout" and'),
        ("‸port: 80", "jobs[web].port: cannot be given without health, which tells if the service works"),
        ("port: ‸70000, health: {tcp: 'x:1'}", "jobs[web].port: cannot be 70000; it must be from 1 to 65535"),
        ("restarts: ‸'always'", 'jobs[web].restarts: cannot be "always"; write a number of restarts, "unlimited",'),
        (
            "when: {interval: 5}, restarts: ‸'on-failure'",
            'jobs[web].restarts: cannot be "on-failure" beside interval',
        ),
        ("when: ‸{source: 'x'}", "jobs[web].when: cannot be used: once or each is missing beside source"),
        ("when: {interval: '1s', timeout: ‸1}", "jobs[web].when.timeout: cannot stand beside an interval alone"),
        ("when: ‸{once: 'startup', each: 'startup'}", "jobs[web].when: cannot have both once and each"),
        ("when: {all: ‸[]}", "jobs[web].when.all: cannot be empty"),
        ("when: {once: ‸'healthy'}", 'jobs[web].when.once: cannot be "healthy": the supervisor emits no such event'),
        ("when: {source: ‸'watch.db', each: 'changed'}", 'jobs[web].when.source: cannot be "watch.db": there is no'),
        ("when: ‸{source: 'web', once: 'stopped'}", "jobs[web].when: cannot be met: web -> web wait for each other"),
        ("when: {interval: 5}, essential: ‸true", "jobs[web].essential: cannot be true beside when.interval"),
        ("when: {cron: '@daily'}, essential: ‸true", "jobs[web].essential: cannot be true beside when.cron"),
        (
            "stop: {signal: ‸'SIGTREM'}",
            'jobs[web].stop.signal: cannot be "SIGTREM": no such signal; did you mean "SIGTERM"?',
        ),
        ("stop: {signal: ‸'SIGSTOP'}", 'jobs[web].stop.signal: cannot be "SIGSTOP": it does not end a process'),
        (
            "stop: {escalate: [{after: ‸9, signal: 9}]}",
            "jobs[web].stop.escalate[0].after: cannot be 9 s; it must come after",
        ),
        ("limits: ‸{nofiles: 1}", 'jobs[web].limits: cannot use "nofiles": no such limit; did you mean "nofile"?'),
        ("umask: ‸22", 'jobs[web].umask: cannot be 22; write an octal string like "022"'),
        ("env: ‸{'A B': 'x'}", 'jobs[web].env: cannot use "A B" as the name of a variable'),
        ("env: ‸{A: true}", 'jobs[web].env: "A" cannot be true; write it as a string in quotes'),
        (
            "user: ‸'nobody-here'",
            'jobs[web].user: cannot be used: there is no user "nobody-here" on this machine; create it',
        ),
        (
            "group: ‸'nobody-here'",
            'jobs[web].group: cannot be used: there is no group "nobody-here" on this machine; create',
        ),
        ("cwd: ‸'x'", 'jobs[web].cwd: cannot be "x"; write an absolute path'),
        (
            "health: ‸{}",
            "jobs[web].health: cannot be without a check; add one of exec, http, tcp, path, space, limit, valid,",
        ),
        ("health: {exec: 'x', tcp: ‸'y:1'}", "jobs[web].health.tcp: cannot stand beside exec"),
        ("health: {http: ‸'ftp://x'}", 'jobs[web].health.http.url: cannot be "ftp://x"; write a URL like'),
        ("health: {http: {url: 'http://x', status: ‸'3-2'}}", 'jobs[web].health.http.status: cannot be "3-2"; write'),
        ("health: {tcp: ‸'x'}", 'jobs[web].health.tcp: cannot be "x"; write "HOST:PORT"'),
        ("health: {htcondor: ‸'startd'}", "jobs[web].health.htcondor: cannot be asked without the section htcondor"),
        ("health: {slurm: ‸'node'}", "jobs[web].health.slurm: cannot be asked without the section slurm"),
        ("health: {slurm: ‸'pool'}", 'jobs[web].health.slurm: cannot be "pool"; one of slurmd, node, munge'),
        ("health: {access_point: ‸'schedd'}", "jobs[web].health.access_point: cannot be asked without"),
        ("health: {exec: 'x', onFailure: ‸'drain'}", 'jobs[web].health.onFailure: cannot be "drain" without a'),
        ("backoff: {initial: 9, max: ‸3}", "jobs[web].backoff.max: cannot be shorter than initial (9 s), got 3 s"),
        ("backoff: {factor: ‸0.5}", "jobs[web].backoff.factor: cannot be 0.5; it must be from 1 to 1000"),
        ("timeout: ‸'0s'", "jobs[web].timeout: cannot be 0; write a duration above 0"),
        ("timeout: ‸true", "jobs[web].timeout: cannot be true; write seconds as a number or a duration"),
        ("logging: {files: [{path: ‸'x'}]}", 'jobs[web].logging.files[0].path: cannot be "x"; write an absolute path'),
        (
            "logging: {files: [{path: '/x', firstLine: ‸'('}]}",
            'jobs[web].logging.files[0].firstLine: cannot be "("; write a regular expression',
        ),
        ("interfaces: ‸['eth0:inet7']", 'jobs[web].interfaces: cannot contain "eth0:inet7"; write "eth0"'),
        ("tags: ‸[1]", "jobs[web].tags: cannot be 1; write a string in quotes"),
        ("health: ‸'x'", 'jobs[web].health: cannot be "x"; write an object: {...}'),
    ],
)
def test_one_problem_of_a_job(keys: str, message: str) -> None:
    """Every mistake in a job gives one problem, with the marked place and its remedy, and no second one."""
    assert_problem_at_mark(format_job(keys), message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("‸{}", "jobs: cannot be empty: there is nothing to run"),
        ("‸[]", "cannot be an array; write an object: {...}"),
        ("{jobs: ‸{}}", "jobs: cannot be an object; write an array: [...]"),
        ("{jobs: [‸7]}", "jobs[0]: cannot be 7; write an object: {...}"),
        ("{jobs: [‸{name: 'a'}]}", "jobs[a].exec: cannot be left out; it is the command"),
        (
            "{jobs: [{name: 'a', exec: 'true'}, {name: ‸'a', exec: 'true'}]}",
            'jobs[a].name: cannot be "a" again: jobs[0] has this name',
        ),
        (
            "{jobs: [{name: ‸'SIGHUP', exec: 'x'}]}",
            'jobs[SIGHUP].name: cannot be "SIGHUP": this name is reserved as a source',
        ),
        (
            "{jobs: [A], consul: 'h:1', watches: [{name: 'db', key: 'a/b', interval: 1, tag: ‸'x'}]}",
            "watches[db].tag: cannot be given with a key: only services have tags",
        ),
        (
            "{jobs: [A], consul: 'h:1', watches: [{name: 'db', key: ‸'/a/b', interval: 1}]}",
            'watches[db].key: cannot be "/a/b": a key of Consul does not begin with /; write "a/b"',
        ),
        ("{jobs: [{exec: 'a', when: {cron: ‸'61 * * * *'}}]}", 'jobs[0].when.cron: cannot be "61 * * * *": its minute'),
        ("{jobs: [{exec: 'a', when: {cron: ‸'* * * *'}}]}", 'jobs[0].when.cron: cannot be "* * * *": it has 4 fields'),
        ("{jobs: [{exec: 'a', when: {cron: ‸'0 0 30 2 *'}}]}", 'jobs[0].when.cron: cannot be "0 0 30 2 *": its day-of'),
        ("{jobs: [{exec: 'a', when: {cron: ‸'@reboot'}}]}", 'jobs[0].when.cron: cannot be "@reboot"; leave `when` out'),
        (
            "{jobs: [{exec: 'a', when: {cron: ‸'@dayly'}}]}",
            'jobs[0].when.cron: cannot be "@dayly": there is no such name; did you mean "@daily"',
        ),
        ("{jobs: [{exec: 'a', when: {cron: ‸5}}]}", "jobs[0].when.cron: cannot be 5; write"),
        (
            "{jobs: [{exec: 'a', when: {cron: '@daily', interval: ‸'1m'}}]}",
            "jobs[0].when.interval: cannot stand beside cron",
        ),
        (
            "{jobs: [{exec: 'a', when: {interval: '1m', timezone: ‸'UTC'}}]}",
            "jobs[0].when.timezone: cannot be given without cron",
        ),
        (
            "{jobs: [{exec: 'a', when: {cron: '@daily', timezone: ‸'Mars/North'}}]}",
            'jobs[0].when.timezone: cannot be "Mars/North": there is no such time zone',
        ),
        (
            "{jobs: [{name: 'a', health: {exec: 'x'}, when: ‸{interval: 5}}]}",
            "jobs[a].when: cannot make a job without exec run again and again",
        ),
        ("{jobs: [‸{health: {exec: 'x'}}]}", "jobs[0].name: cannot be left out without exec"),
        ("{jobs: [{name: 'a', health: {exec: 'x'}, essential: ‸true}]}", "jobs[a].essential: cannot be true without"),
        (
            "{jobs: [{exec: 'a', user: 1, ‸uid: 2}]}",
            'jobs[0].uid: cannot be given twice: "user" and "uid" are the same key',
        ),
        ("{jobs: [A], ‸watches: [{name: 'db', interval: 1}]}", "watches: cannot be used without Consul"),
        (
            "{jobs: [A], templates: [{source: '/a', destination: '/b', on_change: {reload: ‸'b'}}]}",
            'templates[0].on_change.reload: cannot be "b": no job has this name',
        ),
        ("{jobs: [A], ‸locks: [{name: 'l', before: 'a'}]}", "locks: cannot be used without Consul"),
        (
            "{jobs: [A], consul: 'h:1', locks: [{name: 'l', before: ‸'b'}]}",
            'locks[l].before: cannot be "b": no job has this name',
        ),
        (
            "{jobs: [A], consul: 'h:1', locks: [{name: 'l', before: ‸'lifetime'}]}",
            'locks[l].before: cannot be "lifetime" without a lifetime section; add one, or name a job',
        ),
        (
            "{jobs: [A], consul: 'h:1', locks: [{name: 'l', before: 'a', ttl: ‸9}]}",
            "locks[l].ttl: cannot be outside Consul's bounds (10 s to 24h), got 9 s",
        ),
        (
            "{jobs: [A], consul: 'h:1', lifetime: {max: 9, drain: {exec: 'x', until: 'y'}},"
            " locks: [{name: 'l', before: 'lifetime', on_lost: ‸'stop'}]}",
            'locks[l].on_lost: cannot be "stop" before the lifetime\'s end, which goes on',
        ),
        (
            "{jobs: [A, {exec: 'x', when: {source: ‸'template.b', once: 'rendered'}}]}",
            'jobs[1].when.source: cannot be "template.b": there is no such template; add it to templates',
        ),
        (
            "{jobs: [A, {exec: 'x', when: {source: ‸'template.b', once: 'rendered'}}],"
            " templates: [{source: '/s', destination: '/a/b'}, {source: '/s', destination: '/c/b'}]}",
            'jobs[1].when.source: cannot be "template.b": several templates have this name',
        ),
        (
            "{jobs: [A, {exec: 'x', when: {once: ‸'healthy'}}]}",
            'jobs[1].when.once: cannot be "healthy": the supervisor emits no such event; source is left out',
        ),
        ("{jobs: [A], consulAgent: {join: ‸[]}}", "consulAgent.join: cannot be empty; name servers"),
        (
            "{jobs: [{name: ‸'consul-agent', exec: 'x'}], consul_agent: {join: 'a'}}",
            'jobs[consul-agent].name: cannot be "consul-agent" together with consul_agent',
        ),
        (
            "{jobs: [A], consul: {address: 'h:1', ‸token: 't', token_file: '/f'}}",
            "consul.token: cannot be given together with token_file",
        ),
        ("{jobs: [A], onSigterm: ‸'drain'}", 'onSigterm: cannot be "drain" without a lifetime or htcondor'),
        ("{jobs: [A], lifetime: ‸{max: '1h'}}", "lifetime.drain: cannot be left out: nothing says how"),
        ("{jobs: [A], lifetime: {drain: ‸{exec: 'x'}}}", "lifetime.drain: cannot be incomplete; write"),
        (
            "{jobs: [A], lifetime: {drain: {exec: 'x', until: 'y'}, jitter: ‸'1m'}}",
            "lifetime.jitter: cannot be given without max",
        ),
        (
            "{jobs: [A], lifetime: {drain: {exec: 'x', until: 'y'}, idle: ‸'1m'}}",
            "lifetime.idle: cannot be known without an htcondor or slurm section",
        ),
        (
            "{jobs: [A], lifetime: {drain: {exec: 'x', until: 'y'}, payloads: ‸1}}",
            "lifetime.payloads: cannot be kept without an htcondor or slurm section",
        ),
        (
            "{jobs: [{name: 'm', exec: 'condor_master -f'}], lifetime: {payloads: ‸1}}",
            "lifetime.payloads: cannot be kept by htcondor: it is a setting of the node's configuration; add htcondor",
        ),
        (
            "{jobs: [{name: 'm', exec: 'condor_master -f'}], htcondor: {node: true}, lifetime: {payloads: ‸0}}",
            "lifetime.payloads: cannot be 0",
        ),
        (
            "{jobs: [A], lifetime: {max: 9, drain: {exec: 'x', until: 'y'}, after: {source: ‸'b', once: 'healthy'}}}",
            'lifetime.after.source: cannot be "b": no job has this name; there are: a',
        ),
        ("{jobs: [A], htcondor: 'a', ‸slurm: 'a'}", "slurm: cannot stand beside htcondor: one batch system for each"),
        ("{jobs: [A], slurm: {job: ‸'aa'}}", 'slurm.job: cannot be "aa": there is no such job; did'),
        ("{jobs: [A], slurm: ‸true}", "slurm.job: cannot be left out: no job runs slurmd"),
        (
            "{jobs: [{exec: 'slurmd'}], slurm: {node: {settings: ‸{Feature: 'a b'}}}}",
            'slurm.node.settings: cannot have "a b" as Feature; write it without spaces',
        ),
        (
            "{jobs: [{exec: 'slurmd'}], slurm: {node: {settings: ‸{CPUs: '4'}}}}",
            "slurm.node.settings: cannot have CPUs, which autopilot sets",
        ),
        (
            "{jobs: [{name: 'a', exec: ‸'sleep 1'}], slurm: {node: true, job: 'a'}}",
            "jobs[a].exec: cannot be sleep beside {node}, whose arguments are added at the end; write slurmd itself",
        ),
        (
            "{jobs: [{name: 'a', exec: ‸'slurmd -D -Z'}], slurm: {node: true}}",
            "jobs[a].exec: cannot have -Z beside {node}, which sets it",
        ),
        (
            "{jobs: [A], access_point: {job: 'a', name: ‸'ap'}}",
            'access_point.name: cannot be "ap"; write NAME@DOMAIN, which stays the same on every host',
        ),
        (
            "{jobs: [A], access_point: 'a', lifetime: {drain: {access_point: ‸'handoff'}}}",
            'lifetime.drain.access_point: cannot be "handoff"; one of queue, handover; did you mean "handover"?',
        ),
        (
            "{jobs: [A], access_point: 'a', lifetime: {idle: ‸'1m'}}",
            "lifetime.idle: cannot be used with access_point: its jobs run elsewhere",
        ),
        (
            "{jobs: [A], lifetime: {drain: {access_point: ‸'queue'}}}",
            "lifetime.drain.access_point: cannot be used without",
        ),
        ("{jobs: [A], ‸access_point: 'a', htcondor: 'a'}", "access_point: cannot stand beside htcondor"),
        ("{jobs: [A], htcondor: {job: ‸'aa'}}", 'htcondor.job: cannot be "aa": there is no such job; did'),
        ("{jobs: [A], htcondor: ‸true}", "htcondor.job: cannot be left out: no job runs condor_master"),
        (
            f"{{jobs: [A], control: {{socket: {MARK}'/{LONG}'}}}}",
            "control.socket: cannot be longer than 107",
        ),
        ("{jobs: [A], consul: ‸'h:1:2'}", 'consul.address: cannot be "h:1:2"; write "HOST:PORT", "https://HOST:PORT"'),
        ("{jobs: [A], consul: ‸'unix://run/c'}", 'consul.address: cannot be "unix://run/c"; write'),
        ("{jobs: [A], consul_agent: {join: 'a'}, consul: ‸'h'}", 'consul.address: cannot be "h" with consul_agent'),
        ("{jobs: [A], watches: [‸{name: 'x'}]}", "watches[x].interval: cannot be left out; it is the period"),
        (
            "{jobs: [A], telemetry: {metrics: [{name: ‸'a-b', help: 'x', type: 'gauge'}]}}",
            'telemetry.metrics[a-b].name: cannot be "a-b"; write letters, digits and _ only',
        ),
        ("{jobs: [A], logging: {level: ‸'LOUD'}}", 'logging.level: cannot be "LOUD"; one of DEBUG'),
    ],
)
def test_one_problem_of_the_whole(text: str, message: str) -> None:
    """Every mistake around the jobs gives one problem with the marked place and its remedy."""
    assert_problem_at_mark(text.replace("[A]", f"[{A}]").replace("[A,", f"[{A},"), message)


def test_all_problems_in_one_pass() -> None:
    """Unknown keys, wrong values and broken rules between keys are reported together, in the order of the file."""
    text = """{
  jobs: [
    {name: "a", exec: "true", timout: 5},
    {name: "a", exec: "true", when: {source: "c", once: "healthy"}},
    {name: "b", exec: "true", restarts: -1, when: {source: "a", once: "helthy"}},
  ],
  onSigterm: "die",
}"""
    lines = [line.split(":")[0] for line in list_problems(text)]
    assert lines == ["3", "4", "4", "5", "5", "7"]


def test_nothing_is_concluded_from_what_is_broken() -> None:
    """A misspelt or broken health is one problem, not also a port or an event without health."""
    misspelt = (
        "{jobs: [{name: 'web', exec: 'x', port: 1, helth: {}}, {exec: 'y', when: {source: 'web', once: 'healthy'}}]}"
    )
    broken = misspelt.replace("helth: {}", "health: 7")
    assert [problem.split(":")[2].strip() for problem in list_problems(misspelt)] == ["jobs[web].helth"]
    assert [problem.split(":")[2].strip() for problem in list_problems(broken)] == ["jobs[web].health"]


def test_a_job_called_containerpilot() -> None:
    """Without telemetry a job may have the name of ContainerPilot's telemetry, and is a source of events by it."""
    jobs = (
        "{jobs: [{name: 'containerpilot', exec: 'x'}, {exec: 'y', when: {source: 'containerpilot', once: 'stopped'}}]"
    )
    (trigger,) = load_spec(f"{jobs}}}").plan.jobs[1].when.triggers
    assert (trigger.source, trigger.event) == ("containerpilot", "stopped")
    (problem, *_) = list_problems(f"{jobs}, telemetry: {{}}}}")
    assert 'cannot be "containerpilot": this name is reserved' in problem


def test_containerpilot_2() -> None:
    """A configuration of ContainerPilot 2 is one problem, at its first section, with the form of each section."""
    text = """{
  "consul": "consul:8500",
  "preStart": "/bin/setup", "preStop": "/bin/leave", "postStop": "/bin/clean",
  "services": [{"name": "app", "port": 80, "health": "/bin/check", "poll": 10, "ttl": 30}],
  "backends": [{"name": "db", "poll": 5, "onChange": "/bin/reload"}],
  "coprocesses": [{"command": "/bin/side"}], "tasks": [{"command": "/bin/task", "frequency": "60s"}],
  "telemetry": {"port": 9090, "sensors": [{"name": "m", "help": "h", "type": "gauge", "poll": 5, "check": "/bin/s"}]}
}"""
    (found,) = list_problems(text)
    assert found.startswith("3:3: preStart: cannot be used: this is a configuration of ContainerPilot 2; for version 3")
    for section in ("preStart", "preStop", "postStop", "services", "backends", "coprocesses", "tasks"):
        assert f" {section}: " in found
    assert "telemetry.sensors: telemetry.metrics" in found and "etcd" not in found
    assert "`autopilot convert FILE -- MAIN-COMMAND`" in found


@pytest.mark.parametrize("key", ["services", "tasks", "preStart"])
def test_a_section_of_containerpilot_2_beside_jobs(key: str) -> None:
    """Beside jobs, such a section is an unknown key."""
    (found,) = list_problems(f"{{jobs: [{A}], {key}: []}}")
    assert f"{key}: cannot be used: there is no such key" in found


def test_cycles() -> None:
    """Jobs that wait for each other are refused once, with the whole cycle."""
    jobs = ", ".join(
        f"{{name: '{name}', exec: 'x', when: {{source: '{source}', once: 'exitSuccess'}}}}"
        for name, source in [("a", "c"), ("b", "a"), ("c", "b"), ("d", "a")]
    )
    (found,) = list_problems(f"{{jobs: [{jobs}]}}")
    assert "jobs[a].when: cannot be met: a -> c -> b -> a wait for each other" in found


def test_a_long_chain_is_no_cycle() -> None:
    """Three hundred jobs in a chain are accepted."""
    jobs = ["{name: 'j0', exec: 'true'}"]
    jobs += [
        f"{{name: 'j{i}', exec: 'true', when: {{source: 'j{i - 1}', once: 'exitSuccess'}}}}" for i in range(1, 300)
    ]
    assert len(load_spec(f"{{jobs: [{', '.join(jobs)}]}}").plan.jobs) == 300


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        (
            format_job("health: {exec: 'x', interval: 10, timeout: 20}"),
            "jobs[web].health.timeout: is longer than the interval (10 s)",
        ),
        (format_job("when: {interval: 5}, timeout: 9"), "jobs[web].timeout: is longer than the interval (5 s)"),
        (format_job("tags: ['x']"), "jobs[web].tags: has no effect without a port"),
        (
            "{jobs: [{name: 'q', exec: \"sh -c 'a b'\"}]}",
            "jobs[q].exec: contains quotes, which reach the program",
        ),
        (f"{{jobs: [{A}], stopTimeout: 2}}", "stopTimeout: is shorter than the ordered stop may take (5 s)"),
    ],
)
def test_warnings(text: str, warning: str) -> None:
    """A doubt about a spec that can run is one warning."""
    (found,) = load_spec(text).warnings
    assert f"{found.path}: {found.message}".startswith(warning)


@pytest.mark.parametrize(
    ("logging", "found"),
    [
        ("output: 'STDOUT', format: 'JSON', level: 'warning'", ("stdout", "json", "WARN")),
        ("output: 'StdErr', format: 'Text', level: 'WARNING'", ("stderr", "text", "WARN")),
        ("output: '/var/log/STDOUT', format: 'DEFAULT', level: 'debug'", ("/var/log/STDOUT", "default", "DEBUG")),
    ],
)
def test_words_of_logging(logging: str, found: tuple[str, ...]) -> None:
    """The words of the log's settings are taken in any case, and WARNING as WARN."""
    plan = load_spec(f"{{jobs: [{A}], logging: {{{logging}}}}}").plan.logging
    assert (plan.output, plan.format, plan.level) == found


def test_elsewhere_missing_things_are_warnings() -> None:
    """A check on another machine warns about users, programs, directories and files that are not there."""
    text = format_job(
        "user: 'nobody-here', group: 'none-here', cwd: '/none', env_file: '/none', health: {exec: '/no/program'}"
    )
    warnings = load_spec(text, here=False).warnings
    assert [w.path.partition(".")[2] for w in warnings] == ["user", "group", "cwd", "env_file", "health.exec"]
    assert load_spec(format_job("health: {exec: '/no/program'}")).warnings == ()


@pytest.mark.parametrize(
    ("when", "warned"), [("cron: '@daily'", True), ("cron: '@daily', timezone: 'UTC'", False), ("interval: 5", False)]
)
def test_unknown_zone_of_the_machine(monkeypatch: pytest.MonkeyPatch, when: str, warned: bool) -> None:
    """A check warns, at the expression, of a $TZ that is no time zone, unless the job needs none."""
    monkeypatch.setenv("TZ", "Mars/North")
    warnings = [(w.column, w.message) for w in load_spec(format_job(f"when: {{{when}}}"), here=False).warnings]
    column = format_job(f"when: {{{when}}}").index("'@daily'") + 1 if warned else 0
    assert [column for column, _ in warnings] == [column] * warned
    assert all(message.startswith("is taken as UTC: TZ=Mars/North is no time zone") for _, message in warnings)


def format_metrics(*wanted: str) -> str:
    """Return a spec with metrics, each given as "NAME TYPE"; the name may be marked."""
    listed = [f"{{name: '{name}', help: 'x', type: '{kind}'}}" for name, kind in (text.split() for text in wanted)]
    return f"{{jobs: [{A}], telemetry: {{metrics: [{', '.join(listed)}]}}}}".replace(f"'{MARK}", f"{MARK}'")


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (("foo gauge", "‸foo gauge"), 'cannot make the gauge "foo": the gauge "foo" exports "foo" too; write another'),
        (("foo summary", "‸foo_count gauge"), 'cannot make the gauge "foo_count": the summary "foo" exports'),
        (("foo_sum counter", "‸foo summary"), 'cannot make the summary "foo": the counter "foo_sum" exports "foo_sum"'),
        (("foo histogram", "‸foo_bucket counter"), 'cannot make the counter "foo_bucket": the histogram "foo" exports'),
        (("foo histogram", "‸foo summary"), 'cannot make the summary "foo": the histogram "foo" exports "foo" too'),
        (("‸autopilot_info gauge",), 'cannot make the gauge "autopilot_info": autopilot itself exports'),
        (("‸autopilot_checks_total counter",), 'cannot make the counter "autopilot_checks_total": autopilot itself'),
        (("‸autopilot_consul_reachable gauge",), 'cannot make the gauge "autopilot_consul_reachable": autopilot'),
        (("‸containerpilot_events counter",), 'cannot make the counter "containerpilot_events": autopilot itself'),
        (("‸process_open_fds gauge",), 'cannot make the gauge "process_open_fds": autopilot itself exports'),
    ],
)
def test_metrics_that_clash(wanted: tuple[str, ...], message: str) -> None:
    """Two metrics that would export the same name are one problem, at the second; so is a name of autopilot."""
    name = wanted[-1].split()[0].removeprefix(MARK)
    assert_problem_at_mark(format_metrics(*wanted), f"telemetry.metrics[{name}].name: {message}")


def test_metrics_that_do_not_clash() -> None:
    """A counter's name gets no suffix, and the first word of autopilot's names is free to use."""
    wanted = ["x counter", "x_total counter", "y gauge", "y_count gauge", "process_jobs gauge", "python_info gauge"]
    wanted += ["containerpilot_jobs counter", "autopilot_jobs summary", "go_goroutines gauge"]
    telemetry = load_spec(format_metrics(*wanted)).plan.telemetry
    assert telemetry is not None and len(telemetry.metrics) == len(wanted)


def test_numeric_users_need_no_entry() -> None:
    """A numeric id is used unchanged."""
    assert load_spec(format_job("user: 54321, group: '54321'")).plan.jobs[0].command.user == "54321"
