"""Tokens, as far as they can be judged without the pool's key."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopilot.adapters.batch.htcondor import id_tokens
from autopilot.adapters.batch.htcondor.id_tokens import InvalidTokenError, decode, examine, find_problem, install

NOW = 1_800_000_000.0
RIGHTS = "condor:/ADVERTISE_MASTER condor:/ADVERTISE_STARTD condor:/READ"


def encode_part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def build_token(**claims: object) -> str:
    full = {"iss": "pool", "sub": "worker@pool", "scope": RIGHTS, **claims}
    return ".".join((encode_part({"alg": "HS256", "kid": "POOL"}), encode_part(full), "c2ln"))


@pytest.mark.parametrize(
    ("claims", "words"),
    [
        ({}, None),
        ({"scope": None}, None),
        ({"exp": NOW + 60}, None),
        ({"exp": NOW - 7200}, "expired 2 h ago, at 2027-01-15T06:00:00Z"),
        ({"nbf": NOW + 600}, "valid only in 10 min"),
        ({"scope": "condor:/READ"}, "allows only READ, not ADVERTISE_STARTD"),
        ({"scope": "condor:/DAEMON"}, None),
        ({"exp": "soon"}, None),
        ({"exp": 10**400}, None),
        ({"exp": 1e300}, None),
        ({"exp": float("nan")}, None),
        ({"exp": -(10**400)}, "expired"),
    ],
)
def test_what_the_claims_tell_is_said(claims: dict[str, object], words: str | None) -> None:
    """Expired, not yet valid, too few rights; what cannot be judged passes."""
    problem_text = find_problem(decode(build_token(**claims)), NOW)
    assert problem_text is None if words is None else words in str(problem_text)


@pytest.mark.parametrize(
    ("claims", "words"),
    [
        ({"exp": NOW + 60}, "our token is valid until 2027-01-15T08:01:00Z"),
        ({"exp": NOW - 7200}, "expired 2 h ago, at 2027-01-15T06:00:00Z"),
        ({}, "our token never expires"),
        (None, "there is no token in "),
    ],
)
def test_the_validity_of_our_token_in_words(tmp_path: Path, claims: dict[str, object] | None, words: str) -> None:
    """The clause tells until when the token is valid, or since when it is not."""
    if claims is not None:
        (tmp_path / "pool").write_text(build_token(**claims))
    assert words in id_tokens.describe_validity(tmp_path, NOW)


@given(st.text() | st.binary().map(lambda raw: "a." + base64.urlsafe_b64encode(raw).decode() + ".b"))
def test_no_file_content_breaks_it(text: str) -> None:
    """Any text is a token, or refused as InvalidTokenError."""
    try:
        decode(text)
    except InvalidTokenError as bad:
        assert str(bad).startswith("is ")


def test_one_good_token_is_enough_and_each_bad_one_is_named(tmp_path: Path) -> None:
    """Comments and hidden files do not count."""
    (tmp_path / "good").write_text(f"# made today\n{build_token()}\n")
    (tmp_path / "old").write_text(build_token(exp=NOW - 60))
    (tmp_path / "torn").write_text(build_token()[:40])
    (tmp_path / "empty").write_text("\n")
    (tmp_path / ".hidden").write_text("no token")
    usable, problems = examine(tmp_path, NOW)
    assert [found.subject for found in usable] == ["worker@pool"]
    assert [str(tmp_path / name) in problem for name, problem in zip(("empty", "old", "torn"), problems, strict=True)]


def test_a_token_is_copied_for_root_alone(tmp_path: Path) -> None:
    """Mode 0600 in a 0700 directory, from a file or from a directory with links, as secrets are mounted."""
    secret, target = tmp_path / "secret", tmp_path / "tokens.d"
    (secret / "..data").mkdir(parents=True)
    (secret / "..data" / "pool").write_text(build_token())
    (secret / "pool").symlink_to("..data/pool")
    install(secret, target)
    install(secret / "pool", target)
    assert [path.name for path in target.iterdir()] == ["pool"]
    assert (target / "pool").stat().st_mode & 0o777 == 0o600
    assert target.stat().st_mode & 0o777 == 0o700
    assert not (target / "pool").is_symlink()


def test_an_empty_secret_is_an_error(tmp_path: Path) -> None:
    """A mount that brought nothing must not look like success."""
    with pytest.raises(FileNotFoundError):
        install(tmp_path, tmp_path / "tokens.d")


def test_a_token_that_jobs_could_read_is_seen(tmp_path: Path) -> None:
    """Both the file and its directory have to be open."""
    path = tmp_path / "t"
    path.write_text(build_token())
    path.chmod(0o644)
    tmp_path.chmod(0o755)
    assert id_tokens.is_readable_by_others(tmp_path, path)
    tmp_path.chmod(0o700)
    assert not id_tokens.is_readable_by_others(tmp_path, path)
