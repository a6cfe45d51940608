"""Test that no link, FIFO or directory in the state directory harms other files or stops a life."""

from __future__ import annotations

import json
import os
import socket

import pytest

from autopilot.adapters.consul import agent_config
from autopilot.adapters.templates.template_adapter import write_rendered_file
from autopilot.safe_files import make_own_directory, open_own_file, read_file, replace_file
from autopilot.spec.plan import Template
from tests.app.harness import TIMEOUT_S, SupervisorProcess, shell

pytestmark = pytest.mark.slow  # seconds each: for `make test`, not for `make check`

ONE_JOB = {"jobs": [{"name": "a", "exec": shell("echo up; exit 0")}]}


def plant_link(place, victim):
    place.symlink_to(victim)


def plant_hard_link(place, victim):
    place.hardlink_to(victim)


def plant_dangling_link(place, _victim):
    place.symlink_to(place.with_name("nowhere"))


def plant_fifo(place, _victim):
    os.mkfifo(place)


def plant_directory(place, _victim):
    place.mkdir()
    (place / "file").touch()


def plant_socket(place, _victim):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(place))


PLANTS = [plant_link, plant_hard_link, plant_dangling_link, plant_fifo, plant_directory, plant_socket]
NAMES = [
    "lock",
    "last-words.json",
    "previous-words.json",
    "autopilot.sock",
    "autopilot.sock.lock",
    ".last-words.json.tmp",
]


@pytest.mark.parametrize("plant", PLANTS)
def test_a_life_goes_on_with_planted_files(tmp_path, plant):
    """A life with something foreign in the place of each of its files runs its job, and no other file is touched."""
    state, victim = tmp_path / "state", tmp_path / "victim"
    state.mkdir()
    victim.write_text("precious")
    for name in NAMES:
        plant(state / name, victim)
    with SupervisorProcess(tmp_path, ONE_JOB) as pilot:
        assert pilot.wait() == 0
        assert pilot.list_job_output("a") == ["up"]
        words = state / "last-words.json"
        assert words.is_file() and not words.is_symlink()
        assert pilot.read_last_words()["reason"] == "completed"
    assert victim.read_text() == "precious"
    assert victim.stat().st_mode & 0o777 == 0o666 & ~get_umask()


def get_umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize("plant", [plant_link, plant_fifo, plant_directory, plant_socket])
def test_a_life_says_what_it_moved(tmp_path, plant):
    """Each thing that is moved aside is named in a line, with its new name, under which it still exists."""
    state = tmp_path / "state"
    state.mkdir()
    plant(state / "lock", tmp_path / "victim")
    plant(state / "last-words.json", tmp_path / "victim")
    with SupervisorProcess(tmp_path, ONE_JOB) as pilot:
        assert pilot.wait() == 0
        assert f"{state}/lock was" in pilot.stderr_text
        (line,) = [line for line in pilot.lines if line.get("event") == "file_moved_aside"]
        assert line["message"].startswith(f"{state}/last-words.json was")
    assert len(list(state.glob("*.foreign-*"))) == 2


@pytest.mark.parametrize("plant", PLANTS)
def test_history_reads_no_planted_file(tmp_path, plant):
    """`autopilot history` ends and shows nothing of a planted file."""
    state, victim = tmp_path / "state", tmp_path / "victim"
    with SupervisorProcess(tmp_path, ONE_JOB) as pilot:
        assert pilot.wait() == 0
        victim.write_text("[" * 100_000)
        plant(state / "previous-words.json", victim)
        shown = pilot.run_verb("history", "-o", "json")
        assert len(json.loads(shown.stdout)) == 1


@pytest.mark.parametrize("plant", PLANTS)
def test_agent_directory(tmp_path, plant):
    """Consul's agent gets an empty directory of its own, and planted files and their targets keep their content."""
    state, victim = tmp_path / "state", tmp_path / "other"
    state.mkdir()
    (victim / "data").mkdir(parents=True)
    (victim / "data/precious").touch()
    moved: list[str] = []
    target = victim / "data/precious" if plant is plant_hard_link else victim
    settings = {"data_dir": str(state / "consul/data")}
    plant(state / "consul", target)
    agent_config.prepare_state(state, settings, moved.append)
    (state / "consul/data").rmdir()
    plant(state / "consul/data", target)
    (state / "consul/agent.json").unlink()
    plant(state / "consul/agent.json", target)
    agent_config.prepare_state(state, settings, moved.append)
    assert list((state / "consul/data").iterdir()) == []
    assert json.loads((state / "consul/agent.json").read_text()) == settings
    assert (victim / "data/precious").exists()


@pytest.mark.parametrize("plant", PLANTS)
def test_files_are_opened_safely(tmp_path, plant):
    """Whatever is in the place of a file: reading ends, and writing and locking make a regular file of their own."""
    victim, place = tmp_path / "victim", tmp_path / "place"
    victim.write_text("precious")
    plant(place, victim)
    plant(tmp_path / ".place.tmp", victim)
    if plant is not plant_hard_link:  # it is a regular file
        with pytest.raises(OSError):
            read_file(place, 100)
    replace_file(place, b"mine", 0o600)
    assert read_file(place, 3) == b"min"
    place.unlink()
    plant(place, victim)
    moved: list[str] = []
    os.write(descriptor := open_own_file(place, moved.append), b"lock")
    os.close(descriptor)
    assert read_file(place, 100) == b"lock"
    assert len(moved) == 1
    assert victim.read_text() == "precious"
    place.unlink()
    plant(place, victim)
    os.close(make_own_directory(place, 0o700, moved.append))
    assert place.is_dir() and not place.is_symlink()


def test_no_temporary_file_remains(tmp_path):
    """A file that cannot be replaced leaves the old content and no temporary file."""
    (tmp_path / "file").write_text("old")
    with pytest.raises(OverflowError):
        replace_file(tmp_path / "file", b"new", 0o600, owner=(1 << 40, 0))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "old"


def test_a_socket_that_nobody_serves_hangs_no_start(tmp_path):
    """A listening socket with a full backlog in the place of the control socket is refused at once."""
    state = tmp_path / "state"
    state.mkdir()
    clients = []
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(state / "autopilot.sock"))
        server.listen(0)
        for _ in range(3):
            client = socket.socket(socket.AF_UNIX)
            client.setblocking(False)
            client.connect_ex(str(state / "autopilot.sock"))
            clients.append(client)
        with SupervisorProcess(tmp_path, ONE_JOB) as pilot:
            assert pilot.wait(TIMEOUT_S) == os.EX_USAGE
            assert "another supervisor answers" in pilot.stderr_text
    for client in clients:
        client.close()


def plant_endless_device(place, _victim):
    place.symlink_to("/dev/zero")


@pytest.mark.parametrize("plant", [*PLANTS, plant_endless_device])
def test_template_destination(tmp_path, plant):
    """Whatever a job puts in the place of a rendered file: it is replaced, and a link's target keeps its content."""
    victim, place = tmp_path / "victim", tmp_path / "place"
    victim.write_text("precious")
    plant(place, victim)
    template = Template(source="source", destination=str(place), mode=0o640)
    assert write_rendered_file(template, b"rendered")
    assert not write_rendered_file(template, b"rendered")
    assert place.read_bytes() == b"rendered" and not place.is_symlink()
    assert victim.read_text() == "precious"
    assert place.stat().st_mode & 0o777 == 0o640
