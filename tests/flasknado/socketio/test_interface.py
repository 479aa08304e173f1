"""Flask-SocketIO's interface, with the test client: handlers, rooms, errors, acknowledgements."""

from __future__ import annotations

from typing import Any

import flask
import pytest
from flask import Flask, g, request, session

import flasknado.socketio as package
from flasknado.errors import ConfigurationError
from flasknado.socketio import (
    ConnectionRefusedError,  # noqa: A004
    Namespace,
    SocketIO,
    SocketIOTestClient,
    close_room,
    emit,
    join_room,
    leave_room,
    rooms,
    send,
)


def make(**options: Any) -> tuple[Flask, SocketIO]:
    app = Flask("interface")
    app.secret_key = "a secret of the tests"
    return app, SocketIO(app, **options)


def received(client: SocketIOTestClient, namespace: str | None = None) -> list[tuple[str, Any]]:
    return [(event["name"], event["args"]) for event in client.get_received(namespace)]


def test_names_of_flask_socketio_are_there() -> None:
    for name in (
        *("SocketIO", "Namespace", "emit", "send", "join_room", "leave_room", "close_room"),
        *("rooms", "disconnect", "call", "ConnectionRefusedError", "SocketIOTestClient"),
    ):
        assert getattr(package, name) is not None
    _, socketio = make()
    for name in (
        *("init_app", "on", "on_error", "on_error_default", "on_event", "event", "on_namespace"),
        *("emit", "call", "send", "close_room", "run", "stop", "start_background_task", "sleep"),
        *("test_client", "server", "reason", "exception_handlers", "async_mode"),
        "default_exception_handler",
    ):
        assert hasattr(socketio, name), name
    for name in ["trigger_event", "emit", "send", "close_room", "rooms"]:
        assert hasattr(Namespace(), name)
    for name in ["is_connected", "connect", "disconnect", "emit", "send", "get_received"]:
        assert hasattr(SocketIOTestClient, name)
    assert socketio.reason.PING_TIMEOUT == "ping timeout"
    with pytest.raises(AttributeError, match="no attribute 'middleware'"):
        package.middleware  # noqa: B018


def test_connect_gets_the_auth_and_the_request_of_the_client() -> None:
    app, socketio = make()

    @socketio.on("connect")
    def connect(auth: Any) -> None:
        send([auth, request.args["a"], request.headers["X-B"], request.path])

    client = socketio.test_client(
        app, query_string="?a=1", headers={"X-B": "2"}, auth={"token": "3"}
    )
    assert received(client) == [("message", [{"token": "3"}, "1", "2", "/socket.io/"])]


def test_connect_and_disconnect_may_take_no_argument() -> None:
    app, socketio = make()
    called: list[str] = []
    socketio.on_event("connect", lambda: called.append("connect"))
    socketio.on_event("disconnect", lambda: called.append("disconnect"))
    client = socketio.test_client(app)
    assert client.is_connected()
    client.disconnect()
    assert called == ["connect", "disconnect"]
    assert not client.is_connected()


def test_disconnect_gets_its_reason_and_still_knows_the_rooms() -> None:
    app, socketio = make()
    called: list[Any] = []

    @socketio.on("connect")
    def connect() -> None:
        join_room("a room")

    @socketio.on("disconnect")
    def on_disconnect(reason: str) -> None:
        called.append((reason, rooms() == [request.sid, "a room"]))
        leave_room("a room")
        emit("left", to="a room")

    first, second = socketio.test_client(app), socketio.test_client(app)
    first.disconnect()
    assert called == [("client disconnect", True)]
    assert received(second) == [("left", [])]

    socketio.server.disconnect(second_sid(socketio))
    assert called[1:] == [("server disconnect", True)]
    assert not second.is_connected()


def second_sid(socketio: SocketIO) -> str:
    (server,) = socketio.server.servers
    (sid,) = server.clients
    return str(sid)


@pytest.mark.parametrize("always_connect", [False, True])
def test_connect_handler_that_returns_false_refuses(always_connect: bool) -> None:
    app, socketio = make(always_connect=always_connect)
    socketio.on_event("connect", lambda: False)
    assert not socketio.test_client(app).is_connected()


@pytest.mark.parametrize(
    ("args", "error"),
    [
        ((), {"message": "Connection rejected by server"}),
        (("no",), {"message": "no"}),
        (("no", {"code": 1}), {"message": "no", "data": {"code": 1}}),
        (("no", 1, 2), {"message": "no", "data": [1, 2]}),
    ],
)
def test_connection_refused_error_tells_the_client_why(
    args: tuple[Any, ...], error: dict[str, Any]
) -> None:
    app, socketio = make()

    @socketio.on("connect")
    def connect() -> None:
        raise ConnectionRefusedError(*args)

    client = socketio.test_client(app)
    assert not client.is_connected()
    assert ConnectionRefusedError(*args).error_args == error


