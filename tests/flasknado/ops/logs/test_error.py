"""The error log: the request's id on its lines, no secret on any, in text and in JSON."""

from __future__ import annotations

import json
import logging
import re
import signal
from pathlib import Path

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from flasknado.http.request_id import current_request_id
from flasknado.ops.logs.error import JSONFormatter, LineFormatter, RequestFilter, TextFormatter
from flasknado.ops.logs.scrub import Scrubber
from flasknado.stacks import log_stack
from tests.support.process import server_process

APP = """
import logging, flask, tornado.web
app = flask.Flask("logs")

@app.get("/warn")
def warn():
    logging.getLogger("mine").warning("asked for %s", flask.request.full_path)
    return "warned"

@app.get("/forge")
def forge():
    logging.getLogger("mine").warning("bought %s", flask.request.args["what"])
    return "bought"

@app.get("/raise")
def raise_forged():
    raise ValueError(flask.request.args["what"])

@app.get("/fail")
def fail():
    raise ValueError("could not fetch /x?access_token=hush")

class Native(tornado.web.RequestHandler):
    def get(self):
        logging.getLogger("mine").warning("native")
        raise ValueError("at ?ticket=hush")

routes = [(r"/native", Native)]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "logs.py").write_text(APP)
    return tmp_path


def command(*options: str) -> tuple[str, ...]:
    bind = ("-m", "flasknado.process.cli", "--bind", "127.0.0.1:0", "--handlers", "logs:routes")
    return (*bind, *options, "logs:app")


def test_error_log_in_text_names_the_request_and_hides_its_secrets(folder: Path) -> None:
    with server_process(command(), cwd=folder) as server:
        warned = requests.get(server.url + "/warn?token=hush", timeout=10)
        failed = requests.get(server.url + "/fail", timeout=10)
        native = requests.get(server.url + "/native?jwt=hush", timeout=10)
        server.wait_for_output(r"ValueError: at \?ticket=\*\*\*")
        for answer, said in (
            (warned, r"asked for /warn\?token=\*\*\*"),
            (failed, r"Exception on /fail \[GET\]"),
            (native, r"\[WARNING\] native"),
        ):
            name = re.escape(answer.headers["X-Request-ID"])
            server.wait_for_output(rf"(?m){said} \[{name}\]$")
        assert "hush" not in server.output
        assert server.output.count("ValueError: could not fetch /x?access_token=***") == 1


def test_error_log_in_json_has_the_request_as_a_field(folder: Path) -> None:
    with server_process(command("--log-format", "json"), cwd=folder) as server:
        warned = requests.get(server.url + "/warn?token=hush", timeout=10)
        requests.get(server.url + "/fail", timeout=10)
        server.wait_for_output("could not fetch")
        server.stop()
        entries = [json.loads(line) for line in server.lines]
    [entry] = [entry for entry in entries if entry["logger"] == "mine"]
    assert entry["request_id"] == warned.headers["X-Request-ID"]
    assert entry["message"] == "asked for /warn?token=***"
    [failure] = [entry for entry in entries if "exception" in entry]
    assert "ValueError: could not fetch /x?access_token=***" in failure["exception"]
    assert all(
        "request_id" not in entry for entry in entries if entry["logger"] == "gunicorn.error"
    )


FORGED = "x\n[2026-01-01 00:00:00 +0000] [1] [ERROR] the safe is open\r\x1b[2K"


@pytest.mark.parametrize("path", ["/forge", "/raise"])
def test_error_log_in_text_cannot_be_forged_by_line_ends(folder: Path, path: str) -> None:
    with server_process(command(), cwd=folder) as server:
        requests.get(server.url + path, params={"what": FORGED}, timeout=10)
        server.wait_for_output("the safe is open")
        server.stop()
        lines = server.output.split("\n")
    assert not any(line.startswith("[2026-01-01") for line in lines)
    assert not any(character in server.output for character in "\r\x1b")
    # Every line is a record, or belongs to the one before it.
    assert all(re.match(r"\[\d{4}-| {4}|$", line) for line in lines)
    if path == "/forge":
        assert any(r"bought x\n[2026-01-01 00" in line for line in lines)
    else:
        assert "    Traceback (most recent call last):" in lines
        assert "    ValueError: x" in lines


def test_error_log_in_json_cannot_be_forged_by_line_ends(folder: Path) -> None:
    with server_process(command("--log-format", "json"), cwd=folder) as server:
        for path in ("/forge", "/raise"):
            what = FORGED + "\x85\u2028"
            requests.get(server.url + path, params={"what": what}, timeout=10)
        server.wait_for_output("ValueError: x")
        server.stop()
        entries = [json.loads(line) for line in server.output.splitlines()]
    (entry,) = [entry for entry in entries if entry["logger"] == "mine"]
    assert entry["message"].startswith(f"bought {FORGED}\x85\u2028")


def test_access_log_to_a_file_is_whole_at_the_end_and_follows_a_rotation(folder: Path) -> None:
    path = folder / "access.log"
    options = ("-w", "2", "--access-logfile", str(path), "--access-logformat", "json")
    with server_process(command(*options), cwd=folder) as server:
        for number in range(50):
            requests.get(server.url + f"/warn?n={number}&token=hush", timeout=10)
        path.rename(folder / "access.log.1")
        server.signal(signal.SIGUSR1)
        server.wait_for_output("Handling signal: usr1")
        for number in range(50, 100):
            requests.get(server.url + f"/warn?n={number}", timeout=10)
        assert server.stop() == 0
    old = (folder / "access.log.1").read_text()
    lines = (old + path.read_text()).splitlines()
    targets = {json.loads(line)["target"].partition("&")[0] for line in lines}
    assert targets == {f"/warn?n={number}" for number in range(100)}
    assert "hush" not in old


def test_access_log_of_a_worker_that_is_told_to_quit_is_flushed(folder: Path) -> None:
    with server_process(command("--access-logfile", "-"), cwd=folder) as server:
        requests.get(server.url + "/warn?last=1", timeout=10)
        server.signal(signal.SIGQUIT)
        assert server.wait() == 0
        assert '"GET /warn?last=1 HTTP/1.1" 200 ' in server.output


def test_access_log_that_is_not_asked_for_is_off(folder: Path) -> None:
    with server_process(command(), cwd=folder) as server:
        requests.get(server.url + "/warn", timeout=10)
        server.stop()
        assert "HTTP/1.1" not in server.output


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--access-logformat", "%(zzz)s"), r"--access-logformat: unknown atom %\(zzz\)s"),
        (("--metrics-allow", "everybody"), r"--metrics-allow is 'everybody': 'everybody' is not"),
        (("--log-format", "xml"), r"--log-format must be one of text, json, not 'xml'"),
        (("--ops-bind", "127.0.0.1:99999"), r"--ops-bind: cannot listen on '127.0.0.1:99999'"),
    ],
)
def test_setting_with_a_bad_value_stops_startup_with_a_one_line_error(
    folder: Path, options: tuple[str, ...], said: str
) -> None:
    with server_process(command(*options), cwd=folder, ready=False) as server:
        assert server.wait() == 1
        server.wait_for_output(said)
        assert "Traceback" not in server.output


# The formatters by plain calls.

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=40)


def record(message: str, *args: object) -> logging.LogRecord:
    made = logging.LogRecord("mine", logging.INFO, "file.py", 1, message, args, None)
    assert RequestFilter(Scrubber()).filter(made)
    return made


def test_record_outside_of_a_request_has_no_name() -> None:
    assert TextFormatter("%(message)s").format(record("plain")) == "plain"
    assert "request_id" not in json.loads(JSONFormatter().format(record("plain")))


def test_record_that_names_its_request_already_does_not_do_it_twice() -> None:
    token = current_request_id.set("abc-1")
    try:
        formatted = [TextFormatter("%(message)s").format(record(m)) for m in ("one", "two [abc-1]")]
    finally:
        current_request_id.reset(token)
    assert formatted == ["one [abc-1]", "two [abc-1]"]


def test_record_whose_arguments_do_not_fit_is_left_to_its_handler() -> None:
    assert record("%d and %d", 1).args == (1,)


@pytest.mark.parametrize("formatter", [TextFormatter("%(message)s"), LineFormatter("%(message)s")])
@given(text=ANY_TEXT)
def test_record_of_any_text_is_one_line_that_every_log_can_hold(
    formatter: logging.Formatter, text: str
) -> None:
    line = formatter.format(record("%s", text))
    line.encode()
    assert len(line.splitlines()) <= 1


@given(text=ANY_TEXT)
def test_traceback_of_any_text_is_indented(text: str) -> None:
    made = record("failed")
    made.exc_text = f"Traceback\nError: {text}"
    first, *others = TextFormatter("%(message)s").format(made).splitlines()
    assert first == "failed"
    assert all(line.startswith("    ") for line in others)


@given(text=ANY_TEXT)
def test_json_of_any_text_is_one_line_that_every_log_can_hold(text: str) -> None:
    line = JSONFormatter().format(record("%s", text))
    line.encode()
    assert len(line.splitlines()) == 1
    # Two halves of a surrogate pair are one character once they have been through JSON.
    said = record("%s", text).getMessage().encode("utf-16", "surrogatepass")
    assert json.loads(line)["message"].encode("utf-16", "surrogatepass") == said


def test_stack_of_another_thread_stands_below_its_record(caplog: pytest.LogCaptureFixture) -> None:
    log_stack(
        logging.getLogger("mine"), "File x?token=hush\n  y\n", "here: %s", 1, request_id="r-1"
    )
    (made,) = caplog.records
    assert RequestFilter(Scrubber()).filter(made)
    text = TextFormatter("%(message)s").format(made)
    assert text == "here: 1 [r-1]\n    File x?token=***\n      y"
    entry = json.loads(JSONFormatter().format(made))
    assert (entry["request_id"], entry["stack"]) == ("r-1", "File x?token=***\n  y")
