"""gunicorn's logger (`logger_class`), with the one error log of `flasknado.ops.logs.error`."""

from __future__ import annotations

import logging

from gunicorn.config import Config
from gunicorn.glogging import Logger as GunicornLogger

from flasknado.errors import ConfigurationError
from flasknado.ops.logs.error import (
    FORMATS,
    JSONFormatter,
    LineFormatter,
    RequestFilter,
    TextFormatter,
)
from flasknado.process.operations import scrubber_of
from flasknado.process.settings import option


class Logger(GunicornLogger):
    """gunicorn's logger, with its error handlers moved to the root logger.

    Raises `ConfigurationError` for a bad format.
    """

    def setup(self, cfg: Config) -> None:
        log_format = option(cfg, "log_format")
        if log_format not in FORMATS:
            raise ConfigurationError(
                f"the log format {log_format!r} is not one of {', '.join(FORMATS)}"
            )
        super().setup(cfg)
        scrubber = scrubber_of(cfg)
        root = logging.getLogger()
        for handler in [old for old in root.handlers if getattr(old, "_gunicorn", False)]:
            root.removeHandler(handler)
        for handler in list(self.error_log.handlers):
            if log_format == "json":
                handler.setFormatter(JSONFormatter())
            elif getattr(handler, "_gunicorn", False) and _is_default(handler.formatter):
                handler.setFormatter(TextFormatter(self.error_fmt, self.datefmt))
            elif getattr(handler, "_gunicorn", False) and handler.formatter is not None:
                handler.setFormatter(LineFormatter(handler.formatter._fmt))  # to syslog
            self.error_log.removeHandler(handler)
            root.addHandler(handler)
        for handler in root.handlers:
            for old in [old for old in handler.filters if isinstance(old, RequestFilter)]:
                handler.removeFilter(old)
            handler.addFilter(RequestFilter(scrubber))
        self.error_log.propagate = True
        root.setLevel(self.loglevel)


def _is_default(formatter: logging.Formatter | None) -> bool:
    """Whether it is gunicorn's for streams and files; that for syslog has another format."""
    return formatter is not None and formatter._fmt == Logger.error_fmt
