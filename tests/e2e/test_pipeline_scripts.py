"""The scripts of examples/ci: the same for both CI servers, and each refuses wrong input with its remedy."""

from __future__ import annotations

import base64
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from autopilot_watchdog.config.canary_slots import format_canary_image
from autopilot_watchdog.config.config_reader import load_config
from autopilot_watchdog.sentence_parts import MAX_OUTPUT_CHARS

from lab.registry_server import Registry, start_registry
from tests.e2e.site_repository import EXAMPLES, GIT_IDENTITY, JOB_NAME, MAIN_BRANCH, choose_variables

FOLDER = EXAMPLES / "ci"
SCRIPTS = sorted(path for path in (FOLDER / "ci").iterdir() if path.is_file() and not path.suffix)
DIGEST, OTHER_DIGEST = f"sha256:{'a' * 64}", f"sha256:{'b' * 64}"
PATH = f"{Path(sys.executable).parent}:{os.environ['PATH']}"


def load_module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, FOLDER / "ci" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read_gitlab_document() -> dict[str, Any]:
    return dict(yaml.safe_load((FOLDER / ".gitlab-ci.yml").read_text()))


def read_github_job() -> dict[str, Any]:
    document = yaml.safe_load((FOLDER / ".github" / "workflows" / "worker.yml").read_text())
    return dict(document["jobs"][JOB_NAME])


def test_both_servers_run_the_same_commands() -> None:
    """GitLab's job, GitHub's job and the README have the same commands in the same order, and every script is there."""
    commands = read_gitlab_document()[JOB_NAME]["script"]
    github = [step.get("run", "") for step in read_github_job()["steps"]]
    assert commands == [command for command in github if command.startswith("ci/")]
    assert {FOLDER / command.split()[0] for command in commands} <= set(SCRIPTS)
    assert " && ".join(commands).replace('"$CHANNEL"', "canary") in (FOLDER / "README.md").read_text()


def test_both_servers_prepare_the_same() -> None:
    """GitLab's job, GitHub's job and the README install the same packages, and the jobs log in alike."""
    gitlab = read_gitlab_document()[JOB_NAME]["before_script"]
    github = "\n".join(step.get("run", "") for step in read_github_job()["steps"])
    for program in ("pip install", "printf '%s'"):
        (line,) = [line for line in gitlab if line.startswith(program)]
        assert line in github
        assert line in (FOLDER / "README.md").read_text() or program != "pip install"


@pytest.mark.parametrize(("branch", "channel"), [(MAIN_BRANCH, "stable"), ("longer-lives", "canary")])
def test_channel_of_a_branch(branch: str, channel: str) -> None:
    """On both servers the main branch moves `stable`, and any other branch moves `canary`."""
    assert choose_variables(read_gitlab_document(), branch)["CHANNEL"] == channel
    found = re.fullmatch(r"\$\{\{ (\S+) == (\S+) && '(\w+)' \|\| '(\w+)' }}", read_github_job()["env"]["CHANNEL"])
    assert found is not None
    name, main_name, if_equal, otherwise = found.groups()
    assert (name, main_name) == ("github.ref_name", "github.event.repository.default_branch")
    assert (if_equal if branch == MAIN_BRANCH else otherwise) == channel


def test_pipelines_of_a_channel_wait_for_each_other() -> None:
    """GitHub cancels a waiting run only for a later one of the same channel."""
    document = yaml.safe_load((FOLDER / ".github" / "workflows" / "worker.yml").read_text())
    assert document["concurrency"]["group"] == f"worker-image-{read_github_job()['env']['CHANNEL']}"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_script_is_sound(script: Path) -> None:
    """A script can be started, is right for a POSIX shell, and the README tells of it."""
    assert os.access(script, os.X_OK)
    assert script.read_text().startswith("#!/bin/sh\n")
    assert subprocess.run(["sh", "-n", script], check=False).returncode == 0
    assert f"`ci/{script.name}" in (FOLDER / "README.md").read_text()


