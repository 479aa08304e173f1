"""Deadlines of requests: the client gets 504 in time, whatever its thread is doing.

A thread cannot be stopped. So the loop answers in its place, what the thread answers later
is dropped, the log says where it hangs, and the pool counts it as stuck until it comes
back. Only the beginning of a response has a deadline: a stream that has begun goes on.
"""

from __future__ import annotations

from typing import Any

from flasknado.errors import ClientDisconnected
from flasknado.http.message import RequestHead, ResponseHead, plain_response
from flasknado.http.reply import BeginOnLoop, LeftConnection, Reply, TakeConnection


class DeadlineReply:
    """A reply that is begun by exactly one: the pool thread, or the loop with a 504."""

    __slots__ = ("_beginning", "_reply")

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self._beginning = [True]

    @property
    def gone(self) -> bool:
        """True once nothing that is written reaches the client. May be read on any thread."""
        return self._reply.gone

    @property
    def begun(self) -> bool:
        """Whether a stream has been started. May be read on any thread."""
        return self._reply.begun

    @property
    def stalled(self) -> bool:
        """Whether a stream waits for its client. May be read on any thread."""
        return self._reply.stalled

    @property
    def leaves_http(self) -> bool:
        """Whether the connection can be taken as a socket."""
        return self._reply.leaves_http

    @property
    def addresses(self) -> tuple[Any, Any]:
        """The addresses of the connection, on this side and on the other."""
        return self._reply.addresses

    def send(self, head: ResponseHead, body: bytes) -> None:
        """Send a whole response, or drop it if the client has had its 504."""
        if self._begin():
            self._reply.send(head, body)

    def start(self, head: ResponseHead) -> None:
        """Begin a stream; raises `ClientDisconnected` if the client has had its 504."""
        if not self._begin():
            raise ClientDisconnected("the client was answered 504: the response came too late")
        self._reply.start(head)

    def write(self, chunk: bytes) -> None:
        """Send a part of the stream that this thread has begun."""
        self._reply.write(chunk)

    def leave_file(self, file_fd: int, offset: int, size_bytes: int) -> None:
        """Leave a file to the stream that this thread has begun."""
        self._reply.leave_file(file_fd, offset, size_bytes)

    def hand_over(self, head: ResponseHead, take: TakeConnection) -> None:
        """Leave the connection to another, or drop it if the client has had its 504."""
        if self._begin():
            self._reply.hand_over(head, take)

    def leave_to_loop(self, begin: BeginOnLoop) -> bool:
        """Leave the response to the loop, unless the client has had its 504."""
        return self._begin() and self._reply.leave_to_loop(begin)

    def take_socket(self) -> LeftConnection:
        """Take the connection; raises `ClientDisconnected` if the client has had its 504."""
        if not self._begin():
            raise ClientDisconnected("the client was answered 504: the socket was taken too late")
        return self._reply.take_socket()

    def end_early(self) -> bool:
        """Complete the stream that a thread goes on with; on the loop's thread."""
        return self._reply.end_early()

    def finish(self) -> None:
        """End the stream that this thread has begun."""
        self._reply.finish()

    def abort(self) -> None:
        """Cut off the stream that this thread has begun."""
        self._reply.abort()

    def time_out(self, head: RequestHead) -> bool:
        """Answer 504 if no response has begun; returns whether it did. On the loop's thread."""
        if not self._begin():
            return False
        self._reply.send(*plain_response(head, 504, "The server took too long to answer."))
        return True

    def _begin(self) -> bool:
        try:
            return self._beginning.pop()  # atomic: one caller gets it
        except IndexError:
            return False
