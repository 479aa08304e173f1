"""What is built of this project: a source distribution, and from that a wheel, both whole."""

from __future__ import annotations

import email
import json
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
import yaml

from tests.support.process import PROJECT_ROOT
from tests.support.programs import need

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
    assert set(metadata.get_all("Provides-Extra") or ()) == {
        "flask",
        "live",
        "postgresql",
        "socketio",
    }


def test_source_distribution_can_be_compiled(source: Path) -> None:
    """`make wheel` compiles a source distribution; here, that nothing which it names is missing."""
    project = tomllib.loads((source / "pyproject.toml").read_text())
    hook = project["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["mypyc"]
    assert hook["include"]
    assert [name for name in hook["include"] if not (source / name).is_file()] == []


def test_wheel_serves_when_nothing_of_the_checkout_is_there(
    wheel: zipfile.ZipFile, tmp_path: Path
) -> None:
    """What cibuildwheel runs on each compiled wheel, on the pure one."""
    wheel.extractall(tmp_path)
    smoke = PROJECT_ROOT / "tests" / "compiled_smoke.py"
    done = subprocess.run(
        [sys.executable, smoke, "--pure"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "pure and served\n"), done.stderr


@pytest.mark.parametrize(
    ("schema", "file"),
    [
        ("vendor.compose-spec", "compose.yaml"),
        ("vendor.github-workflows", ".github/workflows/wheels.yml"),
    ],
)
def test_file_for_another_program_is_one_by_its_schema(schema: str, file: str) -> None:
    command = (sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, file)
    done = subprocess.run(
        command, cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_image_is_no_root_and_gets_the_signals() -> None:
    text = (PROJECT_ROOT / "Dockerfile").read_text().replace("\\\n", "")
    last_stage = text[text.rindex("\nFROM ") :]
    lines = [line.split(None, 1) for line in last_stage.splitlines() if line]
    assert [rest for word, rest in lines if word == "USER"] == ["10001"]
    [command] = [rest for word, rest in lines if word == "CMD"]
    assert json.loads(command) == ["python", "server.py"], "a list: a shell passes no TERM on"
    [check] = [rest for word, rest in lines if word == "HEALTHCHECK"]
    assert json.loads(check.partition(" CMD ")[2])[0] == "python"


def test_image_is_made_of_files_that_are_there_and_not_ignored() -> None:
    allowed = (PROJECT_ROOT / ".dockerignore").read_text().splitlines()
    copied = re.findall(
        r"^COPY (?!--from)(.+) \S+$", (PROJECT_ROOT / "Dockerfile").read_text(), re.M
    )
    names = [name for line in copied for name in line.split()]
    assert {"flasknado", "webapp", "server.py", "pyproject.toml"} <= set(names)
    for name in names:
        assert (PROJECT_ROOT / name).exists(), name
        assert f"!{name.partition('/')[0]}" in allowed, name


def test_container_may_write_where_it_keeps_files_and_only_there() -> None:
    text = (PROJECT_ROOT / "Dockerfile").read_text()
    [uploads] = re.findall(r" UPLOAD_DIR=(\S+)$", text, re.M)
    [volume] = re.findall(r"^VOLUME (\S+)$", text, re.M)
    assert uploads.startswith(f"{volume}/"), "by default they are in the checkout"
    assert re.search(rf"install --directory --owner 10001 --mode 0700 {volume}$", text, re.M)
    app = yaml.safe_load((PROJECT_ROOT / "compose.yaml").read_text())["services"]["app"]
    assert app["read_only"] is True
    assert [mount.partition(":")[2] for mount in app["volumes"]] == [volume]


def test_nginx_takes_what_the_compose_file_has_for_it(tmp_path: Path) -> None:
    compose = yaml.safe_load((PROJECT_ROOT / "compose.yaml").read_text())
    text = compose["configs"]["nginx"]["content"]
    assert "$" not in text.replace("$$", ""), "compose would look for a variable"
    text = text.replace("$$", "$").replace("app:8000", "127.0.0.1:8000")
    text = text.replace("listen 80", f"listen unix:{tmp_path}/listen")
    whole = tmp_path / "nginx.conf"
    whole.write_text(f"pid {tmp_path}/pid;\nevents {{}}\nhttp {{\naccess_log off;\n{text}}}\n")
    done = subprocess.run(
        [need("nginx"), "-t", "-e", "stderr", "-c", whole],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "test is successful" in done.stderr, done.stderr


def test_command_is_the_packages_own(wheel: zipfile.ZipFile) -> None:
    (name,) = (name for name in wheel.namelist() if name.endswith("entry_points.txt"))
    assert "flasknado = flasknado.__main__:main" in wheel.read(name).decode()
