"""gunicorn's settings and ours, whose errors name what the user wrote: option, variable or file."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import Any

from gunicorn.config import Config, validate_dict
from gunicorn.errors import ConfigError

from flasknado.errors import ConfigurationError
from flasknado.process.settings import DEFAULTS, LEAST, SECRET
from flasknado.process.validators import RULES

ENVIRONMENT_PREFIX = "FLASKNADO_"


class HostedConfig(Config):
    """gunicorn's settings and ours."""

    def apply_defaults(self, environment: Mapping[str, str] = os.environ) -> None:
        """Set our defaults and what `FLASKNADO_*` variables say.

        Raises `ConfigurationError` for a bad value.
        """
        for name, value in DEFAULTS.items():
            if name in self.settings:  # there is no control socket before gunicorn 25.1
                self.set(name, value)
        if "FORWARDED_ALLOW_IPS" in environment:  # gunicorn's own variable
            self._assign_variable(environment, "FORWARDED_ALLOW_IPS", "forwarded_allow_ips")
        for name in self.settings:
            self._assign_variable(environment, ENVIRONMENT_PREFIX + name.upper(), name)

    def assign(self, name: str, value: Any, source: str, text: str | None = None) -> None:
        """Set a setting; raises `ConfigurationError` with the source, the value and the rule.

        source: what the user calls it, such as `--threads`.
        text: the value as the user wrote it, if it has been converted.
        """
        setting: Any = self.settings[name]
        setting.source = source
        try:
            setting.set(value)
        except (TypeError, ValueError, ConfigError, ConfigurationError) as error:
            raise _refusal(self, name, value if text is None else text, error) from None

    def assign_text(self, name: str, text: str, source: str) -> None:
        """Set a setting from the command line or the environment; as `assign()`."""
        convert: Any = self.settings[name].type
        value: Any = text
        if convert is not None and convert is not callable:  # a hook is named as MODULE.FUNCTION
            with contextlib.suppress(TypeError, ValueError):  # the validator refuses the text
                value = convert(text)
        self.assign(name, value, source, text)

    def _assign_variable(self, environment: Mapping[str, str], variable: str, name: str) -> None:
        text = environment.get(variable)
        if not text:
            return
        setting: Any = self.settings[name]
        if setting.validator is validate_dict:
            raise ConfigurationError(
                f"{variable} is {text!r}, but {name} is a dictionary: set it in a configuration "
                f"file"
            )
        if setting.action == "append":
            self.assign(name, [item.strip() for item in text.split(",") if item.strip()], variable)
        else:
            self.assign_text(name, text, variable)


def named(cfg: Config, name: str) -> str:
    """Return what the user calls a setting, by where its value comes from."""
    return str(getattr(cfg.settings.get(name), "source", name))


def problem(cfg: Config, name: str, text: str) -> ConfigurationError:
    """Return an error about a setting: what the user calls it, and after that the text."""
    error = ConfigurationError(f"{named(cfg, name)} {text}")
    error.setting = name
    return error


@contextlib.contextmanager
def about(cfg: Config, name: str) -> Iterator[None]:
    """Begin each `ConfigurationError` raised inside with what the user calls a setting."""
    try:
        yield
    except ConfigurationError as error:
        explained = type(error)(f"{named(cfg, name)}: {error}")
        explained.setting = name
        raise explained from error.__cause__


def _refusal(cfg: Config, name: str, value: Any, error: Exception) -> ConfigurationError:
    setting: Any = cfg.settings[name]
    rule = RULES.get(setting.validator)
    if name in LEAST:
        rule = f"a whole number, {LEAST[name]} or more"
    if name in SECRET:
        return problem(cfg, name, f"must be {rule}")
    shown = ", ".join(map(str, value)) if isinstance(value, list | tuple) else repr(value)
    if rule is not None:
        return problem(cfg, name, f"must be {rule}, not {shown}")
    return problem(cfg, name, f"is {shown}: {error}")
