"""gunicorn's settings, checked by value: each that will not do ends the start with one sentence.

gunicorn checks types, and finds out about most values when it uses them: a traceback in a
worker, or nothing at all.
"""

from __future__ import annotations

import contextlib
import os
import ssl
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from gunicorn import util
from gunicorn.config import Config, NewSSLContext
from gunicorn.glogging import SYSLOG_FACILITIES, Logger, parse_syslog_address
from gunicorn.sock import ssl_context
from gunicorn.workers import SUPPORTED_WORKERS

from flasknado.errors import ConfigurationError
from flasknado.ops.logs.error import FORMATS
from flasknado.process import settings

LEAST: Mapping[str, int] = {"workers": 1, "threads": 1, "worker_connections": 1, "backlog": 1}
"""The least value of numbers that may not be 0."""

_CAPABILITIES = {"user": 7, "group": 6}
"""The bits of CAP_SETUID and CAP_SETGID (capabilities(7))."""


def check(cfg: Config) -> None:
    """Raise `ConfigurationError` for the first value that will not do. Binds nothing."""
    for problem in problems(cfg):
        raise problem


def problems(cfg: Config) -> Iterator[ConfigurationError]:
    """Yield an error for each value, or group of values, that will not do."""
    for judge in _CHECKS:
        try:
            judge(cfg)
        except ConfigurationError as error:
            yield error


def _check_numbers(cfg: Config) -> None:
    for name, least in LEAST.items():
        value = cfg.settings[name].get()
        if value < least:
            raise ConfigurationError(f"{name} is {value}, and must be {least} or more")
    if not 0 <= cfg.umask <= 0o777:
        raise ConfigurationError(f"umask is {cfg.umask:#o}, and must be from 0 to 0o777")


def _check_choices(cfg: Config) -> None:
    _check_choice("loglevel", cfg.loglevel.lower(), Logger.LOG_LEVELS)
    _check_choice("log_format", settings.option(cfg, "log_format"), FORMATS)


def _check_worker_class(cfg: Config) -> None:
    check_class(cfg, "worker_class")


def _check_logger_class(cfg: Config) -> None:
    check_class(cfg, "logger_class")


def check_class(cfg: Config, name: str) -> None:
    """Raise `ConfigurationError` unless `worker_class` or `logger_class` is one of ours."""
    default = settings.DEFAULTS[name]
    base = util.load_class(default)
    value: Any = cfg.settings[name].get()
    shown = repr(value) if isinstance(value, str) else value.__qualname__
    threads = " (threads says how many threads a worker has)" if name == "worker_class" else ""
    refusal = ConfigurationError(
        f"{name} is {shown}, but it must be {default} or a subclass of it: "
        f"remove the setting{threads}"
    )
    # gunicorn's own are not imported: some change the process as they are.
    if value in SUPPORTED_WORKERS:
        raise refusal
    try:
        found = util.load_class(value)
    except RuntimeError:
        raise ConfigurationError(
            f"{name} is {shown}, which cannot be imported, and it must be {default} or a subclass "
            f"of it: remove the setting"
        ) from None
    if not (isinstance(found, type) and issubclass(found, base)):
        raise refusal


def _check_choice(name: str, value: str, choices: Any) -> None:
    if value not in choices:
        raise ConfigurationError(f"{name} is {value!r}, and must be one of {', '.join(choices)}")


def _check_environment(cfg: Config) -> None:
    for item in cfg.raw_env:
        if "=" not in item:
            raise ConfigurationError(f"raw_env has {item!r}, and must have NAME=VALUE")


def _check_user(cfg: Config) -> None:
    for name, wanted, own in (
        ("user", cfg.uid, os.geteuid()),
        ("group", cfg.gid, os.getegid()),
    ):
        if wanted != own and os.geteuid() != 0 and not _may(_CAPABILITIES[name]):
            raise ConfigurationError(
                f"{name} is {wanted}, and only root may become another {name}: start the server "
                f"as root, or remove the setting"
            )


def _may(capability: int) -> bool:
    status = Path("/proc/self/status")
    if not status.exists():
        return False
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
    return bool(int(lines.get("CapEff", "0"), 16) >> capability & 1)


def _check_folders(cfg: Config) -> None:
    if cfg.pidfile is not None:
        check_writable_folder("pidfile", str(Path(cfg.pidfile).parent), cfg.pidfile)
    try:
        temporary = tempfile.gettempdir()
    except FileNotFoundError:
        temporary = None
        if not (cfg.worker_tmp_dir and cfg.tmp_upload_dir):
            raise ConfigurationError(
                "there is no folder for temporary files that can be written to: set TMPDIR, or "
                "worker_tmp_dir and tmp_upload_dir"
            ) from None
    check_writable_folder("worker_tmp_dir", cfg.worker_tmp_dir)
    with _workers_user(cfg):
        if cfg.tmp_upload_dir:
            check_writable_folder("tmp_upload_dir", cfg.tmp_upload_dir)
        else:
            check_writable_folder("the folder for temporary files", temporary)


