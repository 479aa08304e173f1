"""`traceparent` in the logs: what a request sent, if it is one; nothing else."""

from __future__ import annotations

import json
import logging

import flask
import pytest

from flasknado.http.head import parse_head
from flasknado.http.message import Finished
from flasknado.ops.logs.access_lines import template
from flasknado.ops.logs.error import JSONFormatter, RequestFilter
from flasknado.ops.logs.scrub import Scrubber

GOOD = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
BAD = [
    "",
    "-",
    GOOD.upper(),
    GOOD.replace("00-4", "ff-4"),
    f"00-{'0' * 32}-00f067aa0ba902b7-01",
    f"00-4bf92f3577b34da6a3ce929d0e0e4736-{'0' * 16}-01",
    f"{GOOD}-more",
    f'{GOOD}"',
    "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
]


def access_entry(value: str) -> dict[str, object]:
    head = parse_head("GET", "/", "1.1", [(b"Host", b"a"), (b"Traceparent", value.encode())])
    line = template("json", Scrubber()).line(Finished(head, 200, 1, 0.1, "ordinary"))
    entry: dict[str, object] = json.loads(line)
    return entry


def error_entry(value: str | None) -> dict[str, object]:
    record = logging.makeLogRecord({"msg": "said"})
    app = flask.Flask("traced")
    headers = {} if value is None else {"traceparent": value}
    with app.test_request_context("/", headers=headers):
        assert RequestFilter(Scrubber()).filter(record)
    entry: dict[str, object] = json.loads(JSONFormatter().format(record))
    return entry


def test_traceparent_of_a_request_is_in_both_logs() -> None:
    assert access_entry(GOOD)["traceparent"] == GOOD
    assert error_entry(GOOD)["traceparent"] == GOOD


@pytest.mark.parametrize("value", BAD)
def test_what_is_no_traceparent_is_left_out(value: str) -> None:
    assert "traceparent" not in access_entry(value)
    assert "traceparent" not in error_entry(value)


def test_record_outside_of_a_trace_has_none() -> None:
    record = logging.makeLogRecord({"msg": "said"})
    assert RequestFilter(Scrubber()).filter(record)
    assert "traceparent" not in json.loads(JSONFormatter().format(record))
    assert logging.Formatter("%(traceparent)s").format(record) == "-"
    assert "traceparent" not in error_entry(None)
