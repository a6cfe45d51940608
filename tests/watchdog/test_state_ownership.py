"""A state folder belongs to one configuration file: another one is refused, unless it took the first one's place."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from autopilot_watchdog.cli.main import main
from autopilot_watchdog.core.memory import Memory
from autopilot_watchdog.core.state_ownership import ConfigClaim, ForeignConfigError, adopt_state, claim_state
from autopilot_watchdog.shell.config_owner import compare_with_owner
from autopilot_watchdog.shell.state_file import StateStore
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


def test_another_file_is_refused(tmp_path: Path) -> None:
    """The first pass claims the folder; a pass with another file is refused with the remedy, and changes nothing."""
    first, second = write_config(tmp_path / "a.json"), write_config(tmp_path / "b.json", "gpu")
    assert run_verb(first, "run").exit_code == 75
    assert read_owner(tmp_path) == str(first)
    before = (tmp_path / "state/state.json").read_text()
    watch = [sys.executable, "-m", "autopilot_watchdog", "watch", "--config", str(second)]
    watched = subprocess.run(watch, capture_output=True, text=True, check=False)
    answers = [(watched.returncode, watched.stderr)]
    for verb in (["run"], ["run", "--dry-run"]):
        refused = run_verb(second, *verb)
        answers.append((refused.exit_code, refused.output))
    for status, text in answers:
        assert status == 78 and f"it belongs to {first}" in text
        assert f"autopilot-watchdog adopt --config {second}" in text
    assert (tmp_path / "state/state.json").read_text() == before
    assert "every pass is refused" in run_verb(second, "status").output
    assert "every pass is refused" not in run_verb(first, "status").output
    assert run_verb(first, "run").exit_code == 75


def test_the_folder_is_given_to_another_file(tmp_path: Path) -> None:
    """`adopt` lets the folder belong to another file; the former one is refused from then on."""
    first, second = write_config(tmp_path / "a.json"), write_config(tmp_path / "b.json", "gpu")
    run_verb(first, "run")
    done = run_verb(second, "adopt")
    assert done.exit_code == 0 and read_owner(tmp_path) == str(second)
    assert run_verb(second, "run").exit_code == 75
    assert run_verb(first, "run").exit_code == 78


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
    assert not compare_with_owner(tmp_path / "b", "/" + "x" * 5000).is_owner_gone
    assert compare_with_owner(tmp_path / "b", str(tmp_path / "a")).is_owner_gone
    (tmp_path / "file").touch()
    assert compare_with_owner(tmp_path / "b", str(tmp_path / "file/a")).is_owner_gone


@given(
    order=st.lists(
        st.tuples(st.sampled_from(["/a", "/b", "/c"]), st.sampled_from(["pass", "adopt", "gone"])), max_size=9
    )
)
def test_one_owner_at_a_time(order: list[tuple[str, str]]) -> None:
    """After any order of passes, adoptions and vanished files, passes succeed with one file only: the owner's."""
    memory = Memory()
    for path, what in order:
        claim = ConfigClaim(path, memory.config_file in {"", path}, is_owner_gone=what == "gone")
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
