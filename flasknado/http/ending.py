"""How a connection ends: in time for slow clients, gently for those that are refused.

The part of `flasknado.http.connection` between flow control and the order of requests:
which deadline is running, whether the client takes what was written, lingering, closing.
"""

from __future__ import annotations

import enum
import logging
from typing import Final

from flasknado.http.exchange import Exchange
from flasknado.http.flow import Flow
from flasknado.http.message import Address, as_address
from flasknado.http.shared import NEVER, Shared

log: Final = logging.getLogger("flasknado.http")

LINGERING_LIMIT: Final = 1024
"""How many refused connections of a server may linger; one more is cut off at once."""

TIMED_OUT_STATUS: Final = 408
"""What the response hooks are told of a response that its client did not take in time."""


class Phase(enum.Enum):
    """What a connection waits for; each phase begins a deadline of its own.

    | from      | when                                        | to        | deadline           |
    |-----------|---------------------------------------------|-----------|--------------------|
    | (new)     | it was accepted                             | HEAD      | header timeout     |
    | HEAD      | a head is whole, its body is not            | BODY      | body rate          |
    | HEAD      | a request is whole                          | SERVING   | none               |
    | BODY      | the body is whole                           | SERVING   | none               |
    | SERVING   | the response has ended, the next one begins | HEAD      | header timeout     |
    | SERVING   | the response has ended                      | IDLE      | keep-alive timeout |
    | IDLE      | a byte comes                                | HEAD      | header timeout     |
    | any       | a refusal has been written                  | LINGERING | linger timeout     |
    | any       | it is to end, or lingers no more            | CLOSING   | write timeout      |

    From CLOSING nothing leads back. A connection that leaves HTTP ends in none of them.
    """

    HEAD = enum.auto()
    BODY = enum.auto()
    SERVING = enum.auto()
    IDLE = enum.auto()
    LINGERING = enum.auto()
    CLOSING = enum.auto()


_HEAD: Final = Phase.HEAD
_IDLE: Final = Phase.IDLE
_LINGERING: Final = Phase.LINGERING
_CLOSING: Final = Phase.CLOSING


class Ending(Flow):
    """A transport whose responses end in time; see the module."""

    __slots__ = (
        "_linger_left_bytes",
        "_lingers_for_body",
        "_sent_before_bytes",
        "_taken_mark_bytes",
        "active",
        "deadline",
        "eof",
        "gone",
        "phase",
        "write_deadline",
    )

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        self.active: Exchange | None = None
        """The exchange whose turn it is."""
        self.phase = _HEAD
        self.deadline = NEVER
        """When the present phase is over, on the clock of `Shared.deadline`."""
        self.write_deadline = NEVER
        """When the client has taken too little, on the same clock."""
        self.eof = False
        """True once the client has half-closed: nothing more will come."""
        self.gone = False
        """True once the transport has closed, or has been left to another protocol."""
        self._linger_left_bytes = shared.limits.linger_bytes
        self._lingers_for_body = False
        self._sent_before_bytes = 0
        self._taken_mark_bytes = 0

    def close(self) -> None:
        """Close once what was written has been sent."""
        if not self.gone and self.phase is not _CLOSING:
            self._close()

    def close_idle(self) -> None:
        """Close if the connection only waits for a further request."""
        if self.phase is _IDLE and not self.gone:
            self._close()

    def abort(self) -> None:
        """Cut the connection off; what is waiting for the client is dropped."""
        self._begin_closing()
        self.transport.abort()

    def cut_off(self, reason: str) -> None:
        """Cut off a client whose response may go on no longer."""
        log.info("%s was disconnected: %s", named(self.peer()), reason)
        if self.active is not None and self.active.status:
            # What the hooks are told: it was the client that did not take it in time.
            self.active.status = TIMED_OUT_STATUS
        self.abort()

    def peer(self) -> Address | None:
        """Return the address at the other end; `None` for a Unix socket."""
        return as_address(self.transport.get_extra_info("peername"))

    def taken_bytes(self) -> int:
        """Return how much the client's socket has taken so far."""
        written = self._sent_before_bytes
        if self.active is not None:
            written += self.active.sent_bytes
        return written - self.transport.get_write_buffer_size()

    def _pause_reading(self) -> None:
        if not self.eof:
            super()._pause_reading()

    # What waits for the client.

    def watch_client(self) -> None:
        """From now on ask of the client that it takes what is sent to it."""
        self._watch_writing()

    def _watch_writing(self) -> None:
        if self.write_deadline == NEVER and not self.gone:
            self._taken_mark_bytes = self.taken_bytes()
            self.write_deadline = self.shared.deadline(self.shared.limits.write_timeout_s)

    def _write_progresses(self) -> bool:
        """Whether the client took enough since the last look; begins the next one if so."""
        waits = self.transport.get_write_buffer_size() or (
            self.active is not None and self.active.sends_file()
        )
        if not waits and self.phase is not _CLOSING:
            self.write_deadline = NEVER
            return True
        limits = self.shared.limits
        taken_bytes = self.taken_bytes()
        wanted_bytes = limits.min_write_rate_bytes_s * limits.write_timeout_s
        if taken_bytes - self._taken_mark_bytes < max(wanted_bytes, 1):
            return False
        self._taken_mark_bytes = taken_bytes
        self.write_deadline = self.shared.deadline(limits.write_timeout_s)
        return True

    # The end.

    def _linger(self) -> None:
        """Close, but let the client read the answer while it may still be sending.

        Closing at once would reset the connection, and the answer could be lost on the way
        (RFC 9112, section 9.6).
        """
        shared = self.shared
        if self.eof or shared.lingering >= LINGERING_LIMIT:
            self._close()
            return
        shared.lingering += 1
        self.phase = _LINGERING
        limits = shared.limits
        self.deadline = shared.deadline(
            limits.body_timeout_s if self._lingers_for_body else limits.linger_timeout_s
        )
        try:
            if self.transport.can_write_eof():
                self.transport.write_eof()
        except OSError:  # the client has gone, and reading has been paused
            self.abort()
            return
        self._resume_reading()

    def _linger_on(self) -> None:
        """End a linger that is over; or wait on, if the answer is still on its way."""
        if self.transport.get_write_buffer_size():
            # Its own deadline cuts off who does not take it.
            self._watch_writing()
            self.deadline = self.shared.deadline(self.shared.limits.linger_timeout_s)
        else:
            self.abort()

    def _drop_incoming(self, size_bytes: int) -> None:
        self._linger_left_bytes -= size_bytes
        if self._linger_left_bytes < 0:
            if self.phase is _LINGERING:
                self.abort()
            else:
                self._pause_reading()

    def _close(self) -> None:
        self._begin_closing()
        self.transport.close()
        self._watch_writing()

    def _begin_closing(self) -> None:
        self._stop_lingering()
        self.phase = _CLOSING
        self.deadline = NEVER

    def _stop_lingering(self) -> None:
        if self.phase is _LINGERING:
            self.shared.lingering -= 1
            self.phase = _CLOSING


def named(client: Address | None) -> str:
    """Return what the log calls a client."""
    return client[0] if client is not None else "a Unix socket"
