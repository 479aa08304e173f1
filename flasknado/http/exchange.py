"""One request and its response, as a connection sees them: what both halves' exchanges are."""

from __future__ import annotations

from abc import ABC, abstractmethod

from flasknado.http.message import RequestHead


class Exchange(ABC):
    """One request and its response; belongs to the loop's thread.

    half: which half serves it. holds: whether what follows the request must not be parsed
    before the response has ended.
    """

    __slots__ = (
        "complete",
        "half",
        "head",
        "held_bytes",
        "holds",
        "max_body_bytes",
        "received_bytes",
        "sent_bytes",
        "started_at",
        "status",
    )

    def __init__(self, head: RequestHead, half: str, holds: bool, max_body_bytes: int) -> None:
        self.head = head
        self.half = half
        self.holds = holds
        self.max_body_bytes = max_body_bytes
        self.complete = False
        """Whether the request has arrived whole."""
        self.received_bytes = 0
        """How much of its body has arrived."""
        self.held_bytes = 0
        """How much of its body is in memory."""
        self.status = 0
        """The status of the response, 0 before it is known."""
        self.sent_bytes = 0
        """How much of the response was given to the transport, or to the kernel past it."""
        self.started_at = 0.0
        """When its head had been read, in seconds of `time.monotonic`; 0 if nobody asks."""

    @abstractmethod
    def begin(self) -> None:
        """Its turn has come: what was before it on the connection has been answered."""

    @abstractmethod
    def receive(self, data: bytes) -> None:
        """Take a part of the body; raises `RequestError` (413) above the limit."""

    @abstractmethod
    def end(self) -> None:
        """The request has arrived whole."""

    @abstractmethod
    def stuffed(self) -> bool:
        """Return whether no more of the body may be read for now."""

    @abstractmethod
    def needs_client(self) -> bool:
        """Return whether the client's half-close means that it has gone."""

    @abstractmethod
    def drop(self) -> bool:
        """Forget a request that is being refused; False if its response has begun."""

    @abstractmethod
    def drained(self) -> None:
        """The client took what was waiting for it."""

    @abstractmethod
    def lost(self) -> None:
        """The connection has closed before the response ended."""

    def holds_thread(self) -> bool:
        """Return whether a thread waits for the client."""
        return False

    def sends_file(self) -> bool:
        """Return whether the kernel sends a file, past the transport."""
        return False
