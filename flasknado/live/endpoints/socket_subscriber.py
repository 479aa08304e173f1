"""A WebSocket client: frames in and out, and its messages one by one, at a bounded rate.

What they say is in `flasknado.live.endpoints.conversation`. On the loop's thread.
"""

from __future__ import annotations

import asyncio
import json
from abc import abstractmethod
from collections import deque
from typing import Any

from tornado.iostream import IOStream, StreamClosedError

from flasknado.live.formats import WEBSOCKET, WebSocket
from flasknado.live.hub.hub import Hub
from flasknado.live.hub.subscriber import GOODBYE_TIMEOUT_S, StreamSubscriber
from flasknado.live.state import LiveState
from flasknado.native.in_flask import Caller
from flasknado.native.websocket_closing import shut_down_writing
from flasknado.token_bucket import TokenBucket
from flasknado.websocket import codec
from flasknado.websocket.codec import Message, Receiver, WebSocketError

READ_BYTES = 64 * 1024
FRAMES_PER_TURN = 64
"""How many frames of one client are dealt with before others have their turn."""
RATE_BURST_S = 2.0
"""A client that was quiet may send what it may send in this time at once."""
DROPPED_LIMIT = 50
"""How many messages beyond that are dropped with an error each; with one more it is cut off."""
SKIPPED_BYTES = 256 * 1024
"""How much more a client may send that is being closed; with more it is cut off at once."""
PING = codec.frame(codec.PING)
SILENT_BEATS = 2
"""After how many pings without a pong, or anything else, a client is gone."""
WAITING_LIMIT = 16
"""How many messages of one client may wait for the one before them; then it is not read."""


class SocketSubscriber(StreamSubscriber):
    """A WebSocket client: the hub writes to it, and its messages are answered one by one."""

    __slots__ = (
        "_answering",
        "_asked_at",
        "_messages",
        "_rate",
        "_reading",
        "_receiver",
        "_skipped_bytes",
        "_unanswered_pings",
        "caller",
        "state",
    )
    transport = "websocket"
    _hub: Hub

    format: WebSocket

    def __init__(
        self,
        hub: Hub,
        caller: Caller,
        state: LiveState,
        address: str | None,
        wire_format: WebSocket = WEBSOCKET,
    ) -> None:
        super().__init__(hub, wire_format, address=address)
        self.caller = caller
        self.state = state
        self._receiver = Receiver(state.options.max_message_bytes, inflates=wire_format.deflates)
        self._messages: deque[bytes] | None = None
        """What waits while a message is being answered; `None` while none is."""
        self._answering: asyncio.Task[None] | None = None
        self._asked_at: float | None = None
        self._rate: TokenBucket | None = None
        self._skipped_bytes = 0
        self._reading = False
        """Whether more is on its way, from the client or of what it sent; not while as many
        messages wait as may."""
        self._unanswered_pings = 0
        """How many pings were written since it was last heard of."""

    @property
    def hub(self) -> Hub:
        """The hub that it belongs to."""
        return self._hub

    def attach(self, stream: IOStream) -> None:
        super().attach(stream)
        stream.set_close_callback(self.leave)
        self._read()

    def say(self, message: dict[str, Any]) -> None:
        """Write a message of the protocol itself, unless the client is gone."""
        if not self.gone:
            self.write(self.frame(message))

    def frame(self, message: dict[str, Any]) -> bytes:
        """Return the bytes of a message of the protocol itself."""
        return self.format.message(json.dumps(message, separators=(",", ":")))

    @property
    def asked_at(self) -> float | None:
        return self._asked_at

    def beat(self, data: bytes | None) -> None:
        if self._unanswered_pings >= SILENT_BEATS and self._reading:
            self._hub.give_up(self, "silent", f"no pong came to {SILENT_BEATS} pings")
            return
        if self.idle:
            self._unanswered_pings += 1
            self.pinged()
        super().beat(data or PING)

    def pinged(self) -> None:
        self._receiver.limiter.pinged()

    def give_up(self, reason: str) -> None:
        self.end(codec.close_frame(codec.CLOSE_POLICY, reason))

    def close(self, code: int | None, reason: str = "") -> None:
        """Close the connection; nothing may follow the closing frame, so the hub lets go first."""
        self.leave()
        self.end(codec.close_frame(code, reason))

    def end(self, last: bytes) -> None:
        if self._ending:
            return
        self._ending = True
        self.write(last)
        # Not closed at once: over unread bytes that would reset what the client has to read.
        # It closes, or at least answers, when it has read the closing frame.
        self._hub.loop.call_later(GOODBYE_TIMEOUT_S, self.abort)
        self._read_on()

    def _read(self) -> None:
        self._reading = True
        try:
            data = asyncio.ensure_future(self._stream.read_bytes(READ_BYTES, partial=True))
        except StreamClosedError:
            self.leave()
            return
        data.add_done_callback(self._on_data)

    def _on_data(self, data: asyncio.Future[bytes]) -> None:
        if data.cancelled() or data.exception() is not None:
            self.leave()
            return
        self._unanswered_pings = 0
        if self._ending:
            self._skipped_bytes += len(data.result())
            if self._skipped_bytes > SKIPPED_BYTES:
                self.abort()
                return
        self._take(data.result())

    def _take(self, data: bytes = b"") -> None:
        """Deal with what the client has sent, as far as its turn goes, and read on."""
        try:
            for message in self._receiver.receive(data, FRAMES_PER_TURN):
                self._on_frame(message)
                if self._full():
                    break
        except WebSocketError as error:
            self.close(error.code, str(error))
            shut_down_writing(self._stream)
        self._reading = False
        self._read_on()

    def _read_on(self) -> None:
        """Go on reading, unless that is under way or as many messages wait as may."""
        if self._reading or self._full() or self._stream.closed():
            return
        if self._receiver.waiting:
            self._reading = True
            self._hub.loop.call_soon(self._take)
        else:
            self._read()

    def _full(self) -> bool:
        waiting = self._messages
        return waiting is not None and len(waiting) >= WAITING_LIMIT and not self._ending

    def _on_frame(self, message: Message) -> None:
        if message.opcode == codec.CLOSE:
            if not self._ending:
                self.close(message.close_code)
            self._stream.close()
        elif self._ending:
            pass
        elif message.opcode == codec.PING:
            self.write(codec.frame(codec.PONG, message.payload))
        elif message.opcode != codec.PONG:
            self._on_message(message.payload)

    def _on_message(self, payload: bytes) -> None:
        if self._messages is not None:
            self._messages.append(payload)
            return
        self._messages = deque((payload,))
        self._answering = self._hub.loop.create_task(self._answer())

    async def _answer(self) -> None:
        """Answer the messages that wait, one after another."""
        messages = self._messages
        assert messages is not None
        while messages and not self.gone:
            per_s = self.state.options.max_messages_per_s
            if self._rate is None:
                self._rate = TokenBucket(per_s, per_s * RATE_BURST_S)
            left = self._rate.take()
            if left < -DROPPED_LIMIT:
                self.close(codec.CLOSE_POLICY, f"too many messages: {per_s:g} a second are allowed")
                shut_down_writing(self._stream)
                break
            self._asked_at = self._hub.loop.time()
            await self.answer(messages[0], within_rate=left >= 0)
            self._asked_at = None
            messages.popleft()
            self._read_on()
        self._messages = self._answering = None

    @abstractmethod
    async def answer(self, payload: bytes, *, within_rate: bool) -> None:
        """Answer one message; `within_rate` says whether the client may send it now."""
