"""OpenTelemetry and Sentry on both halves, as a site sets them up, with a collector here."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import signal
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests

from tests.support.poll import poll
from tests.unmodified.conftest import Host
from tests.unmodified.test_applications import APPLICATIONS

pytestmark = pytest.mark.timeout(300)  # the first of them installs packages

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE_ID}-00f067aa0ba902b7-01"


class Collector:
    """Takes what is exported: the bodies of all requests, by their paths."""

    def __init__(self) -> None:
        bodies: list[tuple[str, bytes]] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                bodies.append((self.path, body))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        self._bodies = bodies
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self.server.server_port}"

    def got(self, path: str) -> list[bytes]:
        return [body for at, body in self._bodies if at.startswith(path)]


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    collector = Collector()
    thread = threading.Thread(target=collector.server.serve_forever, name="collector")
    thread.start()
    yield collector
    collector.server.shutdown()
    thread.join()
    collector.server.server_close()


@pytest.fixture(scope="module")
def output(
    collector: Collector, host: Host, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, str]:
    """What a site has logged that was asked four times: its errors, and its requests."""
    folder = tmp_path_factory.mktemp("observed")
    shutil.copy(APPLICATIONS / "observed.py", folder)
    env = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{collector.address}",
        "SENTRY_DSN": f"http://key@{collector.address}/1",
        "no_proxy": "127.0.0.1",
    }
    access = Path(folder / "access.log")
    options = ("--handlers", "observed:routes", "--log-format", "json")
    logs = ("--access-logfile", str(access), "--access-logformat", "json")
    with host("telemetry", "observed:app", *options, *logs, cwd=folder, env=env) as server:
        for half in ("view", "native"):
            for name, status in (("well", 200), ("broken", 500)):
                fields = {"traceparent": TRACEPARENT}
                url = f"{server.url}/{half}/{name}"
                assert requests.get(url, headers=fields, timeout=20).status_code == status
        server.signal(signal.SIGTERM)
        server.wait()
        return server.output, access.read_text()


def test_spans_of_both_halves_continue_the_trace_of_the_client(
    collector: Collector, output: tuple[str, str]
) -> None:
    spans = b"".join(poll(lambda: collector.got("/v1/traces")))
    assert spans.count(bytes.fromhex(TRACE_ID)) >= 4
    assert b"/view/<name>" in spans
    assert b"Native.get" in spans or b"/native/" in spans


def test_errors_of_both_halves_arrive_at_sentry(
    collector: Collector, output: tuple[str, str]
) -> None:
    envelopes = b"".join(poll(lambda: collector.got("/api/1/envelope")))
    assert b"the view is broken" in envelopes
    assert b"the handler is broken" in envelopes


def test_access_log_has_the_trace_of_each_request(output: tuple[str, str]) -> None:
    lines = [json.loads(line) for line in output[1].splitlines()]
    assert {line["half"] for line in lines} == {"ordinary", "native"}
    assert [line["traceparent"] for line in lines] == [TRACEPARENT] * 4


@pytest.mark.parametrize("message", ["seen by the view", "seen by the handler"])
def test_error_log_has_the_trace_of_what_was_logged_in_a_span(
    message: str, output: tuple[str, str]
) -> None:
    lines = [line for line in output[0].splitlines() if f'"{message}"' in line]
    assert len(lines) == 2
    for line in lines:
        said = json.loads(line)["traceparent"]
        assert re.fullmatch(rf"00-{TRACE_ID}-[0-9a-f]{{16}}-01", said)
        assert said != TRACEPARENT, "the span of the server, within that of the client"
