"""What the files of a deployment say of an application, by its command line."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flasknado.errors import ConfigurationError
from flasknado.http.body_limits import BodyLimits, split_rule
from flasknado.process import settings
from flasknado.process.build import import_application, import_routes, static_folders
from flasknado.process.validators import OF_THE_APPLICATION

PROXY_FIELDS = "proto,for,host,request-id"
"""What nginx as written here sets on every request."""

EXIT_MARGIN_S = 10
"""How much longer than the arbiter, which kills late workers, the file's supervisor waits."""

LEAST_WATCHDOG_S = 30

OPS_PORT = 9100

_NOT_OF_A_NAME = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True)
class Site:
    """An application, its settings, and where it lies."""

    application: str
    """`MODULE:APP`, as on the command line."""
    options: tuple[str, ...]
    """The other options of the command line, without `--bind`."""
    binds: tuple[str, ...]
    """The addresses that `--bind` names; none if it is left out."""
    folder: Path
    cfg: Any
    domain: str
    image_name: str

    @property
    def name(self) -> str:
        """What services, sockets and files are called: `shop` for `shop:app`."""
        module = self.application.partition(":")[0]
        return _NOT_OF_A_NAME.sub("-", module.lower()).strip("-") or "site"

    @property
    def image(self) -> str:
        return self.image_name or f"{self.name}:latest"

    @property
    def socket(self) -> str:
        """The Unix socket between nginx and the server, where `--bind` does not name another."""
        return f"/run/{self.name}/{self.name}.sock"

    @property
    def command(self) -> str:
        """The command beside the interpreter that runs this one."""
        return str(Path(sys.executable).parent / "flasknado")

    @property
    def grace_s(self) -> int:
        """How long a stop may take before the supervisor kills what is left."""
        lame_duck_s = float(self.option("lame_duck"))
        return int(self.cfg.graceful_timeout + lame_duck_s + 0.999) + EXIT_MARGIN_S

    @property
    def watchdog_s(self) -> int:
        """How long no loop may turn: longer than the arbiter takes to replace a frozen worker."""
        return max(LEAST_WATCHDOG_S, 2 * int(self.cfg.timeout))

    @property
    def open_files(self) -> int:
        """How many files a process may have to open: connections, and some for the rest."""
        return int(self.cfg.worker_connections) + 1024

    @property
    def mount(self) -> str:
        return str(self.option("mount"))

    @property
    def ops_prefix(self) -> str:
        return str(self.option("ops_prefix"))

    def option(self, name: str) -> Any:
        """Return one of our settings."""
        return settings.option(self.cfg, name)

    def has(self, name: str) -> bool:
        """Whether a setting was set: on the command line, in a file or in the environment."""
        return source_of(self.cfg.settings[name]) != ""

    def behind_nginx(self) -> tuple[str, ...]:
        """Return the options that the server needs behind nginx as written here."""
        if self.has("trusted_fields"):
            return ()
        return ("--trusted-fields", PROXY_FIELDS)

    def body_limits(self) -> BodyLimits:
        """Return the limits of request bodies."""
        rules = dict(map(split_rule, self.option("max_body_for")))
        return BodyLimits(self.option("max_body"), rules)

    def body_limit_paths(self) -> dict[str, int]:
        """Return paths with a limit of their own, and for each the largest of any method."""
        limits = self.body_limits()
        split = [rule.rpartition(" ") for rule in limits.rules]
        methods = {method.strip().upper() for method, _, _ in split} | {""}
        return {
            self.mount + path: max(limits.limit_bytes(method, path) for method in methods)
            for path in sorted({path for _, _, path in split})
        }

    def static_folders(self) -> dict[str, Path]:
        """Return the folders of static files by path prefix, as `--static` names them.

        Imports the application if it is asked for its own; raises `ConfigurationError`.
        """
        of_the_application = OF_THE_APPLICATION in self.option("static")
        application = import_application(self.application) if of_the_application else None
        return {
            self.mount + prefix: self.folder / folder
            for prefix, folder in static_folders(application, self.cfg).items()
        }

    def live_prefixes(self) -> list[str]:
        """Return the path prefixes of live endpoints among the native routes.

        Imports the module of `--handlers`; raises `ConfigurationError` if that fails.
        """
        handlers = self.option("handlers")
        if not handlers:
            return []
        found = {
            match[1]
            for route in import_routes(handlers)
            if (match := re.fullmatch(r"(.*)/events\$?", _pattern_of(route)))
        }
        return sorted(self.mount + prefix.replace("\\", "") for prefix in found if prefix)


def source_of(setting: Any) -> str:
    """Return where the value of a setting comes from; empty if it is its default."""
    return str(getattr(setting, "source", ""))


def _pattern_of(route: Any) -> str:
    regex = getattr(route, "regex", None)
    pattern = regex.pattern if regex is not None else route[0]
    return pattern if isinstance(pattern, str) else ""


def image_checked(image: str) -> str:
    """Return the name of an image, for `--image`; raises `ConfigurationError` if it is none."""
    if image and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._/:@-]*", image):
        raise ConfigurationError(
            f"--image must be the name of an image, such as example.com/shop:1, not {image!r}"
        )
    return image


def words_checked(words: Sequence[str]) -> None:
    """Raise `ConfigurationError` for a word that would begin a line of its own in a file."""
    for word in words:
        if not word.isprintable():
            raise ConfigurationError(f"{word!r} has a character that no file can be given")


def name_checked(domain: str) -> str:
    """Return a host name, for `--domain`; raises `ConfigurationError` if it is none."""
    if not re.fullmatch(r"(?!-)[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+", domain):
        raise ConfigurationError(
            f"--domain must be the name of a host, such as shop.example.com, not {domain!r}"
        )
    return domain.lower()
