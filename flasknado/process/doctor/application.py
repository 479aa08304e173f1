"""The application, examined by `flasknado doctor` in a process of its own.

An import may hang, end the process or monkey-patch it, none of which should happen to the doctor.
"""

from __future__ import annotations

import _thread
import ast
import functools
import json
import logging.config
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from gunicorn.config import Config

from flasknado.errors import ConfigurationError
from flasknado.flask_apps import flask_app_of
from flasknado.process.boot import serving_call
from flasknado.process.build import build_server, import_application
from flasknado.process.doctor.findings import Finding, Weight
from flasknado.process.patches import refuse_patched
from flasknado.process.pools import small_pools

UPGRADE_KEYS = ("gunicorn.socket", "werkzeug.socket")
"""Keys of the environ in which the client's socket is, here if it asks for an upgrade."""

SOCKET_KEYS = ("wsgi.websocket", "eventlet.input")
"""Keys in which servers that patch Python pass it."""

KEYS = (*UPGRADE_KEYS, *SOCKET_KEYS)

SOCKET_PACKAGES = ("flask_sockets", "geventwebsocket")
"""Packages that use those."""


def examine(uri: str, cfg: Config, patience_s: float) -> list[Finding]:
    """Import an application in a child process, and return what is found.

    patience_s: how long the import may take. Call it while the process has one thread.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _work(uri, cfg, patience_s, writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        data = pipe.read()
    _, status = os.waitpid(child, 0)
    if data:
        return [Finding(Weight(weight), sentence) for weight, sentence in json.loads(data)]
    code = os.waitstatus_to_exitcode(status)
    how = f"exit status {code}" if code >= 0 else signal.Signals(-code).name
    return [Finding(Weight.STOPS, f"importing {uri!r} ends the process ({how})")]


def _work(uri: str, cfg: Config, patience_s: float, pipe: int) -> None:
    """Look at the application, and end the process. In the child."""
    os.dup2(2, 1)  # what it prints is not the doctor's answer
    os.environ.update(cfg.env)
    over, answered = _thread.allocate_lock(), _thread.allocate_lock()
    over.acquire()

    def answer(findings: list[Finding]) -> None:
        with answered:
            text = json.dumps([(each.weight.value, each.sentence) for each in findings])
            with os.fdopen(pipe, "w") as file:
                file.write(text)
            os._exit(0)

    def watch(thread_id: int) -> None:
        if not over.acquire(timeout=patience_s):
            answer([_hanging(uri, patience_s, thread_id)])

    # Below `threading`, which the application may replace.
    _thread.start_new_thread(watch, (_thread.get_ident(),))
    findings = list(_findings(uri, cfg, over))
    answer(findings)


def _hanging(uri: str, patience_s: float, thread_id: int) -> Finding:
    frame = sys._current_frames()[thread_id]
    call = serving_call(frame)
    if call is not None:
        return Finding(
            Weight.STOPS,
            f"{call.filename}, line {call.lineno}, starts a server while it is imported "
            f"({call.line}): remove the call, or guard it with if __name__ == '__main__'",
        )
    where = traceback.extract_stack(frame)[-1]
    return Finding(
        Weight.STOPS,
        f"importing {uri!r} has not finished after {patience_s:g} s: it is at {where.filename}, "
        f"line {where.lineno} ({where.line})",
    )


def _findings(uri: str, cfg: Config, over: _thread.LockType) -> Iterator[Finding]:
    configured: list[str] = []
    _record(configured)
    try:
        application = import_application(uri)
        server = build_server(application, cfg)
        refuse_patched("the application")
    except ConfigurationError as error:
        yield Finding(Weight.STOPS, _first_reason(error))
        return
    finally:
        over.release()
    for where in configured:
        yield Finding(
            Weight.DIFFERS,
            f"{where} configures logging without disable_existing_loggers=False, which silences "
            f"gunicorn's error log; here, the server's own records and tracebacks still go to "
            f"--error-logfile",
        )
    assert server.container is not None
    for sentence in small_pools(server.container.pool.threads):
        yield Finding(Weight.DIFFERS, sentence)
    yield from _middleware(application)
    yield from _sockets()
    if "flask_socketio" in sys.modules:
        yield Finding(
            Weight.DIFFERS,
            "Flask-SocketIO runs in threads here (async_mode='threading'), without monkey "
            "patching: each of its clients holds one of --stream-threads; flasknado.socketio has "
            "its interface and holds none (docs/socketio.md)",
        )


def _first_reason(error: ConfigurationError) -> str:
    """Return why an application cannot be served; after a monkey patch imports fail in any way."""
    try:
        refuse_patched("the application")
    except ConfigurationError as refusal:
        return str(refusal)
    return str(error)


def _record(calls: list[str]) -> None:
    """Remember calls that silence existing loggers."""
    for name in ("dictConfig", "fileConfig"):
        original = getattr(logging.config, name)
        setattr(logging.config, name, _recording(original, calls))


def _recording(original: Callable[..., Any], calls: list[str]) -> Callable[..., Any]:
    @functools.wraps(original)
    def recorded(*args: Any, **kwargs: Any) -> Any:
        config = args[0] if args else kwargs.get("config")
        keeps: Any = kwargs.get("disable_existing_loggers", True)
        if isinstance(config, dict):
            keeps = config.get("disable_existing_loggers", True)
        caller = sys._getframe(1)
        if keeps:
            calls.append(f"{caller.f_code.co_filename}, line {caller.f_lineno},")
        return original(*args, **kwargs)

    return recorded


def _middleware(application: Any) -> Iterator[Finding]:
    for layer in _layers(application):
        if layer == "ProxyFix":
            yield Finding(
                Weight.DIFFERS,
                "the application is wrapped in ProxyFix, which trusts every client: here the "
                "server itself reads the forwarding fields, for views and native handlers, from "
                "the proxies in --forwarded-allow-ips only: name the fields that your proxy sets "
                "in --trusted-fields, and remove ProxyFix",
            )
        else:
            yield Finding(
                Weight.NOTE,
                f"the application is wrapped in {layer}: it sees ordinary requests, and what "
                f"native handlers and live endpoints run in Flask's context",
            )


def _layers(application: Any) -> Iterator[str]:
    """Yield the names of the middleware around a Flask application, from the outside."""
    try:
        flask_app = flask_app_of(application)
    except ConfigurationError:
        return
    for outermost in (application, flask_app.wsgi_app):
        layer: Any = outermost
        while layer is not None and layer is not flask_app:
            if getattr(layer, "__self__", None) is flask_app:
                break
            yield getattr(layer, "__qualname__", type(layer).__name__)
            inner = (getattr(layer, name, None) for name in ("app", "wsgi_app", "application"))
            layer = next((each for each in inner if callable(each)), None)


def _sockets() -> Iterator[Finding]:
    for package in SOCKET_PACKAGES:
        if package in sys.modules:
            yield _socket_finding(f"the package {package}")
            break
    for path, line, key in _keys_in_sources():
        where = f"{path}, line {line}, ({key})"
        if key in SOCKET_KEYS:
            yield _socket_finding(where)
        else:
            yield Finding(
                Weight.DIFFERS,
                f"{where} takes the client's socket from the environ, which has it here only if "
                f"the request asks for an upgrade, such as to WebSocket; certificates are in "
                f"flasknado.peer_certificate, and addresses in REMOTE_ADDR and SERVER_NAME",
            )


def _socket_finding(who: str) -> Finding:
    return Finding(
        Weight.DIFFERS,
        f"{who} takes the client's socket from the environ, which has none here: use a native "
        f"handler (--handlers) such as Tornado's WebSocketHandler, or the live endpoints",
    )


def _keys_in_sources() -> Iterator[tuple[str, int, str]]:
    """Yield where modules of the current folder name one of the keys."""
    here = Path.cwd().resolve()
    for module in list(sys.modules.values()):
        name = getattr(module, "__file__", None)
        if not name or not name.endswith(".py"):
            continue
        path = Path(name).resolve()
        if not path.is_relative_to(here) or "site-packages" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Constant) and node.value in KEYS:
                yield str(path.relative_to(here)), node.lineno, str(node.value)
