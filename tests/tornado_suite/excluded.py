"""Tests of Tornado's that do not hold for the llhttp layer, each with its reason.

A test that is listed here and passes makes the suite fail: the list must stay true.
"""

from __future__ import annotations

_TOO_LARGE = "a body that is too large is answered 413 here, where Tornado answers 400"
_LOOSE_LINES = "a bare LF ends no line here (RFC 9112, section 2.2 allows to refuse it)"
_TLS_LOG = "asyncio, not Tornado, does the handshake, and a failed one is closed without a log line"
_OWN_TEXT = "a refusal says here what is wrong, where Tornado's 400 has neither fields nor text"

EXCLUDED: dict[str, str] = {
    "httpserver_test.BodyLimitsTest.test_body_size_override_reset": _TOO_LARGE,
    "httpserver_test.BodyLimitsTest.test_large_body_buffered": _TOO_LARGE,
    "httpserver_test.BodyLimitsTest.test_large_body_buffered_chunked": _TOO_LARGE,
    "httpserver_test.BodyLimitsTest.test_large_body_streaming": _TOO_LARGE,
    "httpserver_test.BodyLimitsTest.test_large_body_streaming_chunked": _TOO_LARGE,
    "httpserver_test.BodyLimitsTest.test_timeout": (
        "a body that is late is answered 408 here, where Tornado closes without an answer"
    ),
    "httpserver_test.HTTPConnectionTest.test_newlines": _LOOSE_LINES,
    "httpserver_test.KeepAliveTest.test_keepalive_chunked": (
        "HTTP/1.0 has no Transfer-Encoding (RFC 9112, section 6.1), so it is refused here"
    ),
    "httpserver_test.MaxHeaderSizeTest.test_large_headers": (
        "the 431 is logged as every refusal is, and the test allows no line in the log"
    ),
    "httpserver_test.SSLTest.test_error_logging": _TLS_LOG,
    "httpserver_test.SSLTest.test_non_ssl_request": _TLS_LOG,
    "httpserver_test.UnixSocketTestAbstract.test_unix_socket_bad_request": _OWN_TEXT,
    "httpserver_test.UnixSocketTestFile.test_unix_socket_bad_request": _OWN_TEXT,
}
