"""gunicorn's settings, checked by value: a bad one stops startup with a one-line error.

gunicorn checks types; most bad values show only in use, as a traceback in a worker or not
at all.
"""

from __future__ import annotations

import contextlib
import os
import ssl
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from gunicorn import util
from gunicorn.config import Config, NewSSLContext
from gunicorn.glogging import SYSLOG_FACILITIES, Logger, parse_syslog_address
from gunicorn.sock import ssl_context
from gunicorn.workers import SUPPORTED_WORKERS

from flasknado.errors import ConfigurationError
from flasknado.ops.logs.error import FORMATS
from flasknado.process import environment, settings
from flasknado.process.configuration import about, problem
from flasknado.process.validators import OF_THE_APPLICATION
from flasknado.static.files import checked_folder

_CAPABILITIES = {"user": 7, "group": 6}
"""The bits of CAP_SETUID and CAP_SETGID (capabilities(7))."""


def check(cfg: Config) -> None:
    """Raise `ConfigurationError` for the first bad value. Binds nothing."""
    for error in problems(cfg):
        raise error


def problems(cfg: Config) -> Iterator[ConfigurationError]:
    """Yield an error for each bad value, or group of values."""
    for judge in _CHECKS:
        try:
            judge(cfg)
        except ConfigurationError as error:
            yield error


def _check_numbers(cfg: Config) -> None:
    for name, least in settings.LEAST.items():
        value = cfg.settings[name].get()
        if value < least:
            raise problem(cfg, name, f"must be a whole number, {least} or more, not {value}")
    if not 0 <= cfg.umask <= 0o777:
        raise problem(cfg, "umask", f"must be from 0 to 0o777, not {cfg.umask:#o}")


def _check_choices(cfg: Config) -> None:
    _check_choice(cfg, "loglevel", cfg.loglevel.lower(), Logger.LOG_LEVELS)
    _check_choice(cfg, "log_format", settings.option(cfg, "log_format"), FORMATS)


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
    threads = ", and set the number of threads with --threads" if name == "worker_class" else ""
    refusal = problem(
        cfg,
        name,
        f"must be {default} or a subclass of it, not {shown}: remove the setting{threads}",
    )
    # gunicorn's own are not imported: some change the process as they are.
    if value in SUPPORTED_WORKERS:
        raise refusal
    try:
        found = util.load_class(value)
    except RuntimeError:
        raise problem(
            cfg,
            name,
            f"must be {default} or a subclass of it, and {shown} cannot be imported: remove the "
            f"setting",
        ) from None
    if not (isinstance(found, type) and issubclass(found, base)):
        raise refusal


def _check_choice(cfg: Config, name: str, value: str, choices: Any) -> None:
    if value not in choices:
        raise problem(cfg, name, f"must be one of {', '.join(choices)}, not {value!r}")


def _check_environment(cfg: Config) -> None:
    for item in cfg.raw_env:
        if "=" not in item:
            raise problem(cfg, "raw_env", f"must be NAME=VALUE, not {item!r}")
    if not settings.option(cfg, "mount"):
        environment.script_name(os.environ | dict(item.split("=", 1) for item in cfg.raw_env))


def _check_user(cfg: Config) -> None:
    for name, wanted, own in (
        ("user", cfg.uid, os.geteuid()),
        ("group", cfg.gid, os.getegid()),
    ):
        if wanted != own and os.geteuid() != 0 and not _may(_CAPABILITIES[name]):
            raise problem(
                cfg,
                name,
                f"is {wanted}, but only root can switch to another {name}: "
                f"start the server as root, or remove the setting",
            )


def _may(capability: int) -> bool:
    status = Path("/proc/self/status")
    if not status.exists():
        return False
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
    return bool(int(lines.get("CapEff", "0"), 16) >> capability & 1)


