"""A template gives its text from known values, names a missing one, and refuses errors."""

from __future__ import annotations

import os
import stat

import pytest

from autopilot.adapters.templates.template_adapter import write_rendered_file
from autopilot.adapters.templates.template_rendering import Dependency, DependencyPendingError, RenderError, render
from autopilot.spec.plan import Template

KNOWN = {
    Dependency("key", "a/slots"): "8",
    Dependency("key", "a/none"): None,
    Dependency("keys", "a"): {"x": "1", "y": "2"},
    Dependency("service", "db"): ({"address": "10.0.0.1", "port": 1}, {"address": "10.0.0.2", "port": 2}),
}


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("X = {{ env.HOME }}\n", "X = /root\n"),
        ("{{ env['HOME'] }}{{ env.get('NO', 'd') }}", "/rootd"),
        ("SLOTS = {{ key('a/slots') }}", "SLOTS = 8"),
        ("{{ key('a/none', 'd') }}", "d"),
        ("{% for name, text in keys('a')|items %}{{ name }}={{ text }};{% endfor %}", "x=1;y=2;"),
        ("{% for i in service('db') %}{{ i.address }}:{{ i.port }} {% endfor %}", "10.0.0.1:1 10.0.0.2:2 "),
        ("{{ key('a/slots')|int * 2 }}", "16"),
    ],
)
def test_values(text, made):
    """A template sees the environment, keys and healthy instances."""
    assert render(text, {"HOME": "/root"}, KNOWN) == made


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\n{{ env.NOPE }}", "NOPE"),
        ("{{ key('a/none') }}", 'there is no key "a/none" in Consul; put it there, or write'),
        ("one\n{% if %}", "line 2"),
        ("{{ 1 // 0 }}", "ZeroDivisionError"),
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ("{{ key('a/slots')|nope }}", "nope"),
        ("{{ key('a/slots') + 1 }}", "TypeError"),
    ],
)
def test_what_is_missing_is_an_error(text, expected):
    """A missing or wrong value is an error, never an empty word in a file."""
    with pytest.raises(RenderError, match=expected):
        render(text, {}, KNOWN)


def test_what_is_not_known_yet():
    """A template names an unknown value although it has a default, since Consul was not asked yet."""
    with pytest.raises(DependencyPendingError) as raised:
        render("{{ key('other', 'd') }}", {}, KNOWN)
    assert raised.value.dependency == Dependency("key", "other")


def test_written_whole(tmp_path):
    """A file is replaced by a rename, with its mode; the same content again is not written."""
    target = tmp_path / "etc/conf"
    template = Template(source="/t", destination=str(target), mode=0o640, group=str(os.getgid()))
    assert write_rendered_file(template, b"one")
    before = target.stat()
    assert stat.S_IMODE(before.st_mode) == 0o640
    assert not write_rendered_file(template, b"one")
    assert target.stat().st_ino == before.st_ino
    assert write_rendered_file(template, b"two")
    assert (target.read_bytes(), target.stat().st_ino != before.st_ino) == (b"two", True)
    assert [file.name for file in target.parent.iterdir()] == ["conf"]
