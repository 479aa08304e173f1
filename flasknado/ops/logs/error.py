"""One error log for gunicorn, Tornado, this package and the application.

gunicorn logs to a logger of its own. Here its handlers serve the root logger, so that
what anything logs appears once, in one format: text, or JSON, one object a line. Each
line carries the id of the request that was served, and no line shows a token.
"""

from __future__ import annotations

import contextlib
import json
import logging
import time
from typing import Any

from gunicorn.config import Config
from gunicorn.glogging import Logger as GunicornLogger

from flasknado.errors import ConfigurationError
from flasknado.http.request_id import current_request_id
from flasknado.ops.configure import scrubber_of
from flasknado.ops.logs.scrub import Scrubber
from flasknado.process.settings import option

FORMATS = ("text", "json")


class RequestFilter(logging.Filter):
    """Puts the id of the request that is being served on a record, and hides its secrets.

    On a handler, so that it runs where the record was made: on the view's thread. A format
    may name `%(request_id)s`; it is `-` outside of requests. Messages and tracebacks are
    scrubbed for whatever formatter follows.
    """

    def __init__(self, scrubber: Scrubber) -> None:
        super().__init__()
        self._scrubber = scrubber
        self._formatter = logging.Formatter()

    def filter(self, record: logging.LogRecord) -> bool:
        if not hasattr(record, "request_id"):
            record.request_id = current_request_id.get() or "-"
        # A message that does not fit its arguments is for the handler to complain about.
        with contextlib.suppress(Exception):
            message = record.getMessage()
            clean = self._scrubber.text(message)
            if clean != message:
                record.msg, record.args = clean, None
        if record.exc_info and not record.exc_text:
            text = self._formatter.formatException(record.exc_info)
            record.exc_text = self._scrubber.text(text)
        return True


class TextFormatter(logging.Formatter):
    """gunicorn's lines, with the request's id at the end of those that belong to one."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (logging's name)
        text = super().formatMessage(record)
        request_id = getattr(record, "request_id", "-")
        return text if request_id == "-" or request_id in text else f"{text} [{request_id}]"


class JSONFormatter(logging.Formatter):
    """One JSON object a line: time (ISO 8601, UTC), level, logger, process, message,
    request_id, exception.
    """

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "time": f"{self.formatTime(record, '%Y-%m-%dT%H:%M:%S')}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": record.process,
            "message": record.getMessage(),
        }
        request_id = getattr(record, "request_id", "-")
        if request_id != "-":
            entry["request_id"] = request_id
        if record.exc_info:
            entry["exception"] = record.exc_text or self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False, default=str)

    @staticmethod
    def converter(seconds: float | None = None) -> time.struct_time:
        """Return the time in UTC, whatever the machine's zone."""
        return time.gmtime(seconds)


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
