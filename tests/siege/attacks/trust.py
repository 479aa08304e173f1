"""Clients that say they are proxies."""

from __future__ import annotations

import http.client
import time

from tests.siege.attack import Attack, Report, Target
from tests.siege.attacks.live import get_json

FORGED = {
    "X-Forwarded-For": "203.0.113.9",
    "X-Real-IP": "203.0.113.9",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Port": "666",
    "X-Forwarded-Prefix": "/evil",
    "X-Request-ID": "forged",
    "Client-Cert": ":AAAA:",
    "Forwarded": "for=203.0.113.9;host=evil.example",
}


def forged(target: Target, seconds: float) -> Report:
    """Send every forwarding field from an address that is a trusted proxy's by default."""
    report = Report()
    ends = time.monotonic() + min(seconds, 1)
    seen: dict[str, object] = {}
    while not seen or time.monotonic() < ends:
        seen = get_json(target, "/seen", FORGED)
        report.sent_bytes += sum(len(name) + len(value) + 4 for name, value in FORGED.items())
    report.expect(seen["address"] == "127.0.0.1", f"the address is the peer's, not {seen}")
    report.expect("evil" not in str(seen["url"]), f"links are to this site, not {seen['url']}")
    report.expect(not seen["root"], f"the prefix is the server's own, not {seen['root']}")
    report.expect(not seen["certificate"], "a client has no certificate that it did not show")
    report.expect(seen["request_id"] != "forged", "the request's id is the server's own")
    for fields in ({"X-Forwarded-For": "127.0.0.1"}, {"Via": "1.1 proxy"}):
        status = _status(target, "/-/metrics", fields)
        report.answers[str(status)] += 1
        report.expect(status == 403, f"metrics are not shown through a proxy: {status}")
    return report


def _status(target: Target, path: str, fields: dict[str, str]) -> int:
    connection = http.client.HTTPConnection(*target.address, timeout=10)
    try:
        connection.request("GET", path, headers=fields)
        return connection.getresponse().status
    finally:
        connection.close()


ATTACKS = (
    Attack("forged-fields", "forwarding fields of clients", forged, ("small", "small, tornado")),
)
