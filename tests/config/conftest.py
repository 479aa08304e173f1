"""Settings are read from a clean environment and a directory of the test's own."""

from __future__ import annotations

from pathlib import Path

import pytest

import config.settings
from config import Settings


@pytest.fixture(autouse=True)
def project_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Unset every variable of ours and put `.env` and `var/` into an empty directory."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(config.settings, "PROJECT_ROOT", tmp_path)
    monkeypatch.setattr(config.settings, "VAR_DIR", tmp_path / "var")
    monkeypatch.setitem(Settings.model_config, "env_file", tmp_path / ".env")
    return tmp_path
