"""`/live/chat`: a chat over a WebSocket of its own.

What somebody says goes to the application, which knows who it is and what may be said, and
publishes it as a live event. So it reaches the readers of all server processes in one order, and
those who lost their connection for a moment, too. The answer says only whether it was taken:
`{}` or `{"error": "..."}`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import deque

from flask import current_app
from tornado.websocket import WebSocketClosedError, WebSocketHandler
from werkzeug.exceptions import HTTPException

from flasknado import Refused, in_flask

CHAT_KEY = "webapp.chat"
"""Where `app.extensions` holds the function that says a text, for who asks."""

MAX_TEXT_BYTES = 4_000
MAX_WAITING = 5
PAUSE_S = 0.5
"""Between two messages of one connection: who sends more of them waits, then is refused."""
IDLE_S = 1_800


class ChatHandler(WebSocketHandler):
    """Takes what one person says, message after message."""

    _task: asyncio.Task[None] | None = None
    _idle: asyncio.TimerHandle | None = None

    @property
    def max_message_size(self) -> int:
        """Longer messages close the connection."""
        return MAX_TEXT_BYTES

    def open(self) -> None:
        self._waiting: deque[str] = deque()
        self._stay()

    def on_message(self, message: str | bytes) -> None:
        if isinstance(message, bytes):
            self.close(1003, "messages are text")
            return
        if len(self._waiting) == MAX_WAITING:
            self.close(1008, "too many messages at once")
            return
        self._stay()
        self._waiting.append(message)
        if self._task is None or self._task.done():
            self._task = asyncio.ensure_future(self._say())

    def on_close(self) -> None:
        if self._task is not None:
            self._task.cancel()
        if self._idle is not None:
            self._idle.cancel()

    async def _say(self) -> None:
        while self._waiting:
            answer: dict[str, str] = {}
            try:
                error = await in_flask(self, say, self._waiting.popleft())
            except Refused as refused:
                error = str(refused.log_message or refused.reason)
            if error is not None:
                answer["error"] = error
            with contextlib.suppress(WebSocketClosedError):
                await self.write_message(json.dumps(answer))
            await asyncio.sleep(PAUSE_S)

    def _stay(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        self._idle = asyncio.get_running_loop().call_later(IDLE_S, self.close, 1000, "idle")


def say(text: str) -> str | None:
    """Say a text, and return why not if it was refused; in a request context."""
    try:
        current_app.extensions[CHAT_KEY](text)
    except (HTTPException, ValueError) as error:
        return str(getattr(error, "description", None) or error)
    return None
