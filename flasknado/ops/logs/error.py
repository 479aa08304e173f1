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

from flasknado.http.request_id import current_request_id
from flasknado.ops.logs.scrub import Scrubber

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
