"""The versions that are allowed: `make test-lowest` runs on the floors, and each is a real one."""

from __future__ import annotations

import re
import tomllib

from packaging.requirements import Requirement
from packaging.version import Version

from flasknado import exports
from tests.support.process import PROJECT_ROOT

PROJECT = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
LISTED = [*PROJECT["dependencies"], *(item for items in EXTRAS.values() for item in items)]
DEPENDENCIES = {r.name: r for r in map(Requirement, LISTED) if r.name != PROJECT["name"]}
PINNED = re.compile(r"^([a-z0-9-]+)==(\S+)", re.MULTILINE)
PRIVATE_NAMES_ARE_USED_OF = ("gunicorn", "tornado")


def pins(name: str) -> dict[str, Version]:
    text = (PROJECT_ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8")
    return {package: Version(version) for package, version in PINNED.findall(text)}


def test_lowest_versions_are_the_floors_of_the_package() -> None:
    floors = {
        name: Version(specifier.version)
        for name, requirement in DEPENDENCIES.items()
        for specifier in requirement.specifier
        if specifier.operator == ">="
    }

    assert floors.keys() == DEPENDENCIES.keys()
    assert {name: pins("lowest")[name] for name in floors} == floors, "run: make lock"


def test_versions_that_are_served_with_are_allowed() -> None:
    pinned = pins("dev") | pins("runtime")
    for name, requirement in DEPENDENCIES.items():
        assert requirement.specifier.contains(pinned[name]), name


def test_next_major_version_is_not_allowed_where_private_names_are_used() -> None:
    for name in PRIVATE_NAMES_ARE_USED_OF:
        following = Version(str(pins("runtime")[name].major + 1))
        assert not DEPENDENCIES[name].specifier.contains(following), name


def test_extra_that_a_message_names_brings_the_package() -> None:
    brought = {r.name.replace("-", "_") for r in map(Requirement, EXTRAS["live"] + EXTRAS["flask"])}
    assert "flasknado[flask]" in EXTRAS["live"]
    assert set(exports.EXTRAS) - {"werkzeug"} <= brought  # which Flask brings
    assert set(exports.EXTRAS.values()) <= EXTRAS.keys()


def test_no_file_of_requirements_names_an_index() -> None:
    files = [
        *PROJECT_ROOT.glob("requirements/*"),
        *PROJECT_ROOT.glob("tests/javascript/package*.json"),
    ]
    for path in files:
        text = path.read_text(encoding="utf-8")
        assert "--index-url" not in text, path
        assert '"resolved"' not in text, path
