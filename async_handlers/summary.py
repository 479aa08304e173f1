"""`GET /live/summary?post=ID`: a text that comes word by word, as a language model's does.

What a long answer from elsewhere needs: the permission is asked for once, in Flask, then the
client is held by the loop for as long as the words take, and no thread waits. Each word is sent
when it is there; a client that reads slowly is waited for, and one that is gone ends the work.
Here the words are those of the post's own beginning; put your model in place of `words`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import ClassVar

from flask import current_app
from tornado.iostream import StreamClosedError

from flasknado import Refused, in_flask
from flasknado.live import LiveHandler

SUMMARY_KEY = "webapp.summary"
"""Where `app.extensions` holds the function that returns a text for a post's id."""

WORD_S = 0.03
MAX_AT_ONCE = 200


class SummaryHandler(LiveHandler):
    """Streams a text as server-sent events: `word` for each word, then `done`."""

    _open: ClassVar[int] = 0

    async def get(self) -> None:
        if SummaryHandler._open >= MAX_AT_ONCE:
            raise Refused(503, "too many summaries are being written: try again")
        SummaryHandler._open += 1
        try:
            text = await in_flask(self, summary, self.get_query_argument("post", ""))
            self.set_header("Content-Type", "text/event-stream")
            await self._stream(text)
        except StreamClosedError:
            pass  # the client is gone
        finally:
            SummaryHandler._open -= 1

    async def _stream(self, text: str) -> None:
        async for word in words(text):
            self.write(f"event: word\ndata: {json.dumps(word)}\n\n")
            await self.flush()
        self.write("event: done\ndata: null\n\n")


async def words(text: str) -> AsyncIterator[str]:
    """Yield the words of a text, one after another."""
    for word in text.split():
        await asyncio.sleep(WORD_S)
        yield word


def summary(post: str) -> str:
    """Return the application's text for a post; in a request context."""
    text: str = current_app.extensions[SUMMARY_KEY](post)
    return text