def test_event_goes_to_the_handler_of_its_name_and_namespace() -> None:
    app, socketio = make(namespaces=["/more"])

    @socketio.event
    def plain(*args: Any) -> None:
        emit("plain back", args)

    @socketio.event(namespace="/test")
    def in_namespace(data: Any) -> None:
        emit("back", {"data": data, "namespace": request.namespace}, namespace="/test")

    @socketio.on("*", namespace="/any")
    def any_event(event: str, *args: Any) -> None:
        emit("any", [event, *args, request.event["message"]])

    @socketio.on("everywhere", namespace="*")
    def everywhere(data: Any) -> None:
        emit("everywhere", [request.namespace, data])

    client = socketio.test_client(app)
    for namespace in ("/test", "/any", "/more"):
        client.connect(namespace)
    client.emit("plain", 1, {"a": [b"bytes"]})
    client.emit("in_namespace", 1)  # in another namespace nothing handles it
    client.emit("in_namespace", 2, namespace="/test")
    client.emit("something", 3, namespace="/any")
    client.emit("everywhere", 4, namespace="/more")
    assert received(client) == [("plain back", [1, {"a": [b"bytes"]}])]
    assert received(client, "/test") == [("back", [{"data": 2, "namespace": "/test"}])]
    assert received(client, "/any") == [("any", [["something", 3, "*"]])]
    assert received(client, "/more") == [("everywhere", [["/more", 4]])]


def test_send_is_a_message_or_json() -> None:
    app, socketio = make()
    socketio.on_event("message", lambda data: send(data))
    socketio.on_event("json", lambda data: send(data, json=True, broadcast=True))
    first, second = socketio.test_client(app), socketio.test_client(app)
    first.send("text")
    first.send({"a": "b"}, json=True)
    assert received(first) == [("message", "text"), ("json", {"a": "b"})]
    assert received(second) == [("json", {"a": "b"})]


def test_request_has_sid_namespace_and_event() -> None:
    app, socketio = make()

    @socketio.on("what")
    def what(*args: Any) -> list[Any]:
        return [request.sid, request.namespace, request.event["message"], request.event["args"]]

    client = socketio.test_client(app)
    sid, *rest = client.emit("what", 1, 2, callback=True)
    assert sid in socketio.server.servers[0].clients
    assert rest == ["/", "what", [1, 2]]


def test_rooms_take_events_to_their_members() -> None:
    app, socketio = make()
    socketio.on_event("join", lambda room: join_room(room))
    socketio.on_event("leave", lambda room: leave_room(room))
    socketio.on_event("close", lambda room: close_room(room))
    socketio.on_event("rooms", lambda: rooms())

    @socketio.on("say")
    def say(to: Any, include_self: bool) -> None:
        emit("said", to, to=to, include_self=include_self)

    one, two, three = (socketio.test_client(app) for _ in range(3))
    one.emit("join", "room")
    two.emit("join", "room")
    three.emit("join", 5)
    assert two.emit("rooms", callback=True)[1:] == ["room"]

    one.emit("say", "room", True)
    assert [len(received(c)) for c in (one, two, three)] == [1, 1, 0]
    one.emit("say", "room", False)
    assert [len(received(c)) for c in (one, two, three)] == [0, 1, 0]
    one.emit("say", ["room", 5], True)
    assert [len(received(c)) for c in (one, two, three)] == [1, 1, 1]
    one.emit("say", "5", True)  # text is another room than the number
    assert [len(received(c)) for c in (one, two, three)] == [0, 0, 0]
    two.emit("leave", "room")
    socketio.emit("said", "from outside", room="room")
    assert [len(received(c)) for c in (one, two, three)] == [1, 0, 0]
    one.emit("close", "room")
    socketio.emit("said", "from outside", to="room")
    socketio.emit("said", "to all")
    assert [len(received(c)) for c in (one, two, three)] == [1, 1, 1]


