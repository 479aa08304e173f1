"""How a connection refuses requests: in their turn, and as the last thing that it does.

The part of `flasknado.http.connection` between the end of a connection and the order of its
requests: one is malformed, too large or too slow, and is answered without its half.
"""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections import deque
from typing import Final

from flasknado.errors import RequestError
from flasknado.http.encode import CLOSE, encode_head
from flasknado.http.ending import Ending, Phase, named
from flasknado.http.exchange import Exchange
from flasknado.http.message import RequestHead, error_response
from flasknado.http.parser import RequestParser
from flasknado.http.shared import NEVER, Shared

gen_log: Final = logging.getLogger("tornado.general")

OUR_FAULT: Final = frozenset((503, 507))
"""Refusals after which the rest of a body is read and dropped for as long as a body may take."""

NONE_WAITING: Final[deque[Exchange]] = deque(maxlen=0)


class Refusing(Ending):
    """A connection with requests, some of which may be refused; see the module."""

    __slots__ = (
        "_parser",
        "_parsing",
        "_rate_mark_bytes",
        "_receiving",
        "_refusal",
        "_unparsed",
        "_waiting",
    )

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        self._parser: RequestParser | None = None
        self._parsing = False
        self._receiving: Exchange | None = None
        self._waiting = NONE_WAITING
        self._unparsed: bytearray | None = None
        self._refusal: tuple[RequestHead | None, RequestError] | None = None
        self._rate_mark_bytes = 0

    def refuse(self, error: RequestError) -> None:
        """Answer with `error` when the requests before have been answered, and close.

        What is being received is forgotten, and so is everything after it.
        """
        parser = self._stop_parsing()
        receiving, self._receiving = self._receiving, None
        self.shared.counters.requests_refused += 1
        if error.status in OUR_FAULT and receiving is not None:
            # A reset would lose the answer, and this client has done nothing wrong.
            self._lingers_for_body = True
            total_bytes = receiving.head.content_length or receiving.max_body_bytes
            left_bytes = total_bytes - receiving.received_bytes
            self._linger_left_bytes = max(self._linger_left_bytes, left_bytes)
        head = parser.head if parser is not None else None
        # Tracebacks would keep the parser's frames, and with them what has been received.
        error.__traceback__ = error.__context__ = error.__cause__ = None
        self._refusal = (head, error)
        client = head.client if head is not None else self.peer()
        gen_log.info("Malformed HTTP message from %s: %s", named(client), error)
        if receiving is not None:
            self._forget(receiving)
            if receiving is self.active:
                self.active = None
                for exchange in self._waiting:
                    self._forget(exchange)
                    exchange.drop()
                self._waiting = NONE_WAITING
            else:
                self._waiting.remove(receiving)
            if not receiving.drop():
                self.abort()
                return
        self._resume_reading()
        if self.active is None and not self._waiting:
            self._answer_refusal()

    def refuse_exchange(self, exchange: Exchange, error: RequestError) -> None:
        """Refuse the active exchange, whether its body has arrived or not, and close."""
        self._receiving = exchange
        self.refuse(error)

    def expire(self, now: float) -> None:
        """Do what the deadline that has passed demands; called by the sweep."""
        if self.write_deadline <= now and not self._write_progresses():
            self.cut_off("it takes too little of its response")
            return
        if self.deadline > now:
            return
        self.deadline = NEVER
        active = self.active
        if self.phase is Phase.LINGERING:
            self._linger_on()
        elif active is not None:
            self._judge_body(active)
        elif self.transport.get_write_buffer_size():
            # The answer is still on its way; its own deadline cuts off who does not take it.
            self._watch_writing()
            self.deadline = self.shared.deadline(self.shared.limits.keep_alive_timeout_s)
        elif self._parser is not None and self._parser.in_head:
            self.refuse(RequestError(408, "the head of the request did not arrive in time"))
        else:
            self._close()

    def _judge_body(self, active: Exchange) -> None:
        limits = self.shared.limits
        budget = self.shared.budget
        if budget.full and self._receiving is not None:
            # All that is held may be bodies that wait for room: somebody has to go.
            self.refuse(budget.refusal())
            return
        came_bytes = active.received_bytes - self._rate_mark_bytes
        wanted_bytes = limits.min_body_rate_bytes_s * limits.body_timeout_s
        if came_bytes >= wanted_bytes or self._reading_paused:
            self._rate_mark_bytes = active.received_bytes
            self.deadline = self.shared.deadline(limits.body_timeout_s)
        else:
            self.refuse(RequestError(408, "the body of the request arrived too slowly"))

    def _answer_refusal(self) -> None:
        assert self._refusal is not None
        head, error = self._refusal
        self._refusal = None
        response, body = error_response(head, error)
        data = encode_head(response, CLOSE, body)
        self.shared.counters.refused(self.peer(), head, error.status, len(data))
        self.transport.write(data)
        self._linger()

    def _linger(self) -> None:
        self._stop_parsing()
        super()._linger()

    def _stop_parsing(self) -> RequestParser | None:
        """Parse nothing more, and return the parser; one that is running is closed after that."""
        parser, self._parser = self._parser, None
        self._unparsed = None
        if parser is not None and not self._parsing:
            parser.close()
        return parser

    @abstractmethod
    def _forget(self, exchange: Exchange) -> None:
        """Count out an exchange that has ended, or will never begin."""
