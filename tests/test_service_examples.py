"""Recipes and pages of the examples of services agree with their files and with the tree that their tests run on."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lab.service_hosts import SERVICE_PACKAGES

EXAMPLES = Path(__file__).parents[1] / "examples"
FOLDERS = [EXAMPLES / name for name in ("database", "vo-box", "web-service")]
# Debian's minimal set, of which the lab's tree is made, has these
ALWAYS_THERE = {"bsdutils", "hostname"}

pytestmark = pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)


def read_recipe(folder: Path) -> str:
    """The recipe of the image, with its continued lines joined."""
    return (folder / "Dockerfile").read_text().replace("\\\n", " ")


def list_own_files(folder: Path) -> set[str]:
    """The names of the files that belong into the image."""
    return {path.name for path in folder.iterdir()} - {"Dockerfile", "README.md"}


def test_recipe_copies_every_file(folder: Path) -> None:
    """The image gets each file of the folder, and no other but the wheelhouse."""
    copied = [
        word for line in re.findall(r"(?m)^COPY (?!--from)(.*) \S+$", read_recipe(folder)) for word in line.split()
    ]
    names = {word for word in copied if not word.startswith("--")} - {"worker-node/wheelhouse"}
    assert names == {f"{folder.name}/{name}" for name in list_own_files(folder)}


def test_packages_are_those_of_the_lab(folder: Path) -> None:
    """The end-to-end tests run the packages that the recipe installs."""
    lists = re.findall(r"apt-get install --yes --no-install-recommends ([^&]*)", read_recipe(folder))
    packages = {package for words in lists for package in words.split()}
    assert packages
    assert packages - ALWAYS_THERE <= set(SERVICE_PACKAGES)


def test_page_names_every_file_and_variable(folder: Path) -> None:
    """The README tells of each file, and of each environment variable that a job spec or a script reads."""
    page = (folder / "README.md").read_text()
    names = {name for name in list_own_files(folder) if f"`{name}`" not in page}
    variables = {
        name for spec in folder.glob("*.json5") for name in re.findall(r"{{ (?:if )?\.(\w+)", spec.read_text())
    }
    assert not names
    assert {name for name in variables if f"`{name}`" not in page} == set()
