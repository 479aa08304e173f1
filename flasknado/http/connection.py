"""One client's connection: a protocol of asyncio's that turns bytes into exchanges, in order.

Bytes go to a `RequestParser`; each request is admitted (`flasknado.http.admit`) and becomes an
exchange of the half that serves it. One exchange is active; requests read
ahead wait behind it, up to `Limits.pipeline_limit`, and then reading stops. A request
that is refused is answered in its turn, and the connection closes after it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from typing import Any, Final, cast

from flasknado.errors import RequestError
from flasknado.http.client_certificate import variables_of
from flasknado.http.counters import ORDINARY
from flasknado.http.ending import Phase
from flasknado.http.exchange import Exchange
from flasknado.http.flow import Flow
from flasknado.http.message import Finished, RequestHead, as_address
from flasknado.http.parser import HEAD_SLICE_BYTES, RequestParser
from flasknado.http.refusing import NONE_WAITING, Refusing
from flasknado.http.shared import NEVER, Shared

_now: Final = time.monotonic
log: Final = logging.getLogger("flasknado.http")
gen_log: Final = logging.getLogger("tornado.general")

UNPARSED_BYTES: Final = 16 * 1024
"""How much may arrive while nothing is parsed before reading stops."""

WORK_PER_TURN: Final = 1024
REQUEST_WORK: Final = 64
SLICE_WORK: Final = 64
BODY_SLICE_WORK: Final = 32
"""What one connection may do before others have their turn of the loop, and what counts how
much: a request that is taken or begun, bytes given to the parser at once, a part of a body (1),
an empty line at which they are cut (1). So sixteen requests, or a thousand chunks."""

ONE_READ_BYTES: Final = 64 * 1024
"""Less than this is all that one turn of the loop reads from a connection: more counts on."""

CLIENT_CLOSED_STATUS: Final = 499
"""What the response hook is told when the client left before a response had begun."""


class Connection(Refusing):
    """One client; belongs to the loop's thread. Made by the loop for each accepted socket.

    It has all of `asyncio.Protocol`'s methods without inheriting them: a class with an
    interpreted base cannot be compiled whole.
    """

    __slots__ = (
        "_advancing",
        "_stream",
        "_tls",
        "_work",
        "_yielding",
        "context",
        "counted",
        "secure",
    )

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        self.context: Any = None
        """Tornado's context of the connection, once a native handler needed it."""
        self.secure = False
        self.counted = False
        """True while its handshake counts as a connection already."""
        self._stream: Flow | None = None
        self._advancing = False
        self._work = 0
        """What was done since `_begin_turn()`."""
        self._yielding = False
        """True while the rest waits for the loop's next turn."""
        self._tls: dict[str, Any] | None = None

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        shared = self.shared
        limits = shared.limits
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=limits.write_high_water_bytes)
        info = transport.get_extra_info
        self.secure = info("ssl_object") is not None
        if self.secure:
            self._tls = variables_of(info("ssl_object"))
        self._parser = RequestParser(
            self,
            limits,
            client=as_address(info("peername")),
            server=as_address(info("sockname")),
            scheme=shared.protocol or ("https" if self.secure else "http"),
        )
        self.deadline = shared.deadline(limits.header_timeout_s)
        counters = shared.counters
        if self.counted:
            self.counted = False
            counters.connections_open -= 1
        full = counters.connections_open >= limits.max_connections
        counters.connections_open += 1
        counters.connections_accepted += 1
        shared.add(self)
        if full:
            counters.connections_refused += 1
            self.refuse(RequestError(503, "the server has too many connections"))

    def data_received(self, data: bytes) -> None:
        if self._parser is None:
            self._drop_incoming(len(data))
        elif self._unparsed is not None or self._yielding:
            self._keep_unparsed(data)
        else:
            if len(data) < ONE_READ_BYTES:
                self._work = 0
                self._parser.pauses = False
            self._parse(data)

    def eof_received(self) -> bool:
        self.eof = True
        active = self.active
        if self.secure or (self._parser is None and active is None):
            return False
        receiving, self._receiving = self._receiving, None
        if receiving is not None:
            # Its body will never be whole.
            if receiving is active:
                self.abort()
                return True
            self._waiting.remove(receiving)
            self._forget(receiving)
            receiving.drop()
        if active is None and not self._waiting and self._unparsed is None:
            return False
        if active is not None and active.needs_client():
            self.abort()
        return True

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 (asyncio's interface)
        self.gone = True
        shared = self.shared
        shared.discard(self)
        shared.counters.connections_open -= 1
        self._stop_lingering()
        self._stop_parsing()
        self._receiving = None
        active, self.active = self.active, None
        waiting, self._waiting = self._waiting, NONE_WAITING
        if active is not None:
            self._forget(active)
            active.status = active.status or CLIENT_CLOSED_STATUS
            self._report(active)
            active.lost()
        for exchange in waiting:
            self._forget(exchange)
            exchange.lost()
        self._end_flow()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_writing()

    def resume_writing(self) -> None:
        super().resume_writing()
        # While a response goes on its rate is judged across the pauses; see `_write_progresses`.
        if self.active is not None:
            self.active.drained()
        else:
            if self.phase is not Phase.CLOSING:
                self.write_deadline = NEVER
            self._advance()

    # What the parser calls.

    def request_begun(self, head: RequestHead) -> None:
        if self.gone:
            raise RequestError(400, "the connection has been taken out of HTTP")
        if self.secure:
            head.tls = self._tls
        shared = self.shared
        half = shared.door.admit(head)
        open_exchange = shared.open_ordinary if half is ORDINARY else shared.open_native
        exchange = open_exchange(self, head)
        counters = shared.counters
        counters.requests[half] += 1
        counters.running[half] += 1
        if counters.hooks:
            exchange.started_at = _now()  # uvloop's clock counts milliseconds
        self._receiving = exchange
        if self.active is None and not self._waiting and not self.write_paused:
            self.active = exchange
            exchange.begin()
        else:
            if self._waiting is NONE_WAITING:
                self._waiting = deque()
            self._waiting.append(exchange)

    def request_data(self, data: bytes) -> None:
        self._work += 1
        if self._receiving is not None:
            self._receiving.receive(data)

    def request_complete(self) -> None:
        self._work += REQUEST_WORK
        if self._work >= WORK_PER_TURN and self._parser is not None:
            self._parser.pauses = True
        exchange, self._receiving = self._receiving, None
        if exchange is not None:
            exchange.end()

    # What exchanges call.

    @property
    def keeps_alive(self) -> bool:
        """Whether the connection goes on after the active response. May be read on any thread."""
        return self.shared.keep_alive or bool(self._waiting)

    def live_begun(self) -> None:
        """The active response is streaming: from now on a half-close by the client aborts it."""
        if self.eof:
            self.abort()

    def finished(self, exchange: Exchange, keep_alive: bool) -> None:
        """The response of the active exchange has been written completely."""
        if self.active is not exchange:
            return
        self.active = None
        self._sent_before_bytes += exchange.sent_bytes
        self._forget(exchange)
        shared = self.shared
        self._report(exchange)
        if not exchange.complete:
            self._receiving = None
            self._linger()
        elif not keep_alive:
            self._close()
        elif self._parsing:
            self.phase = Phase.SERVING
        elif (
            self._waiting
            or self._unparsed is not None
            or self._reading_paused
            or self._refusal
            or self.eof
        ):
            self._advance()
        elif self._parser is not None:
            self._parser.holds = False
            if self._parser.in_head:
                self.phase = Phase.SERVING
                self._watch_reading()
            else:
                self.phase = Phase.IDLE
                self.deadline = shared.now + shared.idle_s

    def drained(self) -> asyncio.Future[None]:
        """Return a future that is done when the client took what was written.

        If the client goes instead, it fails with Tornado's `StreamClosedError`.
        """
        closed = self.gone or self.transport.is_closing()
        if not self.write_paused and not closed:
            return self.shared.soon()
        future = self._wait_for_room()
        if closed:
            self._end_flow()
        return future

    def unstuffed(self) -> None:
        """More of a request's body may be read."""
        if not self._parsing and not self._advancing:
            self._go_on()

    def rest(self) -> None:
        """Hold little while the active exchange, whose request is whole, awaits its response."""
        self.context = None
        if self._parser is not None:
            self._parser.rest()

    def pause_body(self) -> None:
        """Read no more of a body: there is no memory for it."""
        if self._receiving is not None:
            self._pause_reading()

    def resume_body(self) -> None:
        """Read on after `pause_body()`, as far as nothing else is against it."""
        if self._receiving is not None:
            self.unstuffed()

    def detach(self, stream: Flow) -> None:
        """Leave the transport, and all that comes from now on, to another protocol."""
        exchange = self.active
        assert exchange is not None
        exchange.status = exchange.status or 101
        self.active = None
        self._forget(exchange)
        hook = self.shared.counters.on_detach
        if hook is None:
            self._report(exchange)
        else:
            stream.on_lost = hook(_record(exchange))
        self.gone = True
        self.shared.discard(self)
        self.shared.counters.connections_upgraded += 1
        self._stream = stream
        self._receiving = None
        unparsed = self._unparsed
        self._stop_parsing()
        self.transport.set_protocol(cast(asyncio.Protocol, stream))
        self._resume_reading()
        if unparsed:
            stream.data_received(bytes(unparsed))

    def leave(self, stream: Flow | None = None) -> Flow:
        """Take the connection out of HTTP, as a stream; requests that wait are forgotten.

        Without a `stream` it is the one that native handlers know.
        """
        for exchange in self._waiting:
            self._forget(exchange)
            exchange.drop()
        self._waiting = NONE_WAITING
        left: Flow = self.shared.open_stream(self) if stream is None else stream
        self.detach(left)
        return left

    def holds_thread(self) -> bool:
        """Return whether a thread of the container waits for this client."""
        return self.active is not None and self.active.holds_thread()

    # Reading.

    def _parse(self, data: bytes) -> None:
        """Parse as much as may be parsed now and keep the rest."""
        parser = self._parser
        assert parser is not None
        size_bytes = len(data)
        start = 0
        self._parsing = True
        try:
            while start < size_bytes and self._parser is parser and not self.gone:
                if self._work >= WORK_PER_TURN:
                    self._keep_unparsed(data[start:])
                    self._yield_turn()
                    break
                if self.active is not None or self._waiting:
                    if self._holds():
                        self._keep_unparsed(data[start:])
                        break
                else:
                    parser.holds = False
                self._work += BODY_SLICE_WORK if parser.in_body else SLICE_WORK
                piece = data
                if start or size_bytes > HEAD_SLICE_BYTES:
                    piece = data[start : start + parser.slice_bytes()]
                start += len(piece) - len(parser.feed(piece))
                self._work += parser.pieces
                parser.pieces = 0
                if self._receiving is not None and self._stuffed(self._receiving):
                    self._pause_reading()
        except RequestError as error:
            if not self.gone:
                self.refuse(error)
        except Exception:
            log.exception("a request could not be handled")
            self.abort()
        finally:
            self._parsing = False
            if self._parser is not parser:
                parser.close()
        if self._stream is not None:
            if start < size_bytes:
                self._stream.data_received(data[start:])
        elif self._parser is not None:
            self._watch_reading()

    def _holds(self) -> bool:
        """Whether nothing more may be parsed for now."""
        active = self.active
        receiving = self._receiving
        return (
            self._yielding
            or (self._parser is not None and self._parser.holds)
            or len(self._waiting) >= self.shared.limits.pipeline_limit
            or (active is not None and active.holds and active.complete)
            or (receiving is not None and self._stuffed(receiving))
        )

    def _stuffed(self, receiving: Exchange) -> bool:
        """Whether no more of a body may be read for now."""
        return receiving.stuffed() or (self.shared.budget.full and not receiving.complete)

    def _yield_turn(self) -> None:
        """Leave the rest for the loop's next turn, so that others have theirs."""
        if not self._yielding:
            self._yielding = True
            self._pause_reading()
            self.shared.loop.call_soon(self._begin_turn)

    def _begin_turn(self) -> None:
        self._yielding = False
        self._work = 0
        if self._parser is not None:
            self._parser.pauses = False
        if not self.gone:
            self._advance()

    def _keep_unparsed(self, data: bytes) -> None:
        if self._unparsed is None:
            self._unparsed = bytearray()
        self._unparsed += data
        if len(self._unparsed) > UNPARSED_BYTES:
            self._pause_reading()

    def _advance(self) -> None:
        """Begin what waits, as far as its turn has come, and read on."""
        if self._advancing:
            return
        self._advancing = True
        try:
            while self._is_free():
                if self._waiting:
                    if self._work >= WORK_PER_TURN:
                        self._yield_turn()
                        break
                    self._work += REQUEST_WORK
                    self.active = exchange = self._waiting.popleft()
                    exchange.begin()
                    if self.eof and self.active is exchange and exchange.needs_client():
                        self.abort()
                elif self._refusal is not None:
                    self._answer_refusal()
                    break
                elif self._unparsed is None or self._yielding:
                    break
                else:
                    self._go_on()
        except Exception:
            log.exception("a request could not be handled")
            self.abort()
        finally:
            self._advancing = False
        self._go_on()

    def _is_free(self) -> bool:
        return self.active is None and not self.write_paused and self.phase is not Phase.CLOSING

    def _go_on(self) -> None:
        """Parse what was kept, if it may be parsed now, and read on."""
        parser = self._parser
        if parser is None or self.gone or self.phase is Phase.CLOSING:
            return
        if self.active is None and not self._waiting:
            parser.holds = False
        if not self._holds():
            data = self._unparsed
            self._unparsed = None
            self._resume_reading()
            if data:
                self._parse(bytes(data))
                return
        if self.eof and self.active is None and not self._waiting and self._unparsed is None:
            self._close()
        else:
            self._watch_reading()

    def _watch_reading(self) -> None:
        """Begin the deadline of the phase that reading is in, if it is a new one."""
        active = self.active
        parser = self._parser
        if active is not None:
            phase = Phase.SERVING if active.complete else Phase.BODY
        elif parser is not None and parser.in_head:
            phase = Phase.HEAD
        else:
            phase = Phase.IDLE
        if phase is self.phase:
            return
        self.phase = phase
        shared = self.shared
        if phase is Phase.SERVING:
            self.deadline = NEVER
        elif phase is Phase.BODY:
            assert active is not None
            self._rate_mark_bytes = active.received_bytes
            self.deadline = shared.deadline(shared.limits.body_timeout_s)
        elif phase is Phase.HEAD:
            self.deadline = shared.deadline(shared.limits.header_timeout_s)
        else:
            self.deadline = shared.deadline(shared.limits.keep_alive_timeout_s)

    # The end of an exchange.

    def _forget(self, exchange: Exchange) -> None:
        """Count out an exchange that has ended, or will never begin."""
        if exchange.held_bytes:
            held_bytes, exchange.held_bytes = exchange.held_bytes, 0
            self.shared.budget.hold(-held_bytes)
        self.shared.counters.running[exchange.half] -= 1

    def _report(self, exchange: Exchange) -> None:
        """Tell the hooks that an exchange has ended."""
        hooks = self.shared.counters.hooks
        if hooks:
            finished = _record(exchange)
            for hook in hooks:
                hook(finished)


def _record(exchange: Exchange) -> Finished:
    duration_s = _now() - exchange.started_at
    return Finished(exchange.head, exchange.status, exchange.sent_bytes, duration_s, exchange.half)