def test_readme_names_every_variable() -> None:
    """The README tells of each variable that a script takes from the CI."""
    texts = [path.read_text() for path in [*SCRIPTS, FOLDER / "ci" / "settings.sh"]]
    texts += [(FOLDER / ".github" / "workflows" / "worker.yml").read_text(), (FOLDER / ".gitlab-ci.yml").read_text()]
    patterns = (r"\$\{([A-Z][A-Z_]+):?-", r"require_variable ([A-Z_]+)", r"(?:secrets|vars)\.([A-Z_]+)")
    used = {name for text in texts for pattern in patterns for name in re.findall(pattern, text)}
    readme = (FOLDER / "README.md").read_text()
    assert "SIGNING_KEY_FILE" in used
    assert sorted(name for name in used if f"`{name}`" not in readme) == ["AUTOPILOT_IMAGE"]  # the watchdog's


def test_sbom_is_valid_and_repeatable() -> None:
    """Equal packages give one document, which CycloneDX's own schema accepts; another version gives another number."""
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    write_sbom = load_module("write_sbom")
    packages = [
        {"type": "deb", "name": "libc++", "version": "1:2.0~rc1+b2", "architecture": "amd64"},
        {"type": "pypi", "name": "Jinja2", "version": "3.1.6", "architecture": ""},
    ]
    text = write_sbom.format_sbom(packages, "1")
    assert text == write_sbom.format_sbom(list(reversed(packages)), "1")
    assert JsonStrictValidator(SchemaVersion.V1_5).validate_str(text) is None
    numbers = {json.loads(write_sbom.format_sbom(packages, version))["serialNumber"] for version in "112"}
    assert len(numbers) == 2


def test_slot_of_the_readme(tmp_path: Path) -> None:
    """The slot group that the README shows is a right one for the watchdog."""
    block = (FOLDER / "README.md").read_text().split("```json\n")[1].split("```")[0]
    (tmp_path / "config.json").write_text(
        json.dumps({"slots": [json.loads(block.replace("REGISTRY/PATH", "r.example.org/site/w"))]})
    )
    group = load_config(tmp_path / "config.json").slots[0]
    assert group.verify is not None and group.verify.exec[-1] == "{image}"
    assert format_canary_image(group) == "r.example.org/site/w:canary"