@contextlib.contextmanager
def _workers_user(cfg: Config) -> Iterator[None]:
    """Have the rights of the workers' user for a moment, as far as this process may."""
    own = os.geteuid(), os.getegid()
    if own[0] != 0:
        yield
        return
    try:
        os.setegid(cfg.gid)
        os.seteuid(cfg.uid)
        yield
    finally:
        os.seteuid(own[0])
        os.setegid(own[1])


def check_writable_folder(name: str, folder: str | None, shown: str | None = None) -> None:
    """Raise `ConfigurationError` unless files can be made in a folder, if one is named."""
    if not folder:
        return
    what = f"{name} is {shown or folder!r}"
    if not Path(folder).is_dir():
        raise ConfigurationError(f"{what}, but there is no folder {folder!r}: make it first")
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ConfigurationError(
            f"{what}, but nothing can be written there ({error.strerror}): "
            f"mend that, or choose another folder"
        ) from None


def _check_logs(cfg: Config) -> None:
    for name in ("errorlog", "accesslog"):
        path = cfg.settings[name].get()
        if path in (None, "-"):
            continue
        try:
            with Path(path).open("a"):
                pass
        except OSError as error:
            raise ConfigurationError(
                f"{name} is {path!r}, which cannot be written ({error.strerror}): "
                f"mend that, or choose another file"
            ) from None
    for name in ("logconfig", "logconfig_json"):
        path = cfg.settings[name].get()
        if path and not Path(path).is_file():
            raise ConfigurationError(f"{name} is {path!r}, but there is no such file")
    if cfg.syslog:
        _check_choice("syslog_facility", cfg.syslog_facility.lower(), SYSLOG_FACILITIES)
        try:
            parse_syslog_address(cfg.syslog_addr)
        except RuntimeError as error:
            raise ConfigurationError(
                f"syslog_addr is {cfg.syslog_addr!r}, which will not do: {error}"
            ) from None


def _check_tls(cfg: Config) -> None:
    for name in ("certfile", "keyfile", "ca_certs"):
        path = cfg.settings[name].get()
        if path is None:
            continue
        try:
            with Path(path).open("rb"):
                pass
        except OSError as error:
            raise ConfigurationError(
                f"{name} is {path!r}, which cannot be read ({error.strerror})"
            ) from None
    if not cfg.is_ssl:
        return
    if cfg.cert_reqs not in tuple(ssl.VerifyMode):
        raise ConfigurationError(
            f"cert_reqs is {cfg.cert_reqs}, and must be 0 (no client certificates), 1 (optional) "
            f"or 2 (required)"
        )
    if cfg.settings["ssl_context"].get() is not NewSSLContext.default:
        return  # the hook may load what it likes
    _check_certificate(cfg.certfile, cfg.keyfile)
    try:
        ssl_context(cfg)
    except ssl.SSLError as error:
        what = "ciphers" if "cipher" in str(error).lower() else "ca_certs"
        value, problem = cfg.settings[what].get(), error.args[-1]
        raise ConfigurationError(f"{what} is {value!r}, which will not do: {problem}") from None


def _check_certificate(certfile: str | None, keyfile: str | None) -> None:
    """Raise `ConfigurationError` unless there is a certificate, with the key that fits it."""
    if certfile is None:
        raise ConfigurationError("there is a keyfile but no certfile: set both")

    def refuse_password() -> str:
        raise ConfigurationError(
            f"the key in {keyfile or certfile!r} is encrypted, and nobody is asked for its "
            f"password: decrypt the file, or load it in the hook ssl_context"
        )

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certfile, keyfile, refuse_password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            problem = "the key is not that of the certificate"
        elif keyfile is None:
            problem = "certfile must have a certificate and its key, in PEM, as there is no keyfile"
        else:
            problem = "certfile must have a certificate, and keyfile its key, in PEM"
        raise ConfigurationError(
            f"certfile is {certfile!r} and keyfile {keyfile!r}, which will not do: {problem}"
        ) from None


_CHECKS: tuple[Callable[[Config], None], ...] = (
    _check_numbers,
    _check_choices,
    _check_worker_class,
    _check_logger_class,
    _check_environment,
    _check_user,
    _check_folders,
    _check_logs,
    _check_tls,
)
