"""What development mode (`--debug`) makes of the settings, and which it refuses.

Whoever reaches the debugger can run code as the user of the server, so the server listens on
loopback addresses alone, whatever the settings say.
"""

from __future__ import annotations

import contextlib
import importlib
import os

from gunicorn.config import Config
from gunicorn.util import parse_address

from flasknado.debug.local import is_loopback
from flasknado.errors import ConfigurationError
from flasknado.process import settings
from flasknado.process.configuration import named, problem

WORKER_CLASS = "flasknado.process.debug_worker.DebugWorker"
DEFAULT_PORT = 8000
PRELOADED = ("flask", "werkzeug.debug")
"""What almost every application imports first: so a restart need not."""


def apply(cfg: Config) -> None:
    """Change settings for development; raises `ConfigurationError` for those that forbid it."""
    if getattr(cfg.settings["bind"], "source", None) is None:
        # gunicorn's own default is every address, where PORT is set.
        cfg.set("bind", [f"127.0.0.1:{os.environ.get('PORT') or DEFAULT_PORT}"])
    for address in cfg.bind:
        if not _is_loopback(address):
            raise ConfigurationError(
                f"{named(cfg, 'debug')} serves a debugger that runs code, on loopback addresses "
                f"only, but {named(cfg, 'bind')} is {address}: use 127.0.0.1:{DEFAULT_PORT}, or "
                f"leave {named(cfg, 'debug')} out"
            )
    if os.environ.get("WERKZEUG_DEBUG_PIN") == "off":
        raise ConfigurationError(
            f"{named(cfg, 'debug')} serves a debugger that runs code, but WERKZEUG_DEBUG_PIN is "
            f"off: unset it, or set it to a PIN of your own"
        )
    if cfg.settings["worker_class"].get() != settings.DEFAULTS["worker_class"]:
        raise problem(
            cfg, "worker_class", f"cannot be used with {named(cfg, 'debug')}, which brings its own"
        )
    cfg.set("worker_class", WORKER_CLASS)
    # The debugger's frames are in one process; what the arbiter has loaded would stay as it is.
    for name, value in (("workers", 1), ("preload_app", False), ("reload", False)):
        cfg.set(name, value)
    for module in PRELOADED:
        with contextlib.suppress(ImportError):
            importlib.import_module(module)


def _is_loopback(address: str) -> bool:
    try:
        where = parse_address(address, default_port=str(DEFAULT_PORT))
    except RuntimeError:
        return True  # `check_addresses` says what is wrong with it
    return isinstance(where, tuple) and is_loopback(where[0])
