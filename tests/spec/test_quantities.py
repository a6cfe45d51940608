"""Test numbers with a unit."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopilot.spec import quantities

UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
LONGEST = 2**63 - 1


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("1500ms", 1.5),
        ("10s", 10),
        ("1h30m", 5400),
        ("1.5h", 5400),
        (".5s", 0.5),
        ("1.s", 1),
        ("3us", 3e-6),
        ("3µs", 3e-6),
        ("250ns", 2.5e-7),
        ("60", 60),
        ("1.5", 1.5),
        ("+5s", 5),
        (60, 60),
        (0.25, 0.25),
        ("0", 0),
        ("2562047h47m16s", 9223372036),
    ],
)
def test_durations(written: object, seconds: float) -> None:
    """Go's durations, numbers and numeric strings are seconds."""
    assert quantities.parse_duration(written) == seconds


@pytest.mark.parametrize(
    "wrong",
    [
        *("", "s", ".s", "1x", "1 s", "ten", "1h 30m", "-5s", -1, "1e3", "1_0", "٣s", True, None, [], {}),
        float("nan"),
        float("inf"),
        1e300,
        10**400,
        "2562047h48m",
        "9" * 30 + "h",
        "1s" * 40,
        "5s5",
        "--5s",
        "+-5s",
        "0x10",
    ],
)
def test_wrong_durations(wrong: object) -> None:
    """A value that is no duration is refused with a message that begins with "cannot"."""
    with pytest.raises(ValueError, match=r"^cannot"):
        quantities.parse_duration(wrong)


@given(
    st.lists(
        st.tuples(st.integers(0, 10**4), st.integers(0, 10**6), st.sampled_from(sorted(UNITS))), min_size=1, max_size=2
    )
)
def test_durations_are_exact(parts: list[tuple[int, int, str]]) -> None:
    """Any sum of decimal parts is read exactly, to the nanosecond."""
    text = "".join(f"{whole}.{fraction:07d}{unit}" for whole, fraction, unit in parts)
    exact = sum(int((whole + Fraction(fraction, 10**7)) * UNITS[unit]) for whole, fraction, unit in parts)
    assert quantities.parse_duration(text) == exact / 10**9


@given(st.text(alphabet="0123456789.hmsnuµ+-e", max_size=50) | st.text())
def test_any_text_is_a_duration_or_refused(text: str) -> None:
    """Any text is a duration within Go's range, or a ValueError that begins with "cannot"."""
    try:
        assert 0 <= quantities.parse_duration(text) <= LONGEST / 10**9
    except ValueError as error:
        assert str(error).startswith("cannot")


@pytest.mark.parametrize(
    ("written", "number"),
    [
        ("1GB", 10**9),
        ("1GiB", 2**30),
        ("1G", 2**30),
        ("1.5k", 1536),
        ("512 MB", 512 * 10**6),
        (7, 7),
        ("7", 7),
        ("2TiB", 2**41),
    ],
)
def test_sizes(written: object, number: int) -> None:
    """GB is 1000-based; GiB and G are 1024-based."""
    assert quantities.parse_size(written) == number


@pytest.mark.parametrize("wrong", ["", "1XB", "-1", -1, 1.5, True, None, "GB", "9" * 39 + "TB", 2**63, "1" * 50])
def test_wrong_sizes(wrong: object) -> None:
    """A value that is no size is refused."""
    with pytest.raises(ValueError, match=r"^cannot"):
        quantities.parse_size(wrong)


@pytest.mark.parametrize(("written", "number"), [("10%", 0.1), (0.1, 0.1), (1, 1), ("0", 0), ("100%", 1)])
def test_shares(written: object, number: float) -> None:
    """A share is a number from 0 to 1 or a percentage."""
    assert quantities.parse_share(written) == number


@pytest.mark.parametrize("wrong", ["110%", 10, -0.1, "x", None, True, "%", float("nan"), "1e999"])
def test_wrong_shares(wrong: object) -> None:
    """A value that is no share is refused."""
    with pytest.raises(ValueError, match=r"^cannot"):
        quantities.parse_share(wrong)


@pytest.mark.parametrize(("written", "number"), [("60", 60), (60, 60), (60.0, 60), ("0", 0)])
def test_whole_numbers(written: object, number: int) -> None:
    """Numeric strings are numbers: templates can write nothing else."""
    assert quantities.parse_whole_number(written) == number


@pytest.mark.parametrize("wrong", ["6.5", 6.5, True, None, -1, "-1", "x", 2**31, float("nan"), float("inf"), "9" * 30])
def test_wrong_whole_numbers(wrong: object) -> None:
    """A value that is no whole number in range is refused."""
    with pytest.raises(ValueError, match=r"^cannot"):
        quantities.parse_whole_number(wrong)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), 10**400, "1e400", True, "x", None])
def test_wrong_numbers(wrong: object) -> None:
    """Only finite numbers are numbers."""
    with pytest.raises(ValueError, match=r"^cannot"):
        quantities.parse_number(wrong)


@pytest.mark.parametrize("value", [True, "true", "True", "TRUE", "t", "T", "1", 1])
def test_flags_as_go_reads_them(value: object) -> None:
    """A flag has each form that Go reads as true or false, and no other."""
    assert quantities.parse_flag(value) is True
    negated = {"true": "false", "True": "False", "TRUE": "FALSE", "t": "f", "T": "F", "1": "0"}
    assert quantities.parse_flag(negated[value] if isinstance(value, str) else not value) is False
    for other in ("yes", "tRUE", "", 2, 1.0, None):
        with pytest.raises(quantities.InvalidValueError):
            quantities.parse_flag(other)
