from __future__ import annotations

from typing import Any

import flask
import pytest
from tornado.web import RequestHandler

from flasknado.errors import ConfigurationError
from flasknado.http.memory import default_limit_bytes
from flasknado.process import settings
from flasknado.process.build import build_server, import_application, import_routes
from flasknado.process.configuration import HostedConfig

app = flask.Flask(__name__)
application = app
routes = [(r"/native", RequestHandler)]


def make_routes() -> list[Any]:
    return routes


def make_app() -> flask.Flask:
    return app


async def asgi(scope: Any, receive: Any, send: Any) -> None: ...


class Asgi:
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...


class Parts:
    """A WSGI application that is a class (PEP 3333)."""

    def __init__(self, environ: Any, start_response: Any) -> None: ...


class Site:
    def make(self) -> None: ...


def make_asgi() -> Any:
    return asgi


def fail() -> None:
    raise RuntimeError("on purpose")


def needs(name: str) -> list[Any]:
    return [name]


asgi_object = Asgi()
text = "not callable"


@pytest.fixture
def cfg() -> HostedConfig:
    cfg = HostedConfig()
    cfg.apply_defaults(environment={})
    return cfg


@pytest.mark.parametrize("uri", [__name__, f"{__name__}:app", f"{__name__}:make_app()"])
def test_application_named_in_any_way_is_imported(uri: str) -> None:
    assert import_application(uri) is app


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("asgi", "is an ASGI application"),
        ("asgi_object", "is an ASGI application"),
        ("text", "is of type str, not a WSGI application"),
        ("make_app", r"if it is a factory, call it"),
        ("asgi_object.__call__", "is an ASGI application"),
        ("make_asgi()", "is an ASGI application"),
        ("Site", r"does not take \(environ, start_response\)"),
        ("flask", "is of type module, not a WSGI application"),
    ],
)
def test_application_that_is_none_is_refused(name: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        import_application(f"{__name__}:{name}")


def test_application_that_is_a_class_is_imported() -> None:
    assert import_application(f"{__name__}:Parts") is Parts  # type: ignore[comparison-overlap]


@pytest.mark.parametrize("name", ["routes", "make_routes", "make_routes()"])
def test_routes_named_in_any_way_are_imported(name: str) -> None:
    assert import_routes(f"{__name__}:{name}") == routes


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("text", "is of type str: name a list"),
        ("app", "is of type Flask: name a list"),
        ("asgi", "is of type function: name a list"),
        ("needs", "is of type function: name a list"),
        ("make_app", "is of type Flask: name a list"),
        ("fail", "'fail' failed: RuntimeError: on purpose"),
    ],
)
def test_routes_that_are_no_list_are_refused(name: str, said: str) -> None:
    said = said.replace("'fail'", f"'{__name__}:fail'")
    with pytest.raises(ConfigurationError, match=said):
        import_routes(f"{__name__}:{name}")


def test_compose_takes_every_setting_of_ours(cfg: HostedConfig) -> None:
    cfg.set("threads", 3)
    cfg.set("queue_limit", 7)
    cfg.set("queue_timeout", 1.5)
    cfg.set("max_body", "99")
    cfg.set("max_body_for", ["POST /upload=1M", "/login=64K"])
    cfg.set("mount", "/shop")
    cfg.set("handlers", f"{__name__}:routes")
    cfg.set("forwarded_allow_ips", "10.0.0.1")
    server = build_server(app, cfg)
    container = server.container
    assert container is not None
    assert container.pool.threads == 3
    assert container.pool.queue_limit == 7
    assert container.queue_timeout_s == 1.5
    assert container.max_body_bytes == 99
    assert container.body_limits is server.body_limits
    assert server.body_limits.limit_bytes("POST", "/upload/x") == 1024 * 1024
    assert server.body_limits.limit_bytes("PUT", "/upload/x") == 99
    assert server.body_limits.limit_bytes("GET", "/login") == 64 * 1024
    assert container.mount == "/shop"
    assert server.native.find("/shop/native") is not None
    assert server.trusted_proxies.trusts("10.0.0.1")
    assert not server.trusted_proxies.trusts("127.0.0.1")


def test_options_come_from_the_environment(cfg: HostedConfig) -> None:
    cfg.apply_defaults(environment={"FLASKNADO_MAX_BODY": "5", "FLASKNADO_MOUNT": "/a"})
    assert settings.option(cfg, "max_body") == 5
    assert settings.option(cfg, "mount") == "/a"


def test_rules_and_sizes_come_from_the_environment(cfg: HostedConfig) -> None:
    environment = {
        "FLASKNADO_MAX_BODY": "2M",
        "FLASKNADO_MAX_BODY_FOR": "POST /upload=100M, /login=64K",
        "FLASKNADO_MEMORY_LIMIT": "512M",
        "FLASKNADO_MIN_WRITE_RATE": "1K",
        "FLASKNADO_BUSY_WRITE_RATE": "2K",
        "FLASKNADO_RESPONSE_TIMEOUT": "60",
    }
    cfg.apply_defaults(environment)
    limits = settings.limits_of(cfg)
    assert limits.max_body_bytes == 2 * 1024 * 1024
    assert limits.body_limits == {"POST /upload": "100M", "/login": "64K"}
    assert limits.memory_limit_bytes == 512 * 1024 * 1024
    assert (limits.min_write_rate_bytes_s, limits.busy_write_rate_bytes_s) == (1024, 2048)
    assert limits.response_timeout_s == 60


def test_memory_limit_is_divided_among_the_workers_by_default(cfg: HostedConfig) -> None:
    cfg.set("workers", 3)
    assert settings.limits_of(cfg).memory_limit_bytes == default_limit_bytes(3)


@pytest.mark.parametrize(
    ("variable", "value", "rule"),
    [
        ("FLASKNADO_MAX_BODY", "-1", "a whole number of bytes above 0"),
        ("FLASKNADO_MAX_BODY", "0", "a whole number of bytes above 0"),
        ("FLASKNADO_MAX_BODY", "12Q", "a whole number of bytes above 0"),
        ("FLASKNADO_MEMORY_LIMIT", "much", "a whole number of bytes"),
        ("FLASKNADO_RESPONSE_TIMEOUT", "-1", "a number of seconds, 0 or more"),
        ("FLASKNADO_MOUNT", "shop/", "a path that begins with a slash"),
        ("FLASKNADO_QUEUE_TIMEOUT", "0", "a number of seconds above 0"),
        ("FLASKNADO_HTTP_LAYER", "carrier-pigeon", "one of llhttp, tornado"),
    ],
)
def test_options_with_a_bad_value_are_refused(
    cfg: HostedConfig, variable: str, value: str, rule: str
) -> None:
    with pytest.raises(ConfigurationError, match=f"{variable} must be {rule}.*, not '{value}'"):
        cfg.apply_defaults(environment={variable: value})


@pytest.mark.parametrize("value", ["/login", "login=1K"])
def test_body_limits_with_a_bad_rule_are_refused(cfg: HostedConfig, value: str) -> None:
    variable = "FLASKNADO_MAX_BODY_FOR"
    with pytest.raises(ConfigurationError, match=f"{variable} is {value}: the body limit"):
        cfg.apply_defaults(environment={variable: value})
