"""Long answers, one of each kind: the blueprint of the page's section on them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from flask import Blueprint, request

from flasknado import json_line, server_sent_event, stream
from shop.models import live

bp = Blueprint("answers", __name__)


@bp.get("/ticks")
def ticks():
    async def produce():
        for number in range(3):
            yield server_sent_event({"tick": number, "path": request.path}, event="tick")
            await asyncio.sleep(0.1)

    return stream(produce(), "text/event-stream")


@bp.get("/export")
def export():
    async def rows():
        for number in range(3):
            yield json_line({"row": number})

    return stream(rows(), "application/x-ndjson")


async def words_of(prompt: str) -> AsyncIterator[str]:
    for word in f"You asked: {prompt}".split():
        await asyncio.sleep(0.01)
        yield word + " "


@bp.post("/ask")
def ask() -> Any:
    return live.run(words_of(request.form["prompt"]), channel="orders", output="token")


@bp.get("/later")
async def later():
    await asyncio.sleep(0.1)  # other requests are served meanwhile
    return f"{request.path}, later\n"
