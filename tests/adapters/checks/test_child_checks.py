"""Checks of paths, space, limits, names and credentials: what passes, and the sentence of what does not."""

from __future__ import annotations

import base64
import json
import os
import resource
import subprocess
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopilot.adapters.checks import limit_check, name_check, path_check, space_check, validity_check
from autopilot.adapters.checks.limit_check import LimitProbe
from autopilot.adapters.checks.name_check import NameProbe
from autopilot.adapters.checks.path_check import PathProbe
from autopilot.adapters.checks.space_check import SpaceProbe
from autopilot.adapters.checks.validity_check import UnreadableTimesError, Validity, ValidityProbe, read_validity


def examine_path(path: Path, access: str = "read") -> tuple[bool, str]:
    return path_check.examine(PathProbe(path=str(path), access=access))  # type: ignore[arg-type]


def test_a_readable_path_passes(tmp_path: Path) -> None:
    """A file, and a directory with an entry, can be read."""
    (tmp_path / "file").write_text("x")
    assert examine_path(tmp_path / "file") == (True, f"{tmp_path}/file can be read")
    assert examine_path(tmp_path) == (True, f"{tmp_path} can be read")


def test_a_path_that_is_not_there_is_a_no(tmp_path: Path) -> None:
    """The sentence has the path and the kernel's reason; an empty directory is a mount that is missing."""
    assert examine_path(tmp_path / "no") == (False, f"cannot read {tmp_path}/no: No such file or directory")
    passed, sentence = examine_path(tmp_path)
    assert not passed
    assert "empty directory" in sentence


def test_a_directory_may_be_empty_for_writing(tmp_path: Path) -> None:
    """With access to write an empty directory passes, and a place that nobody can write does not."""
    assert examine_path(tmp_path, "write") == (True, f"{tmp_path} can be written")
    passed, sentence = examine_path(Path("/proc/self"), "write")
    assert not passed
    assert sentence.startswith("cannot write /proc/self")


def test_a_pipe_without_a_writer_does_not_hang(tmp_path: Path) -> None:
    """A FIFO is looked at and not opened."""
    os.mkfifo(tmp_path / "pipe")
    assert examine_path(tmp_path / "pipe")[0]


def test_free_space_is_compared(tmp_path: Path) -> None:
    """Enough space passes; too little is told with both numbers."""
    assert space_check.examine(SpaceProbe(path=str(tmp_path), free=1))[0]
    passed, sentence = space_check.examine(SpaceProbe(path=str(tmp_path), free=10**18))
    assert not passed
    assert sentence.endswith("and 1000000.0 TB are needed")
    missing = space_check.examine(SpaceProbe(path=f"{tmp_path}/no", free=1))
    assert missing == (False, f"cannot find the free space of {tmp_path}/no: No such file or directory")


