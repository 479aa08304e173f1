"""What is built of this project: a source distribution, and from that a wheel, both whole."""

from __future__ import annotations

import email
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.message import Message
from pathlib import Path

import pytest

from tests.support.process import PROJECT_ROOT

PACKAGE = PROJECT_ROOT / "flasknado"
BUILD_TIMEOUT_S = 120


def build(source: Path, target: str, folder: Path) -> Path:
    """Return what the build backend makes of a folder: `sdist` or `wheel`, of the pure form."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", folder],
        cwd=source,
        env={name: text for name, text in os.environ.items() if not name.startswith("HATCH_")},
        check=True,
        capture_output=True,
        timeout=BUILD_TIMEOUT_S,
    )
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked source distribution."""
    folder = tmp_path_factory.mktemp("source")
    with tarfile.open(build(PROJECT_ROOT, "sdist", tmp_path_factory.mktemp("sdist"))) as archive:
        archive.extractall(folder, filter="data")
    (root,) = folder.iterdir()
    return root


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel that the source distribution builds."""
    return zipfile.ZipFile(build(source, "wheel", tmp_path_factory.mktemp("wheel")))


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.ZipFile) -> Message:
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return email.message_from_bytes(wheel.read(name))


def test_wheel_has_every_file_of_the_package_and_no_other(wheel: zipfile.ZipFile) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "flasknado"],
        cwd=PROJECT_ROOT,
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout.splitlines()
    wanted = {name for name in listed if (PROJECT_ROOT / name).exists()}
    assert {"flasknado/py.typed", "flasknado/__main__.py"} < wanted
    assert {name for name in wheel.namelist() if ".dist-info/" not in name} == wanted


def test_wheel_has_the_client_for_browsers_and_its_types(wheel: zipfile.ZipFile) -> None:
    names = {Path(name).name for name in wheel.namelist()}
    assert {"live.js", "live.d.ts"} <= names


def test_metadata_says_who_and_what(metadata: Message) -> None:
    assert metadata["Name"] == "flasknado"
    assert metadata["Author"]
    assert metadata["License-Expression"] == "BSD-3-Clause"
    assert metadata["License-File"] == "LICENSE"
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert str(metadata.get_payload()).startswith("# Flasknado")


def test_plain_installation_brings_no_framework_and_no_database_layer(metadata: Message) -> None:
    requirements = [str(line) for line in metadata.get_all("Requires-Dist") or ()]
    plain = {re.split(r"[^a-z-]", line)[0] for line in requirements if "extra ==" not in line}
    assert plain == {
        "gunicorn",
        "httptools",
        "mypy-extensions",
        "prometheus-client",
        "tornado",
        "uvloop",
    }
    assert set(metadata.get_all("Provides-Extra") or ()) == {"flask", "live", "postgresql"}


def test_source_distribution_can_be_compiled(source: Path) -> None:
    """`make wheel` compiles a source distribution; here, that nothing which it names is missing."""
    project = tomllib.loads((source / "pyproject.toml").read_text())
    hook = project["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["mypyc"]
    assert hook["include"]
    assert [name for name in hook["include"] if not (source / name).is_file()] == []


def test_command_is_the_packages_own(wheel: zipfile.ZipFile) -> None:
    (name,) = (name for name in wheel.namelist() if name.endswith("entry_points.txt"))
    assert "flasknado = flasknado.__main__:main" in wheel.read(name).decode()