# --- a repository without an engine ---


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with one commit of everything the scripts look at."""
    subprocess.run(["cp", "-r", f"{FOLDER}/.", tmp_path], check=True)
    spec = (EXAMPLES / "worker-node" / "autopilot.json5").read_text()
    (tmp_path / "autopilot.json5").write_text(spec)
    (tmp_path / "base-digest").write_text(f"{DIGEST}\n")
    (tmp_path / "requirements.txt").write_text("")
    run_in(tmp_path, "git init --quiet --initial-branch=main . && git add --all && git commit --quiet --message One")
    return tmp_path


def run_in(folder: Path, command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-c", command],
        cwd=folder,
        env={**os.environ, **GIT_IDENTITY, "PATH": PATH, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.real("git")
@pytest.mark.parametrize(
    ("trailer", "urgency"),
    [("", ""), ("Urgency: now", "now"), ("Urgency: 2026-12-01", "2026-12-01"), ("Urgency: 2026-12-01T12:00Z",) * 2],
)
def test_urgency_of_the_commit(repository: Path, trailer: str, urgency: str) -> None:
    """The urgency is that of the last commit that changed the image; later commits of other files do not count."""
    run_in(repository, "echo '// a change' >>autopilot.json5")
    run_in(repository, f"git commit --quiet --all --message Change --message '{trailer}'")
    run_in(repository, "git commit --quiet --allow-empty --message Other --message 'Urgency: 2027-01-01'")
    assert run_in(repository, "ci/urgency").stdout.strip() == urgency.removeprefix("Urgency: ")


@pytest.mark.real("git")
@pytest.mark.parametrize(
    "value",
    ["soon", "2026-13", "now please", "1 December", "2026-13-45", "2026-02-30", "2026-12-01T25:00Z", "0000-01-01"],
)
def test_wrong_urgency(repository: Path, value: str) -> None:
    """An urgency that hosts would ignore is refused before the build."""
    run_in(repository, f"echo >>autopilot.json5; git commit --quiet --all --message A --message 'Urgency: {value}'")
    done = run_in(repository, "ci/urgency")
    assert done.returncode == 1 and f'such as 2026-12-01T12:00Z, not "{value}"' in done.stderr


@pytest.mark.real("git")
@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("true", ""),
        ("sed -i s/interval:/intervall:/ autopilot.json5", "intervall"),
        ("echo 'at 1m payloads 1.0' >life", "the simulated life does not end with exit 0"),
        ("echo 'at noon payloads' >life", "cannot simulate the file life"),
        ("echo sha256:abc >base-digest", "the digest that ci/build-base wrote"),
        ("export STOP_BUDGET=1s", "cannot fit into a stop budget of 1 s"),
    ],
)
def test_lint(repository: Path, change: str, sentence: str) -> None:
    """The lint accepts the example, and names each mistake."""
    done = run_in(repository, f"{change}; ci/lint")
    assert (done.returncode == 0) == (not sentence), done.stdout + done.stderr
    assert sentence in done.stdout + done.stderr


def test_scripts_need_their_folder(tmp_path: Path) -> None:
    """A script that is started elsewhere tells where to start it."""
    (tmp_path / "ci").symlink_to(FOLDER / "ci")
    done = run_in(tmp_path, "ci/lint")
    assert done.returncode == 1 and "in the top folder of the repository, as ci/lint" in done.stderr


@pytest.mark.real("git", "podman", "skopeo")
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("echo >>Dockerfile", "not committed"),
        ("git clone --quiet --depth 1 file://$PWD shallow && cd shallow", "the clone is shallow"),
        ("unset IMAGE", "the variable IMAGE is not set"),
    ],
)
def test_build_refuses(repository: Path, change: str, sentence: str) -> None:
    """Only committed files with their history are built."""
    done = run_in(repository, f"{change}; ci/build", IMAGE="localhost:1/site/worker")
    assert done.returncode == 1 and sentence in done.stderr, done.stderr


def write_tool(folder: Path, name: str, body: str) -> None:
    """Write a program of the test, which takes the place of a real one for scripts with PATH=tools:..."""
    (folder / "tools").mkdir(exist_ok=True)
    (folder / "tools" / name).write_text(f"#!/bin/sh\n{body}\n")
    (folder / "tools" / name).chmod(0o755)


@pytest.mark.real("git")
def test_failed_build_leaves_no_results(repository: Path) -> None:
    """A build removes the results of the former one first: no later step can take the SBOM of another image."""
    results = [repository / "out" / name for name in ("digest", "released", "packages.json", "sbom.json")]
    (repository / "out").mkdir()
    for path in results:
        path.write_text("of the former image")
    assert run_in(repository, "unset IMAGE; ci/build").returncode == 1
    assert [path.name for path in results if path.exists()] == []


@pytest.mark.real("git")
def test_failed_sbom_leaves_no_file(repository: Path) -> None:
    """An SBOM that cannot be written leaves nothing that could be signed."""
    write_tool(repository, "podman", "echo 'no JSON'")
    (repository / "out").mkdir()
    (repository / "out" / "version").write_text("1\n")
    done = run_in(repository, "ci/sbom", PATH=f"{repository}/tools:{PATH}")
    assert done.returncode == 1 and "cannot write the SBOM" in done.stderr
    assert not (repository / "out" / "sbom.json").exists()


@pytest.mark.real("git")
def test_pool_patience_bounds_the_job(repository: Path) -> None:
    """The job of the pool test gets the limit that the site has set for each step."""
    write_tool(repository, "podman", 'echo "$*" >>calls; echo 0')
    (repository / "out" / "bindings").mkdir(parents=True)
    variables = {"IMAGE": "r.example.org/site/w", "POOL_PATIENCE": "1234", "PATH": f"{repository}/tools:{PATH}"}
    done = run_in(repository, "ci/test-on-pool", **variables)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^exec .* python3 /pool/run_payload.py 1234$", (repository / "calls").read_text(), re.MULTILINE)


def test_job_that_does_not_end(tmp_path: Path) -> None:
    """The pool test's job is given up after the seconds of its argument."""
    (tmp_path / "htcondor2.py").write_text(
        "from unittest.mock import MagicMock\n"
        "JobEventType, Submit, Schedd, JobEventLog = MagicMock(), MagicMock(), MagicMock(), MagicMock()\n"
        "JobEventLog.return_value.events = lambda stop_after: print('limit', stop_after) or []\n"
    )
    done = run_in(tmp_path, f"python3 {FOLDER}/ci/pool/run_payload.py 7", PYTHONPATH=str(tmp_path))
    assert done.returncode == 1 and done.stdout == "limit 7\n" and "has not ended within 7 s" in done.stderr


