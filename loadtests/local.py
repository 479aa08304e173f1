"""Which URLs may be put under load: those of this machine, so that nobody is attacked by a slip."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit


class NotLocal(ValueError):
    """A URL that is not this machine's, in one sentence."""


def local_url(text: str) -> str:
    """Return the URL without a path; raises `NotLocal` unless this machine has its address."""
    try:
        parts = urlsplit(text)
        port = parts.port or 80
    except ValueError as error:
        raise NotLocal(f"{text!r} is not a URL: {error}") from None
    if parts.scheme != "http" or not parts.hostname:
        raise NotLocal(f"{text!r} must begin with http:// and name a host")
    try:
        found = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise NotLocal(f"{parts.hostname} is not known here: {error.strerror}") from None
    for family, kind, protocol, _name, address in found:
        with socket.socket(family, kind, protocol) as probe:
            try:
                # Only an address of this machine can be bound.
                probe.bind((address[0], 0))
            except OSError:
                raise NotLocal(
                    f"{parts.hostname} is another machine: run the load test on that one, or"
                    " locust itself by hand if you may"
                ) from None
    return f"http://{parts.netloc}"
