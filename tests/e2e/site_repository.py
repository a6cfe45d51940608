"""Set up a site's repository as examples/ci/README.md says, and run its pipeline as a CI server does."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from lab import wheelhouse

EXAMPLES = wheelhouse.REPO / "examples"
JOB_NAME = "worker-image"
MAIN_BRANCH = "main"
COMMAND_LIMIT_S = 600.0
GIT_IDENTITY = {
    f"GIT_{role}_{key}": value
    for role in ("AUTHOR", "COMMITTER")
    for key, value in (("NAME", "A Site"), ("EMAIL", "site@example.org"))
} | {"GIT_CONFIG_GLOBAL": "/dev/null"}


class StepFailedError(Exception):
    """A command of the pipeline ended with another exit code than 0; its output is the message."""


@dataclass
class SiteRepository:
    """A bare repository, as a forge has it, and a working copy of the site's admin."""

    folder: Path
    variables: Mapping[str, str]  # of the CI: registry, keys
    runs: list[Path] = field(default_factory=list)

    @property
    def origin(self) -> Path:
        """Bare repository to which the admin pushes."""
        return self.folder / "origin.git"

    @property
    def copy(self) -> Path:
        """Working copy of the admin."""
        return self.folder / "admin"

    def create(self, spec: str) -> None:
        """Copy the example and the worker's job spec into a new repository; nothing is committed yet."""
        subprocess.run(["git", "init", "--quiet", "--bare", f"--initial-branch={MAIN_BRANCH}", self.origin], check=True)
        subprocess.run(["git", "clone", "--quiet", self.origin, self.copy], check=True, capture_output=True)
        self.run_git("switch", "--quiet", "--create", MAIN_BRANCH)
        shutil.copytree(EXAMPLES / "ci", self.copy, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        (self.copy / "autopilot.json5").write_text(spec)
        (self.copy / "wheels").mkdir()
        wheelhouse.build_project_wheel(self.copy / "wheels")

    def run_git(self, *words: str) -> str:
        """Run git in the working copy and return its output."""
        return self._run(["git", *words], self.copy)

    def commit(self, message: str) -> str:
        """Commit everything and push the branch; return the commit's id."""
        self.run_git("add", "--all")
        self.run_git("commit", "--quiet", "--message", message)
        self.run_git("push", "--quiet", "--set-upstream", "origin", "HEAD")
        return self.run_git("rev-parse", "HEAD").strip()

    def edit_spec(self, change: Callable[[str], str]) -> None:
        """Change the job spec in the working copy."""
        path = self.copy / "autopilot.json5"
        text = path.read_text()
        changed = change(text)
        assert changed != text, "the edit must change the job spec"
        path.write_text(changed)

    def checkout_for_ci(self, branch: str) -> Path:
        """Clone a branch as a runner does, into a folder of its own."""
        clone = self.folder / f"run{len(self.runs)}"
        self.runs.append(clone)
        self._run(["git", "clone", "--quiet", "--branch", branch, str(self.origin), str(clone)], self.folder)
        return clone

    def run_pipeline(self, branch: str, extra: Mapping[str, str] | None = None) -> str:
        """Run the commands of .gitlab-ci.yml for a branch, and return their output.

        Args:
            branch: the branch that was pushed.
            extra: further variables of this run.

        Raises:
            StepFailedError: a command failed; those after it did not run.
        """
        clone = self.checkout_for_ci(branch)
        document = yaml.safe_load((clone / ".gitlab-ci.yml").read_text())
        variables = choose_variables(document, branch)
        job = document[JOB_NAME]
        output = ""
        for line in [*job["before_script"], *job["script"]]:
            if not re.search(r"\b(venv|pip)\b", line):  # the tools are those of the test's own environment
                output += self.run_step(clone, line, {**variables, **(extra or {})})
        return output

    def run_step(self, clone: Path, command: str, variables: Mapping[str, str] | None = None) -> str:
        """Run one line of the pipeline in a clone and return its output.

        Raises:
            StepFailedError: its exit code is not 0.
        """
        return self._run(["sh", "-euc", command], clone, variables)

    def _run(self, argv: list[str], place: Path, variables: Mapping[str, str] | None = None) -> str:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        environment = {**os.environ, **GIT_IDENTITY, **(variables or {}), **self.variables, "PATH": path}
        begin = time.monotonic()
        done = subprocess.run(
            argv,
            cwd=place,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            check=False,
            timeout=COMMAND_LIMIT_S,
        )
        print(f"{time.monotonic() - begin:5.1f} s  {' '.join(argv)[:100]}")
        if done.returncode != 0:
            raise StepFailedError(f"{' '.join(argv)} ended with {done.returncode}\n{done.stdout}")
        return done.stdout


def choose_variables(document: Mapping[str, Any], branch: str) -> dict[str, str]:
    """Return the variables of a run of GitLab's document for a branch: those of the first rule that is met, too."""
    variables = {"CI_COMMIT_BRANCH": branch, "CI_DEFAULT_BRANCH": MAIN_BRANCH, **document["variables"]}
    for rule in document["workflow"]["rules"]:
        if is_rule_met(rule["if"], variables):
            return variables | rule["variables"]
    return variables


def is_rule_met(condition: str, variables: Mapping[str, str]) -> bool:
    """Return the value of a rule of GitLab: `$A`, or `$A == $B`."""
    values = [variables.get(name, "") for name in re.findall(r"\$(\w+)", condition)]
    return values[0] == values[1] if "==" in condition else bool(values[0])
