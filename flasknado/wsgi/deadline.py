"""Deadlines of requests: the client gets 504 in time, whatever its thread is doing.

A thread cannot be stopped. So the loop answers in its place, what the thread answers later
is dropped, the log says where it hangs, and the pool counts it as stuck until it comes
back. Only the beginning of a response has a deadline: a stream that has begun goes on.
"""

from __future__ import annotations

from flasknado.errors import ClientDisconnected
from flasknado.http.message import RequestHead, ResponseHead, plain_response
from flasknado.http.reply import BeginOnLoop, LeftConnection, Reply, ReplyWrapper, TakeConnection


class DeadlineReply(ReplyWrapper):
    """A reply that is begun by exactly one: the pool thread, or the loop with a 504."""

    __slots__ = ("_beginning",)

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply)
        self._beginning = [True]

    def send(self, head: ResponseHead, body: bytes) -> None:
        """Send a whole response, or drop it if the client has had its 504."""
        if self._begin():
            self._reply.send(head, body)

    def start(self, head: ResponseHead) -> None:
        """Begin a stream; raises `ClientDisconnected` if the client has had its 504."""
        if not self._begin():
            raise ClientDisconnected("the client was answered 504: the response came too late")
        self._reply.start(head)

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