def _check_folders(cfg: Config) -> None:
    if cfg.pidfile is not None:
        check_writable_folder(cfg, "pidfile", str(Path(cfg.pidfile).parent), cfg.pidfile)
    try:
        temporary = tempfile.gettempdir()
    except FileNotFoundError:
        temporary = None
        if not (cfg.worker_tmp_dir and cfg.tmp_upload_dir):
            raise ConfigurationError(
                "no folder for temporary files is writable: set TMPDIR, or worker_tmp_dir and "
                "tmp_upload_dir"
            ) from None
    check_writable_folder(cfg, "worker_tmp_dir", cfg.worker_tmp_dir)
    with _workers_user(cfg):
        if cfg.tmp_upload_dir:
            check_writable_folder(cfg, "tmp_upload_dir", cfg.tmp_upload_dir)
        else:
            check_writable_folder(cfg, "the folder for temporary files", temporary)


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


def check_writable_folder(
    cfg: Config, name: str, folder: str | None, shown: str | None = None
) -> None:
    """Raise `ConfigurationError` unless files can be made in a folder, if one is named."""
    if not folder:
        return
    value = f"is {shown or folder!r}"
    try:
        if not Path(folder).is_dir():
            raise problem(
                cfg, name, f"{value}, but the folder {folder!r} does not exist: create it"
            )
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise problem(
            cfg,
            name,
            f"{value}, but that folder is not writable ({error.strerror}): fix that, or choose "
            f"another folder",
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
            raise problem(
                cfg,
                name,
                f"is {path!r}, which is not writable ({error.strerror}): fix that, or choose "
                f"another file",
            ) from None
    for name in ("logconfig", "logconfig_json"):
        path = cfg.settings[name].get()
        if path and not Path(path).is_file():
            raise problem(cfg, name, f"is {path!r}, but that file does not exist")
    _check_choice(cfg, "syslog_facility", cfg.syslog_facility.lower(), SYSLOG_FACILITIES)
    try:
        parse_syslog_address(cfg.syslog_addr)
    except RuntimeError as error:
        raise problem(cfg, "syslog_addr", f"is {cfg.syslog_addr!r}: {error}") from None


def _check_static(cfg: Config) -> None:
    with about(cfg, "static"):
        for text in settings.option(cfg, "static"):
            if text != OF_THE_APPLICATION:
                checked_folder(text.partition("=")[2])


def _check_tls(cfg: Config) -> None:
    for name in ("certfile", "keyfile", "ca_certs"):
        path = cfg.settings[name].get()
        if path is None:
            continue
        try:
            with Path(path).open("rb"):
                pass
        except OSError as error:
            raise problem(
                cfg, name, f"is {path!r}, which is not readable ({error.strerror})"
            ) from None
    if cfg.cert_reqs not in tuple(ssl.VerifyMode):
        raise problem(
            cfg,
            "cert_reqs",
            f"must be 0 (no client certificates), 1 (optional) or 2 (required), "
            f"not {cfg.cert_reqs}",
        )
    if not cfg.is_ssl:
        return
    if cfg.settings["ssl_context"].get() is not NewSSLContext.default:
        return  # the hook may load what it likes
    _check_certificate(cfg.certfile, cfg.keyfile)
    try:
        ssl_context(cfg)
    except ssl.SSLError as error:
        what = "ciphers" if "cipher" in str(error).lower() else "ca_certs"
        raise problem(cfg, what, f"is {cfg.settings[what].get()!r}: {error.args[-1]}") from None


def _check_certificate(certfile: str | None, keyfile: str | None) -> None:
    """Raise `ConfigurationError` unless there is a certificate, with the key that fits it."""
    if certfile is None:
        raise ConfigurationError("keyfile is set, but certfile is not: set both")

    def refuse_password() -> str:
        raise ConfigurationError(
            f"the key in {keyfile or certfile!r} is encrypted, and the server asks for no "
            f"password: decrypt the file, or load it in the hook ssl_context"
        )

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certfile, keyfile, refuse_password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            reason = "the key does not belong to the certificate"
        elif keyfile is None:
            reason = "without a keyfile, certfile must hold a certificate and its key, in PEM"
        else:
            reason = "certfile must hold a certificate, and keyfile its key, in PEM"
        raise ConfigurationError(
            f"certfile is {certfile!r} and keyfile is {keyfile!r}: {reason}"
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
    _check_static,
    _check_tls,
)
