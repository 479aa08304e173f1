"""Python environments with flasknado and one other program, made from requirement files.

`requirements/flasknado.txt` is what `pip install flasknado` brings, and nothing more. An
application's environment has its own packages and, after them on the path, those.
"""

from __future__ import annotations

import fcntl
import hashlib
import subprocess
import sys
import sysconfig
from pathlib import Path

from tests.support.process import PROJECT_ROOT
from tests.support.programs import missing

REQUIREMENTS = Path(__file__).with_name("requirements")
INSTALL_TIMEOUT_S = 480
HOST = "flasknado"
SOURCE_ONLY = {
    "isso": ("isso",),
    "calibre-web": ("flask-principal", "iso-639"),
    "pgadmin": ("flask-principal", "jsonformatter"),
}
"""Packages that have no wheels; they are built with what `requirements/NAME-build.txt` brings."""


class CannotMake(Exception):
    """An environment cannot be made: no network, no installer."""


class Environments:
    """Makes environments in a folder, once for each content of their requirement files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._made: dict[str, Path] = {}
        self._problem = ""

    def python(self, name: str) -> Path:
        """Return the interpreter of an environment; skips the test if it cannot be made."""
        if self._problem:
            missing(self._problem)
        try:
            return self._environment(name) / "bin" / "python"
        except CannotMake as problem:
            self._problem = str(problem)
            missing(self._problem)

    def _environment(self, name: str) -> Path:
        if name not in self._made:
            # Test processes that run side by side share the folder.
            with (self.folder / f"{name}.lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                self._made[name] = self._make(name)
        return self._made[name]

    def _make(self, name: str) -> Path:
        environment = self.folder / f"{name}-{_fingerprint(name)}"
        stamp = environment / "installed"
        if stamp.exists():
            return environment
        _run(sys.executable, "-m", "venv", "--clear", "--without-pip", str(environment))
        packages = _site_packages(environment)
        if name == HOST:
            (packages / HOST).symlink_to(PROJECT_ROOT / HOST)
        else:
            host_packages = _site_packages(self._environment(HOST))
            (packages / f"{HOST}.pth").write_text(f"{host_packages}\n")
        self._install(environment, name)
        stamp.touch()
        return environment

    def _install(self, environment: Path, name: str) -> None:
        pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
        python = str(environment / "bin" / "python")
        # The requirement files name all that is needed.
        install = (*pip, "--python", python, "install", "--quiet", "--no-deps", "--require-hashes")
        options = ["--only-binary", ":all:"]
        if name in SOURCE_ONLY:
            _run(*install, *options, "-r", str(REQUIREMENTS / f"{name}-build.txt"))
            options += ["--no-binary", ",".join(SOURCE_ONLY[name]), "--no-build-isolation"]
        _run(*install, *options, "-r", str(REQUIREMENTS / f"{name}.txt"))


def _fingerprint(name: str) -> str:
    digest = hashlib.sha256(sys.version.encode() + str(PROJECT_ROOT).encode())
    for part in (HOST, f"{name}-build", name):
        path = REQUIREMENTS / f"{part}.txt"
        if path.exists():
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _site_packages(environment: Path) -> Path:
    places = {"base": str(environment), "platbase": str(environment)}
    return Path(sysconfig.get_path("purelib", "venv", vars=places))


def _run(*command: str) -> None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise CannotMake(f"{' '.join(command)} takes more than {INSTALL_TIMEOUT_S} s") from None
    if done.returncode:
        raise CannotMake(f"{' '.join(command)} fails: {done.stderr[-2000:]}")
