"""gunicorn's logger (`logger_class`), with the one error log of `flasknado.ops.logs.error`."""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

from gunicorn.config import Config
from gunicorn.glogging import Logger as GunicornLogger
from gunicorn.glogging import loggers

from flasknado.ops.logs.error import (
    JSONFormatter,
    LineFormatter,
    RequestFilter,
    TextFormatter,
)
from flasknado.process.operations import scrubber_of
from flasknado.process.settings import option

OURS = ("flasknado", "gunicorn", "tornado")
"""The loggers of the server, with all below them."""


class KeptLogger(logging.Logger):
    """A logger that nobody disables: `dictConfig` does that to all that exist, by default."""

    @property
    def disabled(self) -> bool:
        return False

    @disabled.setter
    def disabled(self, value: bool) -> None:
        """Stay as it is."""


class Logger(GunicornLogger):
    """gunicorn's logger, with its error handlers moved to the root logger.

    The application's logging configuration cannot silence the server (`keep`).
    """

    _handlers: list[logging.Handler]

    def setup(self, cfg: Config) -> None:
        log_format = option(cfg, "log_format")
        for name in OURS:
            logger = logging.getLogger(name)
            self._give_back(logger)
            if logger.level == self.loglevel:
                logger.setLevel(logging.NOTSET)
        self.cfg = cfg
        for each in (self.error_log, self.access_log):
            # Else gunicorn below 27 would add those to syslog again.
            for handler in [old for old in each.handlers if getattr(old, "_gunicorn", False)]:
                each.removeHandler(handler)
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
        self._handlers = list(root.handlers)
        self.keep()

    def keep(self) -> None:
        """Keep the server's own loggers working, whatever the application has configured.

        They cannot be disabled; and if the handlers of the error log have been taken from the
        root logger, the server's loggers have them instead. Call it after other code has run.
        """
        for logger in _ours():
            if type(logger) is logging.Logger:
                logger.__class__ = KeptLogger
                logger.__dict__.pop("disabled", None)
        here = logging.getLogger().handlers
        lost = [handler for handler in self._handlers if handler not in here]
        for name in OURS:
            logger = logging.getLogger(name)
            if not lost:
                self._give_back(logger)
            elif logger.propagate:
                logger.handlers += [each for each in self._handlers if each not in logger.handlers]
                logger.propagate = False
            if logger.level == logging.NOTSET:
                # Whatever level the application gives to the root logger.
                logger.setLevel(self.loglevel)

    def _give_back(self, logger: logging.Logger) -> None:
        """Let the root logger have the handlers that `keep` has given to one of the server's."""
        kept = [handler for handler in getattr(self, "_handlers", ()) if handler in logger.handlers]
        if kept and not logger.propagate:
            logger.handlers = [handler for handler in logger.handlers if handler not in kept]
            logger.propagate = True

    def reopen_files(self) -> None:
        """Open the log files that have been moved again; those that cannot be opened stay (USR1).

        The arbiter does it first, and gives new files to the workers' user. May wait for a disk.
        """
        if self.logfile is not None and _has_moved(self.cfg.errorlog, self.logfile):
            self._reopen_captured()
        handlers = [
            each for logger in (logging.getLogger(), *loggers()) for each in logger.handlers
        ]
        for handler in dict.fromkeys(handlers):
            if isinstance(handler, logging.FileHandler):
                try:
                    self._reopen(handler)
                except OSError as error:
                    self.error(
                        "the log file %s cannot be opened again, the old one is written to still: "
                        "%s",
                        handler.baseFilename,
                        error.strerror,
                    )

    def _reopen(self, handler: logging.FileHandler) -> None:
        if handler.stream is None or not _has_moved(handler.baseFilename, handler.stream):
            return
        new = handler._open()
        if getattr(handler, "_gunicorn", False) and os.geteuid() == 0:
            os.chown(new.fileno(), self.cfg.user, self.cfg.group)
        handler.acquire()
        try:
            old, handler.stream = handler.stream, new
        finally:
            handler.release()
        if old is not None:
            old.close()

    def _reopen_captured(self) -> None:
        """Open the error log again that standard output and error go to (`capture_output`)."""
        try:
            new = open(self.cfg.errorlog, "a+")  # noqa: SIM115, PTH123 (as gunicorn's own)
        except OSError:
            return  # the handler of the same file says so
        with self.lock:
            old: Any = self.logfile
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
                os.dup2(new.fileno(), stream.fileno())
            self.logfile = new
            old.close()


def _has_moved(path: str, stream: Any) -> bool:
    """Whether the file of a stream is no longer at its path."""
    try:
        there = os.stat(path)  # noqa: PTH116 (compared with what fstat says)
    except OSError:
        return True
    here = os.fstat(stream.fileno())
    return (there.st_dev, there.st_ino) != (here.st_dev, here.st_ino)


def _ours() -> list[logging.Logger]:
    names = [name for name in logging.root.manager.loggerDict if name.partition(".")[0] in OURS]
    return [logging.getLogger(name) for name in names]


def _is_default(formatter: logging.Formatter | None) -> bool:
    """Whether it is gunicorn's for streams and files; that for syslog has another format."""
    return formatter is not None and formatter._fmt == Logger.error_fmt
