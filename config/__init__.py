"""Typed settings for both halves of the bundled application, from the environment and `.env`.

    settings = load_settings()   # raises SettingsError, one sentence for each bad value

This package imports nothing else of the project, so that anything may import it.
"""

from config.errors import SettingsError
from config.settings import PROJECT_ROOT, VAR_DIR, Settings, load_settings

__all__ = ["PROJECT_ROOT", "VAR_DIR", "Settings", "SettingsError", "load_settings"]
