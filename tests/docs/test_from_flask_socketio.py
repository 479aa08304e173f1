"""`docs/from-flask-socketio.md`: its tables have every name there is, and say what is so."""

from __future__ import annotations

import inspect
import re
from typing import Any

import pytest
from flask import Flask

import flasknado.socketio
from flasknado import HTTPServer, WSGIContainer
from flasknado.errors import ConfigurationError
from flasknado.socketio import Namespace, SocketIO, SocketIOTestClient
from flasknado.socketio.options import MEANINGLESS, SocketIOOptions
from tests.flasknado.socketio.socket_client import SocketClient
from tests.support.process import PROJECT_ROOT
from tests.support.serving import serving

TEXT = (PROJECT_ROOT / "docs" / "from-flask-socketio.md").read_text(encoding="utf-8")

# The public names of Flask-SocketIO 5.7.0, with python-socketio 5.18.1 and python-engineio 4.15.1.
NAMES = {
    "Of the package:": "SocketIO Namespace SocketIOTestClient ConnectionRefusedError emit send call"
    " join_room leave_room close_room rooms disconnect",
    "Of a `SocketIO`:": "init_app on on_event event on_namespace on_error on_error_default"
    " exception_handlers default_exception_handler emit send call close_room run stop"
    " start_background_task sleep test_client reason server async_mode handlers"
    " namespace_handlers manage_session server_options wsgi_server sockio_mw",
    "Of `socketio.server`, which there is python-socketio's:": "emit send call enter_room"
    " leave_room close_room rooms disconnect transport get_environ start_background_task sleep"
    " reason session get_session save_session on event register_namespace handle_request"
    " instrument is_asyncio_based shutdown eio manager",
    "Of a `Namespace`:": "trigger_event emit send close_room rooms call enter_room leave_room"
    " disconnect session get_session save_session is_asyncio_based",
    "Of a `SocketIOTestClient`:": "is_connected connect disconnect emit send get_received clients",
    "Of `SocketIO()` and `init_app()`:": "manage_session message_queue channel path resource"
    " client_manager logger engineio_logger serializer json async_handlers always_connect"
    " namespaces async_mode ping_interval ping_timeout max_http_buffer_size allow_upgrades"
    " http_compression compression_threshold cookie cors_allowed_origins cors_credentials"
    " monitor_clients transports",
    "Of `run()`:": "host port debug use_reloader reloader_options extra_files log_output"
    " allow_unsafe_werkzeug certfile",
}
SOCKETIO = SocketIO()
OWNERS = dict(
    zip(
        NAMES,
        (flasknado.socketio, SOCKETIO, SOCKETIO.server, Namespace("/"), SocketIOTestClient),
        strict=False,
    )
)
VALUES: dict[str, Any] = {
    "message_queue": "sqlite:///log.db",
    "channel": "shop",
    "path": "other.io",
    "resource": "other.io",
    "serializer": "msgpack",
    "always_connect": True,
    "namespaces": ["/a"],
    "ping_interval": (10, 1),
    "ping_timeout": 5,
    "max_http_buffer_size": 10,
    "allow_upgrades": False,
    "http_compression": True,
    "cookie": "io",
    "cors_allowed_origins": "*",
    "transports": ["websocket"],
}
"""For each option that has an effect by itself: a value that is not its default."""


def table(heading: str) -> dict[str, str]:
    """Return what the page says of each name of a table."""
    rows = TEXT.partition(f"\n{heading}\n\n")[2].partition("\n\n")[0]
    return dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", rows, re.M))


@pytest.mark.parametrize("heading", NAMES)
def test_table_has_every_public_name(heading: str) -> None:
    assert list(table(heading)) == NAMES[heading].split()


@pytest.mark.parametrize("heading", OWNERS)
def test_names_are_there_or_not_as_the_page_says(heading: str) -> None:
    for name, said in table(heading).items():
        there = hasattr(OWNERS[heading], name)
        assert said.startswith("the same" if there else "not there"), name


def test_names_of_ours_beside_them_are_known() -> None:
    package = set(flasknado.socketio.__all__) - set(table("Of the package:"))
    assert package == {"BacklogFull", "CallTimeout", "SocketIOError"}


def test_options_have_the_effect_that_the_page_says() -> None:
    said = table("Of `SocketIO()` and `init_app()`:")
    assert {name for name in said if said[name].startswith("no effect")} == MEANINGLESS
    plain = SocketIOOptions.of({})
    for name in MEANINGLESS:
        assert of(name, "anything") == fields_of(plain)
    for name, value in VALUES.items():
        assert said[name].startswith("the same")
        assert of(name, value) != fields_of(plain), name
    assert said["client_manager"].startswith("refused")
    refused = {
        "client_manager": [object()],
        "serializer": ["pickle", "cbor", object],
        "message_queue": ["redis://", "amqp://", "kafka://", "zmq+tcp://"],
    }
    for name, values in refused.items():
        for value in values:
            with pytest.raises(ConfigurationError):
                SocketIOOptions.of({name: value})


def of(name: str, value: Any) -> dict[str, Any]:
    return fields_of(SocketIOOptions.of({name: value}))


def fields_of(options: SocketIOOptions) -> dict[str, Any]:
    fields = {name: getattr(options, name) for name in options.__dataclass_fields__}
    return fields | {"parser": type(options.parser)}


def test_no_origin_but_the_own_is_let_in_by_an_empty_list() -> None:
    policy = SocketIOOptions.of({"cors_allowed_origins": []}).policy
    assert policy is not None
    assert not policy.allows("https://example.org")


def test_options_of_run_are_those_of_the_page() -> None:
    said = table("Of `run()`:")
    assert [name for name in said if said[name].startswith("refused")] == ["certfile"]
    with pytest.raises(ConfigurationError, match="certfile"):
        SOCKETIO.run(Flask("run"), certfile="x")
    from flasknado.socketio.serving import IGNORED, serve

    taken = {*inspect.signature(serve).parameters, *IGNORED}
    assert set(said) - {"certfile"} <= taken


def test_application_of_the_page_is_for_pages_of_any_origin() -> None:
    (example,) = re.findall(r"^```python\n(.*?)^```$", TEXT, re.M | re.S)
    assert 'SocketIO(app, cors_allowed_origins="*")' in example
    names: dict[str, Any] = {"__name__": "page"}
    exec(example, names)
    with (
        serving(lambda: HTTPServer(WSGIContainer(names["app"]))) as served,
        SocketClient(served, origin="https://elsewhere.example") as elsewhere,
        SocketClient(served) as own,
    ):
        elsewhere.emit("message", "hello")
        assert own.events(1) == elsewhere.events(1) == [["message", "hello"]]