@pytest.fixture
def pushed(repository: Path) -> Path:
    """A clone whose main branch is pushed; stand-ins of the hook and of skopeo accept its image and tell the tag."""
    write_tool(repository, "skopeo", 'echo "$*"')
    (repository / "ci" / "verify-image").write_text("#!/bin/sh\n")
    (repository / "out").mkdir()
    (repository / "out" / "digest").write_text(f"{DIGEST}\n")
    for command in (
        "git commit --quiet --all --message Accept",
        "git commit --quiet --allow-empty --message Newer",
        "git clone --quiet --bare . out/origin.git",
        "git remote add origin out/origin.git",
    ):
        assert run_in(repository, command).returncode == 0
    return repository


@pytest.mark.real("git")
@pytest.mark.parametrize(
    ("change", "channel", "sentence"),
    [
        ("true", "stable", ""),
        ("true", "canary", ""),
        ("git checkout --quiet --detach", "stable", ""),  # as GitLab does
        ("git push --quiet origin HEAD:other && git checkout --quiet HEAD~", "canary", "is not the tip"),
        ("git push --quiet origin HEAD~:refs/heads/old && git checkout --quiet HEAD~", "canary", ""),
        ("git push --quiet origin HEAD~:refs/heads/old && git checkout --quiet HEAD~", "stable", "is not the tip"),
        ("git commit --quiet --allow-empty --message A && git push --quiet origin HEAD:next", "canary", ""),
        (
            "git commit --quiet --allow-empty --message A && git push --quiet origin HEAD:next",
            "stable",
            "is not the tip",
        ),
        ("git remote set-url origin missing", "stable", "cannot ask origin"),
    ],
)
def test_tag_moves_for_the_last_push_only(pushed: Path, change: str, channel: str, sentence: str) -> None:
    """The tip of the main branch moves `stable`, that of any branch `canary`: an older pipeline moves neither."""
    done = run_in(
        pushed, f"{change} && ci/move-tag {channel}", IMAGE="r.example.org/site/w", PATH=f"{pushed}/tools:{PATH}"
    )
    assert (done.returncode == 0) == (not sentence), done.stderr
    assert sentence in done.stderr
    assert (f"docker://r.example.org/site/w:{channel}" in done.stdout) == (not sentence)


