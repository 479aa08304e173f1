"""Programs that some tests need: skipped without them, but failed under `CI=true`."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest

PACKAGES = {
    "chromedriver": "chromium-driver",
    "chromium": "chromium",
    "nginx": "nginx-light",
    "postgres": "postgresql",
}


def need(program: str) -> str:
    """Return the path of a program, or skip the test with the line that installs it."""
    path = shutil.which(program)
    if path is None:
        missing(f"{program} is missing: apt-get install {PACKAGES.get(program, program)}")
    return path


def missing(message: str) -> NoReturn:
    """Skip the test because something that it needs cannot be had; fail it under `CI=true`."""
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)
