"""The header WWW-Authenticate, in every form that servers send."""

from __future__ import annotations

import base64

import pytest
from autopilot_watchdog.registry.auth_challenge import MAX_CHALLENGES, Challenge, parse_challenges
from autopilot_watchdog.registry.credentials import Credentials
from autopilot_watchdog.registry.registry_client import RegistryClient
from hypothesis import given
from hypothesis import strategies as st

from tests.watchdog.hostile_servers import serve_answers
from tests.watchdog.test_hostile_neighbours import CONFIG_DIGEST, build_answers

REALM = "https://auth.example.org/token"
BEARER = Challenge("bearer", {"realm": REALM})
BASIC = Challenge("basic", {"realm": "x"})


@pytest.mark.parametrize(
    ("header", "challenges"),
    [
        (f'Bearer realm="{REALM}"', [BEARER]),
        (f'bearer REALM="{REALM}"', [BEARER]),
        (f"Bearer realm={REALM}", [BEARER]),
        (f'Bearer\trealm = "{REALM}"', [BEARER]),
        (f'  Bearer   realm="{REALM}"  ,', [BEARER]),
        (f'Basic realm="x", Bearer realm="{REALM}"', [BASIC, BEARER]),
        (f'Bearer realm="{REALM}" , Basic realm=x', [BEARER, BASIC]),
        (f'Negotiate, Bearer realm="{REALM}"', [Challenge("negotiate"), BEARER]),
        ('Bearer realm="a\\"b\\\\c"', [Challenge("bearer", {"realm": 'a"b\\c'})]),
        (
            f'Bearer realm="{REALM}",service="r, s",scope="repository:a/b:pull,push"',
            [Challenge("bearer", {"realm": REALM, "service": "r, s", "scope": "repository:a/b:pull,push"})],
        ),
        ("Bearer", [Challenge("bearer")]),
        ('Bearer realm="unclosed', [Challenge("bearer")]),
        *((nonsense, []) for nonsense in ("", ",", ",,,", " ", '"', "=", '="', '"Bearer realm=x"', "\xff")),
    ],
)
def test_forms(header: str, challenges: list[Challenge]) -> None:
    """Tokens and quoted texts, any case, any blanks, several challenges in one header; nonsense is none."""
    assert list(parse_challenges([header])) == challenges


def test_token68() -> None:
    """The data of another scheme hide no challenge behind them."""
    found = list(parse_challenges([f'Negotiate YII==, Bearer realm="{REALM}"']))
    assert [challenge.scheme for challenge in found] == ["negotiate", "bearer"] and found[1] == BEARER


@given(st.lists(st.text(alphabet=st.sampled_from('aB=",\\ \t\xff;')) | st.text(), max_size=4))
def test_anything(headers: list[str]) -> None:
    """Any text is parsed to few challenges with schemes in lower case, in bounded time."""
    found = list(parse_challenges(header * 20 for header in headers))
    assert len(found) <= MAX_CHALLENGES
    assert all(challenge.scheme and challenge.scheme == challenge.scheme.lower() for challenge in found)


@pytest.mark.parametrize(
    "form", ["Bearer realm={realm},service=x", 'Negotiate, Bearer Realm = "{realm}"', 'bearer  realm="{realm}"  ,  ']
)
def test_a_registry_with_such_a_header(form: str) -> None:
    """The token service is asked with the credentials, and its token is sent to the registry."""
    with serve_answers(build_answers(CONFIG_DIGEST, {})) as server:
        challenge = form.format(realm=f"http://{server.address}/token")
        server.first_answers["manifests/v1"] = [(401, {"WWW-Authenticate": challenge}, b"")]
        server.answers["/token"] = (200, {}, b'{"token": "t"}')
        client = RegistryClient(f"{server.address}/site/wn:v1", Credentials("alice", "secret"), (), 60)
        client.fetch_tag_digest(("linux", "amd64"), {}, ())
        sent = [authorization for _, _, authorization in server.requests]
        assert sent[:3] == ["", f"Basic {base64.b64encode(b'alice:secret').decode()}", "Bearer t"]