def test_emit_takes_what_json_takes_and_refuses_the_rest() -> None:
    app, socketio = make()
    client = socketio.test_client(app)
    socketio.emit("none", None)
    socketio.emit("nothing")
    socketio.emit("several", (1, "2", {"3": None}))
    socketio.emit("list", [1, 2])
    socketio.emit("bytes", {"a": bytearray(b"\x00"), "b": [b"\x01", ("tuple", b"\x02")]})
    assert received(client) == [
        ("none", []),
        ("nothing", []),
        ("several", [1, "2", {"3": None}]),
        ("list", [[1, 2]]),
        ("bytes", [{"a": b"\x00", "b": [b"\x01", ["tuple", b"\x02"]]}]),
    ]
    with pytest.raises(TypeError):
        socketio.emit("object", object())
    with pytest.raises(ValueError, match="JSON"):
        socketio.emit("nan", float("nan"))


@pytest.mark.parametrize(
    ("result", "answer"),
    [(None, []), ("one", "one"), ((1, 2), [1, 2]), ([1, 2], [1, 2]), (b"\x00", b"\x00")],
)
def test_answer_of_a_handler_is_the_acknowledgement(result: Any, answer: Any) -> None:
    app, socketio = make()
    socketio.on_event("ask", lambda: result)
    client = socketio.test_client(app)
    assert client.emit("ask", callback=True) == answer
    assert client.emit("ask") is None


def test_exception_goes_to_the_error_handler_whose_answer_counts() -> None:
    app, socketio = make()

    def fail(*_: Any) -> None:
        raise ValueError(request.namespace)

    for namespace in ("/", "/test", "/other"):
        socketio.on_event("fail", fail, namespace)
    socketio.on_error()(lambda error: f"main {error}")
    socketio.on_error("/test")(lambda error: f"test {error}")
    socketio.on_error_default(lambda error: f"default {error}")
    client = socketio.test_client(app)
    client.connect("/test")
    client.connect("/other")
    assert client.emit("fail", callback=True) == "main /"
    assert client.emit("fail", callback=True, namespace="/test") == "test /test"
    assert client.emit("fail", callback=True, namespace="/other") == "default /other"
    with pytest.raises(ValueError, match="callable"):
        socketio.on_error_default("no function")  # type: ignore[type-var]


def test_exception_without_an_error_handler_is_raised_in_a_test() -> None:
    app, socketio = make()

    @socketio.on("fail")
    def fail() -> None:
        raise ValueError("of the handler")

    client = socketio.test_client(app)
    with pytest.raises(ValueError, match="of the handler"):
        client.emit("fail")
    socketio.on_event("work", lambda: "works")
    assert client.emit("work", callback=True) == "works"


def test_namespace_object_has_a_method_for_each_event() -> None:
    app, socketio = make()
    called: list[Any] = []

    class Test(Namespace):
        def on_connect(self, auth: Any = None) -> None:
            self.send("connected")

        def on_disconnect(self) -> None:
            called.append("disconnected")

        def on_my_event(self, data: Any) -> Any:
            self.emit("back", data)
            return data

        def on_fail(self) -> None:
            raise ValueError("of the method")

        def error(self, error: BaseException) -> str:
            return str(error)

    socketio.on_namespace(Test("/test"))
    client = socketio.test_client(app, "/test")
    assert client.emit("my_event", 1, callback=True, namespace="/test") == 1
    assert client.emit("fail", callback=True, namespace="/test") == "of the method"
    client.emit("unknown", namespace="/test")
    assert received(client, "/test") == [("message", "connected"), ("back", [1])]
    client.disconnect("/test")
    assert called == ["disconnected"]
    with pytest.raises(ValueError, match="namespace instance"):
        socketio.on_namespace(object())  # type: ignore[arg-type]


def test_namespace_object_may_dispatch_by_itself() -> None:
    app, socketio = make()

    class Test(Namespace):
        def trigger_event(self, event: str, *args: Any) -> Any:
            if event == "connect":
                return super().trigger_event(event, *args)
            return [event, args[1:]]

    socketio.on_namespace(Test("/test"))
    client = socketio.test_client(app, "/test")
    assert client.emit("anything", 1, callback=True, namespace="/test") == ["anything", [1]]


def test_session_is_that_of_the_user_and_what_handlers_change_lasts() -> None:
    app, socketio = make()

    @app.post("/login")
    def login() -> str:
        session["user"] = "ann"
        return ""

    @socketio.on("session")
    def change(key: str | None = None) -> dict[str, Any]:
        if key is not None:
            session[key] = True
        return dict(session)

    @socketio.on("logout")
    def logout() -> None:
        session.clear()

    browser = app.test_client()
    browser.post("/login")
    client = socketio.test_client(app, flask_test_client=browser)
    assert client.emit("session", callback=True) == {"user": "ann"}
    assert client.emit("session", "a", callback=True) == {"user": "ann", "a": True}
    assert client.emit("session", "b", callback=True) == {"user": "ann", "a": True, "b": True}
    client.emit("logout")
    assert client.emit("session", callback=True) == {}
    assert socketio.test_client(app).emit("session", callback=True) == {}


