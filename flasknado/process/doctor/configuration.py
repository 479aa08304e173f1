"""The settings of a command line and its configuration file, examined by `flasknado doctor`."""

from __future__ import annotations

import argparse
import difflib
import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from flasknado.errors import AddressTaken, ConfigurationError
from flasknado.process import settings
from flasknado.process.addresses import check_addresses
from flasknado.process.command_line import CommandLine
from flasknado.process.doctor.findings import Finding, Weight
from flasknado.process.gunicorn_settings import refused
from flasknado.process.options import CommandLineConfig
from flasknado.process.patches import refuse_patched
from flasknado.process.values import problems


class PatientConfig(CommandLineConfig):
    """Settings that keep their defaults where a value is bad, and remember why."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.findings: list[Finding] = []

    def assign(self, name: str, value: Any, source: str, text: str | None = None) -> None:
        try:
            super().assign(name, value, source, text)
        except ConfigurationError as error:
            self.findings.append(Finding(Weight.STOPS, str(error), name))

    def parser(self) -> argparse.ArgumentParser:
        parser = super().parser()

        def fail(message: str) -> NoReturn:
            raise ConfigurationError(message)

        # An exit status of 2 has another meaning here.
        parser.error = fail  # type: ignore[method-assign]
        return parser


class Examined(CommandLine):
    """The settings of a command line; `findings` says what is wrong with them."""

    cfg: PatientConfig
    config_file: Path | None
    """The configuration file, if there is one."""
    said: dict[str, Any]
    """What the configuration file says, all of its names."""

    def load_default_config(self) -> None:
        self.cfg = PatientConfig(self.usage, prog=self.prog)
        self.config_file = None
        self.said = {}
        self.cfg.apply_defaults()

    def load_config_from_module_name_or_filename(self, location: str) -> dict[str, Any]:
        if not location.startswith("python:"):
            self.config_file = Path(location.removeprefix("file:")).resolve()
        self.said = super().load_config_from_module_name_or_filename(location)
        return self.said

    def judge(self) -> None:
        self.cfg.findings += self._findings()

    def _findings(self) -> Iterator[Finding]:
        own = frozenset(each.name for each in settings.OWN)
        for name, sentence in refused(self.cfg, own):
            yield Finding(Weight.STOPS, sentence, name)
        for error in problems(self.cfg):
            yield Finding(Weight.STOPS, str(error), error.setting)
        try:
            refuse_patched("the configuration file")
        except ConfigurationError as error:
            yield Finding(Weight.STOPS, str(error))
        try:
            check_addresses(self.cfg)
        except AddressTaken as error:
            yield Finding(
                Weight.NOTE, f"{error}; if that is the server you are replacing, ignore this"
            )
        except ConfigurationError as error:
            yield Finding(Weight.STOPS, str(error), "bind")
        yield from self._meanings()
        yield from self._misspelt()

    def _meanings(self) -> Iterator[Finding]:
        """Yield what is honoured, but means something else than for gunicorn."""
        if "timeout" in self.said:
            yield Finding(
                Weight.DIFFERS,
                f"timeout is {self.cfg.timeout}: here it limits how long the event loop of a "
                f"worker may be blocked, and ends no view; to answer 504 for slow views, set "
                f"request_timeout",
                "timeout",
            )
        if self.said.get("threads") == 1 or self.said.get("worker_class") == "sync":
            yield Finding(
                Weight.DIFFERS,
                f"gunicorn's sync worker runs one view at a time, and {self.cfg.threads} run "
                f"concurrently here: the application must be thread-safe, or set threads = 1",
                None,
            )
        mount = os.environ.get("SCRIPT_NAME")
        if mount:
            yield Finding(
                Weight.NOTE,
                f"SCRIPT_NAME is {mount!r} in the environment: it has the effect of --mount "
                f"{mount} here, for views and native handlers; other paths get 404",
            )

    def _misspelt(self) -> Iterator[Finding]:
        known = list(self.cfg.settings)
        for name, value in self.said.items():
            if name in known or name.startswith("_") or isinstance(value, ModuleType):
                continue
            close = difflib.get_close_matches(name, known, 1, 0.85)
            if close and not callable(value):
                yield Finding(
                    Weight.NOTE,
                    f"{name} in the configuration file is not a setting and is ignored: "
                    f"did you mean {close[0]}?",
                    name,
                )
