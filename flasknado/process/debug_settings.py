"""What development mode (`--debug`) makes of the settings, and which it refuses.

Whoever reaches the debugger can run code as the user of the server, so the server listens on
loopback addresses alone, whatever the settings say.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
from collections.abc import Callable
from typing import Any

from gunicorn.config import Config
from gunicorn.util import parse_address

from flasknado.debug.files import loaded_sources
from flasknado.debug.local import is_loopback
from flasknado.errors import ConfigurationError
from flasknado.ops.bind import ARBITER_VARIABLE
from flasknado.process import settings
from flasknado.process.configuration import named, problem

WORKER_CLASS = "flasknado.process.debug_worker.DebugWorker"
DEFAULT_PORT = 8000
LOADED: set[str] = set()
"""The files of modules that the arbiter has loaded, and every worker has from it as they were."""

PRELOADED = ("flask", "werkzeug.debug", "flask_sqlalchemy", "flask_migrate")
"""What takes long to import, where it is installed: the arbiter has it, and a restart need not."""


def apply(cfg: Config) -> None:
    """Change settings for development; raises `ConfigurationError` for those that forbid it."""
    if named(cfg, "debug").startswith("debug in "):
        # Where old versions of gunicorn had a setting of this name, which did little.
        raise ConfigurationError(
            f"{named(cfg, 'debug')} would make every start one of development: remove it, and use "
            f"--debug"
        )
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
    LOADED.update(loaded_sources())
    cfg.set("on_reload", _after(cfg.on_reload))
    # The debugger's frames are in one process; what the arbiter has loaded would stay as it is.
    for name, value in (("workers", 1), ("preload_app", False), ("reload", False)):
        cfg.set(name, value)
    for module in PRELOADED:
        with contextlib.suppress(ImportError):
            importlib.import_module(module)


def _after(hook: Callable[[Any], None]) -> Callable[[Any], None]:
    def on_reload(arbiter: Any) -> None:
        """Begin anew in this process, with the sockets that it listens on.

        Its worker goes on until its requests are answered, and is the child of the same process.
        """
        hook(arbiter)
        for pid in list(arbiter.WORKERS):
            arbiter.kill_worker(pid, signal.SIGTERM)
        descriptors = ",".join(str(listening.fileno()) for listening in arbiter.LISTENERS)
        # gunicorn takes over from itself so (USR2).
        inherited = {ARBITER_VARIABLE: str(os.getpid()), "GUNICORN_FD": descriptors}
        os.chdir(arbiter.START_CTX["cwd"])
        os.execvpe(
            arbiter.START_CTX[0], arbiter.START_CTX["args"], arbiter.cfg.env_orig | inherited
        )

    return on_reload


def _is_loopback(address: str) -> bool:
    try:
        where = parse_address(address, default_port=str(DEFAULT_PORT))
    except RuntimeError:
        return True  # `check_addresses` says what is wrong with it
    return isinstance(where, tuple) and is_loopback(where[0])
