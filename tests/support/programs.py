"""Programs that some tests need: skipped without them, but failed under `CI=true`."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest

PACKAGES = {
    "apache2": "apache2",
    "chromedriver": "chromium-driver",
    "chromium": "chromium",
    "haproxy": "haproxy",
    "nginx": "nginx-light",
    "pgbouncer": "pgbouncer",
    "postgres": "postgresql",
    "promtool": "prometheus",
}


def need(program: str) -> str:
    """Return the path of a program, or skip the test with the line that installs it."""
    # Debian keeps servers where ordinary users do not look.
    path = shutil.which(program) or shutil.which(program, path="/usr/local/sbin:/usr/sbin")
    if path is None:
        missing(f"{program} is missing: apt-get install {PACKAGES.get(program, program)}")
    return path


def missing(message: str) -> NoReturn:
    """Skip the test because something that it needs cannot be had; fail it under `CI=true`."""
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)
