"""Programs that some tests need: skipped without them, but failed under `CI=true`."""

from __future__ import annotations

import os
import shutil

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
        message = f"{program} is missing: apt-get install {PACKAGES.get(program, program)}"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return path
