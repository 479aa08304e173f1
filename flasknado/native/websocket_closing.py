"""The end of a WebSocket connection whose client broke the protocol (RFC 6455, section 7.1.7)."""

from __future__ import annotations

import contextlib
import socket
import ssl

from tornado.iostream import IOStream

from flasknado.native.iostream import TransportStream


def shut_down_writing(stream: IOStream | TransportStream) -> None:
    """Say after the closing frame that nothing more will come; reading goes on.

    A client whose own closing frame cannot be told from garbage closes then, too, and has
    read ours: closing at once over unread bytes would take it away. Under TLS, where one half
    cannot be closed, nothing happens. On the loop's thread.
    """
    if isinstance(stream, TransportStream):
        stream.write_eof()
    elif not stream.closed() and not stream.writing():
        sock: socket.socket | ssl.SSLSocket = stream.socket
        if not isinstance(sock, ssl.SSLSocket):
            with contextlib.suppress(OSError):  # it has gone by itself
                sock.shutdown(socket.SHUT_WR)
