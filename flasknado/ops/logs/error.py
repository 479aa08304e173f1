"""One error log for gunicorn, Tornado, this package and the application.

gunicorn logs to a logger of its own. Here its handlers serve the root logger, so that
what anything logs appears once, in one format: text, or JSON, one object a line. Each
line carries the id of the request that was served, and no line shows a token.

In text, a record is one line, and what belongs to it (tracebacks, stacks) is indented, so that
nothing that a client or the application says can pass for a record.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
import time
from typing import Any

from flasknado.http.request_id import current_request_id
from flasknado.ops.logs import tracing
from flasknado.ops.logs.scrub import Scrubber

FORMATS = ("text", "json")

INDENT = "    "
_LINE_ENDS = re.compile(r"\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_UNSAFE_IN_JSON = re.compile(r"[\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_ESCAPES = {"\n": "\\n", "\r": "\\r"}


class RequestFilter(logging.Filter):
    """Puts the id of the request that is being served on a record, and hides its secrets.

    On a handler, so that it runs where the record was made: on the view's thread. A format
    may name `%(request_id)s` and `%(traceparent)s`; they are `-` outside of requests and of
    traces. Messages and tracebacks are
    scrubbed for whatever formatter follows.
    """

    def __init__(self, scrubber: Scrubber) -> None:
        super().__init__()
        self._scrubber = scrubber
        self._formatter = logging.Formatter()

    def filter(self, record: logging.LogRecord) -> bool:
        if not hasattr(record, "request_id"):
            record.request_id = current_request_id.get() or "-"
        if not hasattr(record, "traceparent"):
            record.traceparent = "-"
            with contextlib.suppress(Exception):  # of what the application traces with
                record.traceparent = tracing.current() or "-"
        # A message that does not fit its arguments is for the handler to complain about.
        with contextlib.suppress(Exception):
            message = record.getMessage()
            clean = self._scrubber.text(message)
            if clean != message:
                record.msg, record.args = clean, None
        if record.exc_info and not record.exc_text:
            text = self._formatter.formatException(record.exc_info)
            record.exc_text = self._scrubber.text(text)
        if record.stack_info:
            record.stack_info = self._scrubber.text(record.stack_info)
        return True


class LineFormatter(logging.Formatter):
    """A record on one line: control characters are escaped, and what follows is indented."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (logging's name)
        return _CONTROL.sub(_escaped, super().formatMessage(record))

    def format(self, record: logging.LogRecord) -> str:
        record.message = record.getMessage()
        if self.usesTime():
            record.asctime = self.formatTime(record, self.datefmt)
        lines = [self.formatMessage(record)]
        if record.exc_info and not record.exc_text:
            record.exc_text = self.formatException(record.exc_info)
        for text in (record.exc_text, record.stack_info):
            lines += _indented(text or "")
        return "\n".join(lines)


class TextFormatter(LineFormatter):
    """gunicorn's lines, with the request's id at the end of those that belong to one."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (logging's name)
        text = super().formatMessage(record)
        request_id = getattr(record, "request_id", "-")
        return text if request_id == "-" or request_id in text else f"{text} [{request_id}]"


class JSONFormatter(logging.Formatter):
    """One JSON object a line: time (ISO 8601, UTC), level, logger, process, message,
    request_id, traceparent, exception, stack.
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
        traceparent = getattr(record, "traceparent", "-")
        if traceparent != "-":
            entry["traceparent"] = traceparent
        if record.exc_info:
            entry["exception"] = record.exc_text or self.formatException(record.exc_info)
        if record.stack_info:
            entry["stack"] = record.stack_info
        line = json.dumps(entry, ensure_ascii=False, default=str)
        return _UNSAFE_IN_JSON.sub(lambda match: f"\\u{ord(match[0]):04x}", line)

    @staticmethod
    def converter(seconds: float | None = None) -> time.struct_time:
        """Return the time in UTC, whatever the machine's zone."""
        return time.gmtime(seconds)


def _escaped(match: re.Match[str]) -> str:
    number = ord(match[0])
    return _ESCAPES.get(match[0]) or (f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}")


def _indented(text: str) -> list[str]:
    """Return the lines of a text, each indented and without control characters."""
    lines = _LINE_ENDS.split(text.rstrip("\n"))
    return [INDENT + _CONTROL.sub(_escaped, line) for line in lines] if text else []
