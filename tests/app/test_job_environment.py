"""Test the variables of jobs."""

from __future__ import annotations

import pytest

from autopilot.app.job_environment import format_env_name


@pytest.mark.parametrize(
    ("job", "name"),
    [
        ("web", "WEB"),
        ("my-job", "MY_JOB"),
        ("app.sh", "APP"),
        ("/usr/bin/thing", "THING"),
        ("/opt/my-app.v2.py", "MY_APP_V2"),
        ("sleep 60", "SLEEP_60"),
        ("/opt/app/", "APP"),
        ("a.b.a.b", "A_A_B"),  # Go's Replace takes the first text that looks like the extension
        ("naïve.sh", "NA_VE"),
    ],
)
def test_name_of_a_job_in_variables(job: str, name: str) -> None:
    """Directory and extension are dropped, the rest is in upper case with `_` for each run of other characters."""
    assert format_env_name(job) == name