# --- signatures ---


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Registry]]:
    """A registry, and a folder with two pairs of keys."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("ours", "theirs"):
        run_in(folder, f"openssl ecparam -name prime256v1 -genkey -noout -out {name}.key")
        run_in(folder, f"openssl ec -in {name}.key -pubout -out {name}.pub")
    with start_registry() as registry:
        yield folder, registry


def format_signed_text(digest: str) -> bytes:
    return json.dumps({"critical": {"image": {"docker-manifest-digest": digest}}}).encode()


@pytest.mark.parametrize(
    ("trouble", "sentence"),
    [
        ("rm tools/openssl", "no program openssl"),
        ("rm tools/python3", "no program python3"),
        ("rm tools/skopeo", "no program skopeo"),
        ("export TMPDIR=$PWD/missing", "cannot make a folder"),
        ("echo 'exit 1' >>tools/openssl", "is no public key"),
        ("rm tools/key", "cannot read the public key"),
        ("export PYTHONHOME=/missing", "cannot check the signature"),
        ("true", "cannot check the signature"),  # skopeo has left no file
    ],
)
def test_verification_on_a_broken_host(tmp_path: Path, trouble: str, sentence: str) -> None:
    """A host that lacks something says nothing against an image: the exit code tells that it cannot tell."""
    for name in ("openssl", "skopeo", "key"):
        write_tool(tmp_path, name, "")
    write_tool(tmp_path, "python3", f'exec {sys.executable} "$@"')
    for name in ("sh", "mktemp", "rm", "tail", "grep"):
        (tmp_path / "tools" / name).symlink_to(str(shutil.which(name)))
    command = f"{trouble}; {FOLDER}/ci/verify-image r.example.org/site/w@{DIGEST}"
    done = run_in(tmp_path, command, PATH=f"{tmp_path}/tools", SIGNING_PUBLIC_KEY=f"{tmp_path}/tools/key")
    assert done.returncode == os.EX_TEMPFAIL, done.stderr
    assert sentence in done.stderr[-MAX_OUTPUT_CHARS:]


@pytest.mark.real("registry", "skopeo", "openssl")
@pytest.mark.parametrize(
    ("name", "text", "key", "is_accepted"),
    [
        ("good", format_signed_text(DIGEST), "ours", True),
        ("other-key", format_signed_text(DIGEST), "theirs", False),
        ("other-image", format_signed_text(OTHER_DIGEST), "ours", False),
        ("no-json", b"not JSON", "ours", False),
        ("other-json", b'{"critical": 1}', "ours", False),
        ("no-key", format_signed_text(DIGEST), "", False),
    ],
)
def test_verification(signed: tuple[Path, Registry], name: str, text: bytes, key: str, is_accepted: bool) -> None:
    """Only a text that names this very digest, signed by our key, makes an image acceptable."""
    folder, registry = signed
    (folder / f"{name}.text").write_bytes(text)
    signature = b"garbage"
    if key:
        run_in(folder, f"openssl dgst -sha256 -sign {key}.key -out {name}.signature {name}.text")
        signature = (folder / f"{name}.signature").read_bytes()
    annotation = {"dev.cosignproject.cosign/signature": base64.b64encode(signature).decode()}
    layout = folder / f"{name}.layout"
    load_module("write_artifact").write_layout(layout, "application/json", text, annotation)
    image = f"{registry.address}/site/{name}"
    tag = DIGEST.replace(":", "-")
    copy = f"skopeo --insecure-policy copy --dest-tls-verify=false oci:{layout}:artifact docker://{image}:{tag}.sig"
    assert run_in(folder, copy).returncode == 0
    done = verify(folder, registry, f"{image}@{DIGEST}")
    assert (done.returncode == 0) == is_accepted, done.stderr
    assert is_accepted or "is by the key" in done.stderr


@pytest.mark.real("registry", "skopeo", "openssl")
@pytest.mark.parametrize(
    ("reference", "sentence"),
    [
        (f"unsigned@{DIGEST}", "has no signature"),
        ("unsigned:stable", "the image must be REPOSITORY@sha256:HEX"),
        (f"unsigned@{DIGEST}\n{DIGEST}", "the image must be REPOSITORY@sha256:HEX"),
    ],
)
def test_verification_without_signature(signed: tuple[Path, Registry], reference: str, sentence: str) -> None:
    """An image without a signature, and a name without a digest, are refused, with the reason at the end."""
    folder, registry = signed
    done = verify(folder, registry, f"{registry.address}/site/{reference}")
    assert done.returncode == 1 and sentence in done.stderr[-MAX_OUTPUT_CHARS:]


@pytest.mark.real("registry", "skopeo", "openssl")
def test_verification_without_registry(signed: tuple[Path, Registry]) -> None:
    """A silent registry says nothing against the image: the hook's exit code tells that it cannot tell."""
    folder, registry = signed
    done = verify(folder, registry, f"127.0.0.1:1/site/unknown@{DIGEST}")
    assert done.returncode == os.EX_TEMPFAIL and "cannot be read" in done.stderr[-MAX_OUTPUT_CHARS:]


def verify(folder: Path, registry: Registry, image: str) -> subprocess.CompletedProcess[str]:
    (folder / "registries.conf").write_text(f'[[registry]]\nlocation = "{registry.address}"\ninsecure = true\n')
    return run_in(
        folder,
        f"{FOLDER}/ci/verify-image",
        AUTOPILOT_IMAGE=image,
        SIGNING_PUBLIC_KEY=str(folder / "ours.pub"),
        SKOPEO_OPTIONS=f"--registries-conf {folder}/registries.conf",
    )
