"""A state folder belongs to one configuration file: while a `watch` works with it, another file is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from autopilot_watchdog.cli.main import main
from autopilot_watchdog.core.memory import Memory
from autopilot_watchdog.core.state_ownership import (
    ConfigClaim,
    ForeignConfigError,
    ForeignContainer,
    adopt_state,
    claim_state,
    select_strays,
)
from autopilot_watchdog.shell.config_owner import compare_with_owner, is_file_gone
from autopilot_watchdog.shell.state_file import StateStore
from autopilot_watchdog.shell.wake_pipe import open_wake_pipe
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from tests.watchdog.scenes import IMAGE


def write_config(path: Path, slot: str = "wn") -> Path:
    """Write a configuration for a host without a running engine; its state is in `state` beside it."""
    engines = {"docker": str(path.parent / "none.sock")}
    slots = [{"name": f"{slot}-NN", "image": IMAGE}]
    path.write_text(json.dumps({"host": "h1", "state": str(path.parent / "state"), "slots": slots, "engines": engines}))
    return path


def run_verb(config: Path, verb: str, *words: str) -> Result:
    """Run a verb."""
    return CliRunner().invoke(main, [verb, "--config", str(config), *words])


def read_owner(folder: Path) -> str:
    """Return the file that the state folder belongs to."""
    return StateStore(folder / "state").peek().config_file


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Path]:
    """A configuration file with whose state folder a `watch` works, as its open pipe shows."""
    first = write_config(tmp_path / "a.json")
    assert run_verb(first, "run").exit_code == 75
    pipe = open_wake_pipe(tmp_path / "state")
    yield first
    os.close(pipe)


def test_another_file_is_refused(tmp_path: Path, watched: Path) -> None:
    """Beside a `watch`, passes with another file are refused with the remedy and change nothing; a dry run may look."""
    second = write_config(tmp_path / "b.json", "gpu")
    assert read_owner(tmp_path) == str(watched)
    before = (tmp_path / "state/state.json").read_text()
    watch = [sys.executable, "-m", "autopilot_watchdog", "watch", "--config", str(second)]
    refused = subprocess.run(watch, capture_output=True, text=True, check=False)
    answers = [(refused.returncode, refused.stderr)]
    for verb in (["run"], ["run", "--now"]):
        done = run_verb(second, *verb)
        answers.append((done.exit_code, done.output))
    for status, text in answers:
        assert status == 78 and f"a `watch` uses it with {watched}" in text
        assert f"autopilot-watchdog adopt --config {second}" in text
    assert run_verb(second, "run", "--dry-run").exit_code == 0
    assert (tmp_path / "state/state.json").read_text() == before
    assert "every pass is refused" in run_verb(second, "status").output
    assert "every pass is refused" not in run_verb(watched, "status").output
    assert run_verb(watched, "run").exit_code == 75


def test_the_folder_is_given_to_another_file(tmp_path: Path, watched: Path) -> None:
    """`adopt` lets the folder belong to another file; the former one is refused from then on."""
    second = write_config(tmp_path / "b.json", "gpu")
    done = run_verb(second, "adopt")
    assert done.exit_code == 0 and read_owner(tmp_path) == str(second)
    assert run_verb(second, "run").exit_code == 75
    assert run_verb(watched, "run").exit_code == 78


def test_the_folder_follows_the_file_in_use(tmp_path: Path) -> None:
    """Without a `watch` a pass with another file takes the folder over, with a line in the audit log."""
    first, second = write_config(tmp_path / "a.json"), write_config(tmp_path / "b.json", "gpu")
    for file in (first, second, first):
        assert run_verb(file, "run").exit_code == 75
        assert read_owner(tmp_path) == str(file)
    events = [json.loads(line)["event"] for line in (tmp_path / "state/audit.jsonl").read_text().splitlines()]
    assert events.count("config-moved") == 2


@pytest.mark.parametrize("change", ["renamed", "linked", "relative"])
def test_one_file_with_several_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    """A file that was renamed, is a link to the first one, or is given by a relative path, is accepted."""
    first = write_config(tmp_path / "a.json")
    run_verb(first, "run")
    second = tmp_path / "b.json"
    match change:
        case "renamed":
            os.rename(first, second)
        case "linked":
            second.symlink_to(first)
        case _:
            monkeypatch.chdir(tmp_path)
            second = Path("a.json")
    assert run_verb(second, "run").exit_code == 75
    assert read_owner(tmp_path) == str(second if change == "renamed" else first)


def test_a_file_that_cannot_be_seen_is_there(tmp_path: Path) -> None:
    """An owner's file that cannot be looked at is not taken for one that is gone."""
    (tmp_path / "file").touch()
    for owner, is_idle in (("/" + "x" * 5000, False), (tmp_path / "a", True), (tmp_path / "file/a", True)):
        assert compare_with_owner(tmp_path / "b", str(owner), is_in_use=True).is_owner_idle is is_idle


@given(
    order=st.lists(
        st.tuples(st.sampled_from(["/a", "/b", "/c"]), st.sampled_from(["pass", "adopt", "idle"])), max_size=9
    )
)
def test_one_owner_at_a_time(order: list[tuple[str, str]]) -> None:
    """Beside a `watch` only the owner's passes succeed, after any order of adoptions and of passes without one."""
    memory = Memory()
    for path, what in order:
        claim = ConfigClaim(path, memory.config_file in {"", path}, is_owner_idle=what == "idle")
        owner = memory.config_file
        if what == "adopt":
            memory, sentence = adopt_state(memory, claim, "/state")
            assert path in sentence
        elif what == "pass" and owner not in {"", path}:
            with pytest.raises(ForeignConfigError):
                claim_state(memory, claim, "/state")
            continue
        else:
            memory = claim_state(memory, claim, "/state")
        assert memory.config_file == path


STARTED_WITH = {"ours": "/etc/new.json", "gone": "/etc/old.json", "another": "/etc/b.json"}


@pytest.mark.parametrize("slot", ["wn-01", "gpu-01"])
@pytest.mark.parametrize("kind", STARTED_WITH)
def test_containers_under_a_former_folder_are_found(kind: str, slot: str) -> None:
    """A container is ours if it carries our file, or one that is gone and the name of one of our slots."""
    one = ForeignContainer("c", "/var/lib/former", STARTED_WITH[kind], slot)
    found = select_strays([one], "/etc/new.json", {"wn-01", "wn-02"}, lambda path: path == STARTED_WITH["gone"])
    is_ours = kind == "ours" or (kind == "gone" and slot == "wn-01")
    assert found == ({"c": "/var/lib/former"} if is_ours else {})


def test_only_a_certainly_missing_file_is_gone(tmp_path: Path) -> None:
    """A file is gone if there is nothing at its absolute path; every doubt means that it may be there."""
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    assert is_file_gone(str(tmp_path / "none")) and is_file_gone(str(tmp_path / "file/none"))
    for path in (str(tmp_path / "file"), str(tmp_path / "loop"), "", "relative.json", "/nul\0", f"/{'x' * 5000}"):
        assert not is_file_gone(path)