def test_limits_are_compared() -> None:
    """A limit that is high enough passes, a low one is told, and unlimited is above every number."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert limit_check.examine(LimitProbe(least={"nofile": soft}))[0]
    passed, sentence = limit_check.examine(LimitProbe(least={"nofile": soft + 1}))
    assert (passed, sentence) == (False, f"too low for the jobs: nofile is {soft}, needed {soft + 1}")
    assert not limit_check.examine(LimitProbe(least={"nofile": -1}))[0]


@pytest.mark.parametrize(
    ("membership", "files", "found"),
    [
        ("0::/\n", {"pids.max": "100\n"}, 100),
        ("0::/a/b\n", {"pids.max": "max\n", "a/pids.max": "50\n", "a/b/pids.max": "70\n"}, 50),
        ("8:pids:/a\n0::/\n", {"pids/pids.max": "max\n", "pids/a/pids.max": "30\n"}, 30),
        ("", {}, limit_check.UNLIMITED),
    ],
)
def test_the_lowest_limit_on_processes_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, membership: str, files: dict[str, str], found: int
) -> None:
    """The limit of a container on processes is the lowest of its cgroup and those above, in both versions."""
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(limit_check, "CGROUP_ROOT", str(tmp_path))
    (tmp_path / "membership").write_text(membership)
    monkeypatch.setattr(limit_check, "MEMBERSHIP_PATH", str(tmp_path / "membership"))
    _, sentence = limit_check.examine(LimitProbe(least={"pids": 1}))
    assert sentence == f"pids is {'unlimited' if found == limit_check.UNLIMITED else found}"


def test_names_are_resolved() -> None:
    """A name with an address passes; one that cannot exist, and one that is none, do not."""
    assert name_check.examine(NameProbe(host="localhost"))[0]
    assert not name_check.examine(NameProbe(host="no-such-host.invalid"))[0]
    assert not name_check.examine(NameProbe(host="a" * 300))[0]


# --- credentials ---


def build_token(**claims: object) -> bytes:
    parts = ({"alg": "none"}, claims)
    return b".".join([*(base64.urlsafe_b64encode(json.dumps(p).encode()).rstrip(b"=") for p in parts), b"signature"])


@pytest.mark.parametrize(
    ("validity", "sentence"),
    [
        (Validity(None, 2000.0), "/t is valid for 1000 s"),
        (Validity(None, None), "/t does not expire"),
        (Validity(900.0, 90_000.0), "/t is valid for 24h43m20s"),
        (Validity(None, 1599.0), "/t is valid for 9m59s only, and 10m are needed"),
        (Validity(None, 940.0), "/t has expired 60 s ago"),
        (Validity(1060.0, 9000.0), "/t is not valid yet: only in 60 s; see the clock"),
    ],
)
def test_the_time_that_is_left_is_judged(validity: Validity, sentence: str) -> None:
    """A credential passes when it is valid now and for long enough; the sentence has the time."""
    probe = ValidityProbe(path="/t", left=600.0)
    passed, found = validity_check.judge_validity(probe, validity, 1000.0)
    assert found == sentence.replace("1000 s", "16m40s")
    assert passed == ("only" not in sentence and "expired" not in sentence)


def test_times_of_a_token_are_read() -> None:
    """The claims exp and nbf of a JSON Web Token are its times; one without exp does not expire."""
    assert read_validity(build_token(exp=20, nbf=10) + b"\n") == Validity(10.0, 20.0)
    assert read_validity(build_token(iss="x")) == Validity(None, None)


@pytest.mark.parametrize(
    "data", [b"", b"a.b", b"a.!.c", build_token(exp="soon"), build_token(exp=True), build_token(nbf=1e300), b"a.W10.c"]
)
def test_damaged_tokens_are_told(data: bytes) -> None:
    """Data without readable times are refused, and taken neither for valid nor for expired."""
    with pytest.raises(UnreadableTimesError):
        read_validity(data)


@given(st.binary(max_size=200))
def test_any_file_is_read_or_refused(data: bytes) -> None:
    """No content of a file makes the check fail in another way."""
    for text in (data, b"-----BEGIN CERTIFICATE-----" + base64.b64encode(data) + b"-----END CERTIFICATE-----"):
        with suppress(UnreadableTimesError):
            read_validity(text)


@pytest.mark.real("openssl")
def test_times_of_certificates_are_read(tmp_path: Path) -> None:
    """A PEM file is valid as long as the certificate in it that ends first, whichever form its dates have."""
    texts = []
    for days in (30, 20000):  # the second one ends after 2049, so its date has the longer form
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", str(days), "-subj", "/CN=x"]
        done = subprocess.run([*command, "-keyout", "-"], cwd=tmp_path, capture_output=True, check=True)
        texts.append(done.stdout)
    validity = read_validity(b"".join(texts))
    assert validity.begins is not None
    assert validity.ends is not None
    now = datetime.now(UTC).timestamp()
    assert now - 3600 < validity.begins <= now + 1
    assert now + 29 * 86400 < validity.ends < now + 31 * 86400
    late = read_validity(texts[1])
    assert late.ends is not None
    assert datetime.fromtimestamp(late.ends, UTC).year > 2049
