"""gunicorn's settings: each is honoured or refused, and each refusal says what to do instead."""

from __future__ import annotations

from pathlib import Path

import gunicorn
import pytest
import requests
from gunicorn.config import make_settings

from flasknado.errors import ConfigurationError
from flasknado.process import settings
from flasknado.process.configuration import HostedConfig
from flasknado.process.gunicorn_settings import HONOURED, REPLACEMENTS, refuse_unknown
from tests.support.process import server_process

OWN = frozenset(own.name for own in settings.OWN)

HOOKS = """
import flask

secure_scheme_headers = {"X-FORWARDED-PROTOCOL": "ssl", "X-FORWARDED-SSL": "on"}


def post_worker_init(worker):
    worker.log.info("worker.wsgi is %s", type(worker.wsgi).__name__)
    application = worker.wsgi

    def wrapped(environ, start_response):
        environ["wrapped"] = "yes"
        return application(environ, start_response)

    wrapped.app = application
    worker.wsgi = wrapped
"""
APP = """
import flask
app = flask.Flask("hooked")

@app.get("/")
def told():
    return f"{flask.request.scheme} {flask.request.environ.get('wrapped')}"
"""


def test_every_setting_of_gunicorn_is_honoured_or_has_a_replacement() -> None:
    known = set(HONOURED) | set(REPLACEMENTS)
    assert set(make_settings()) - OWN <= known
    if gunicorn.version_info >= (27,):  # older ones have fewer
        assert known <= set(make_settings())
    assert not set(HONOURED) & set(REPLACEMENTS)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        (
            "limit_request_field_size",
            100,
            "is 100, .* not supported .* use --max-head",
        ),
        ("paste", "shop.ini", r"loadapp\('config:"),
        ("statsd_host", "localhost:8125", "Prometheus"),
        ("proxy_protocol", True, "X-Forwarded-For over HTTP, and add for to --trusted-fields"),
        ("pre_request", lambda worker, req: None, "pre_request is .* before_request"),
        ("forwarder_headers", "SCRIPT_NAME", "X-Forwarded-Prefix .* add prefix to"),
        ("http_protocols", "h2", "HTTP/2"),
        ("root_path", "/shop", "--mount"),
    ],
)
def test_setting_that_is_refused_names_its_replacement(name: str, value: object, said: str) -> None:
    cfg = HostedConfig()
    cfg.apply_defaults({})
    refuse_unknown(cfg, OWN)
    if name not in cfg.settings:
        pytest.skip(f"gunicorn {gunicorn.__version__} has no setting {name}")
    cfg.set(name, value)
    with pytest.raises(ConfigurationError, match=said):
        refuse_unknown(cfg, OWN)


def test_hook_finds_the_application_in_the_worker_and_may_wrap_it(tmp_path: Path) -> None:
    (tmp_path / "hooked.py").write_text(APP)
    (tmp_path / "gunicorn.conf.py").write_text(HOOKS)
    command = ("-m", "flasknado", "--bind", "127.0.0.1:0", "hooked:app")
    with server_process(command, cwd=tmp_path) as server:
        server.wait_for_output("worker.wsgi is Flask")
        assert requests.get(server.url, timeout=10).text == "http yes"
        for fields, answer in (
            ({"X-Forwarded-Ssl": "on"}, "https yes"),
            ({"X-Forwarded-Protocol": "ssl"}, "https yes"),
            # Only what is configured.
            ({"X-Forwarded-Proto": "https"}, "http yes"),
        ):
            assert requests.get(server.url, headers=fields, timeout=10).text == answer
        disagree = {"X-Forwarded-Ssl": "off", "X-Forwarded-Protocol": "ssl"}
        assert requests.get(server.url, headers=disagree, timeout=10).status_code == 400
