"""One error log for gunicorn, Tornado, this package and the application.

gunicorn logs to a logger of its own. Here its handlers serve the root logger, so that
what anything logs appears once, in one format: text, or JSON, one object a line.
"""

from __future__ import annotations

import json
import logging
import time
import traceback
from typing import Any

from gunicorn.config import Config
from gunicorn.glogging import Logger as GunicornLogger

from flasknado.errors import ConfigurationError
from flasknado.options import option

FORMATS = ("text", "json")


class JSONFormatter(logging.Formatter):
    """One JSON object a line: time (ISO 8601, UTC), level, logger, process, message, exception."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "time": f"{self.formatTime(record, '%Y-%m-%dT%H:%M:%S')}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": record.process,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = "".join(traceback.format_exception(*record.exc_info))
        return json.dumps(entry, ensure_ascii=False, default=str)

    @staticmethod
    def converter(seconds: float | None = None) -> time.struct_time:
        """Return the time in UTC, whatever the machine's zone."""
        return time.gmtime(seconds)


class Logger(GunicornLogger):
    """gunicorn's logger, with its error handlers moved to the root logger."""

    def setup(self, cfg: Config) -> None:
        log_format = option(cfg, "log_format")
        if log_format not in FORMATS:
            raise ConfigurationError(
                f"the log format {log_format!r} is not one of {', '.join(FORMATS)}"
            )
        super().setup(cfg)
        root = logging.getLogger()
        for handler in [old for old in root.handlers if getattr(old, "_gunicorn", False)]:
            root.removeHandler(handler)
        for handler in list(self.error_log.handlers):
            if log_format == "json":
                handler.setFormatter(JSONFormatter())
            self.error_log.removeHandler(handler)
            root.addHandler(handler)
        self.error_log.propagate = True
        root.setLevel(self.loglevel)