def test_every_event_has_a_context_of_its_own() -> None:
    app, socketio = make()
    ended: list[str] = []
    app.before_request(lambda: pytest.fail("no request is dispatched"))
    app.teardown_request(lambda _: ended.append("request"))
    app.teardown_appcontext(lambda _: ended.append("application"))

    @socketio.on("count")
    def count() -> int:
        g.count = getattr(g, "count", 0) + 1
        return int(g.count)

    client = socketio.test_client(app)
    ended.clear()
    assert [client.emit("count", callback=True) for _ in range(2)] == [1, 1]
    assert ended == ["request", "application"] * 2
    assert not flask.has_request_context()


def test_middleware_around_the_application_sees_the_events_request() -> None:
    app, socketio = make()
    inner = app.wsgi_app

    def middleware(environ: dict[str, Any], start_response: Any) -> Any:
        environ["REMOTE_ADDR"] = "192.0.2.1"
        return inner(environ, start_response)

    app.wsgi_app = middleware  # type: ignore[method-assign]
    socketio.on_event("address", lambda: request.remote_addr)
    client = socketio.test_client(app)
    assert client.emit("address", callback=True) == "192.0.2.1"


def test_background_task_and_sleep() -> None:
    _, socketio = make()
    done: list[Any] = []
    task = socketio.start_background_task(lambda a, b: done.append((a, b)), 1, b=2)
    socketio.sleep(0)
    task.join(15)
    assert done == [(1, 2)]


def test_factory_initialises_later() -> None:
    socketio = SocketIO(namespaces=["/a"], ping_interval=(10, 2))
    socketio.on_event("ask", lambda: "answer")
    app = Flask("factory")
    socketio.init_app(app, ping_timeout=3)
    assert socketio.test_client(app).emit("ask", callback=True) == "answer"
    assert socketio.test_client(app, "/a").is_connected("/a")
    engine = socketio.options.engine
    assert (engine.ping_interval_s, engine.ping_grace_s, engine.ping_timeout_s) == (10, 2, 3)
    assert app.extensions["socketio"] is socketio


def test_factory_of_a_test_begins_anew_with_each_application() -> None:
    socketio = SocketIO()
    socketio.on_event("name", lambda: flask.current_app.name)
    for name in ("first", "second"):
        app = Flask(name)
        socketio.init_app(app)
        client = socketio.test_client(app)
        assert client.emit("name", callback=True) == name
        socketio.emit("told", name)
        assert received(client) == [("told", [name])]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"ping_timeout": 0}, "ping_timeout=0"),
        ({"transports": ["carrier pigeon"]}, "polling, websocket"),
        ({"message_queue": "redis://"}, "no message queue is needed"),
        ({"serializer": "pickle"}, "'default' or 'msgpack'"),
        ({"client_manager": object()}, "takes the place of a client manager"),
        ({"json": object()}, "dumps"),
        ({"colour": "blue"}, "has no option 'colour'"),
        ({"cors_allowed_origins": "example.org"}, "is not an origin"),
    ],
)
def test_option_that_cannot_be_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        SocketIO(Flask("options"), **options)


def test_options_of_flask_socketio_are_taken() -> None:
    app = Flask("options")
    SocketIO(
        app,
        message_queue=None,
        channel="c",
        path="/other.io",
        manage_session=False,
        json=flask.json,
        serializer="default",
        async_handlers=True,
        always_connect=False,
        namespaces="*",
        client_manager=None,
        logger=False,
        engineio_logger=False,
        async_mode="threading",
        ping_interval=25,
        ping_timeout=20,
        max_http_buffer_size=10,
        allow_upgrades=True,
        http_compression=True,
        compression_threshold=1,
        cookie={"name": "io", "httponly": True},
        cors_allowed_origins=["https://example.org"],
        cors_credentials=True,
        monitor_clients=True,
        transports=["polling"],
    )
    assert [str(rule) for rule in app.url_map.iter_rules()][-1] == "/other.io/"


def test_another_server_says_what_is_missing() -> None:
    app, _ = make()
    answer = app.test_client().get("/socket.io/?EIO=4&transport=polling")
    assert answer.status_code == 501
    assert "flasknado MODULE:APP" in answer.json["message"]
