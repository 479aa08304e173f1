from __future__ import annotations

import asyncio

from flask import session
from tornado.web import RequestHandler

from flasknado import in_flask
from flasknado.live import routes as live_routes


def name_of_visitor() -> str:
    return str(session.get("name", "nobody"))


class CountdownHandler(RequestHandler):
    async def get(self) -> None:
        name = await in_flask(self, name_of_visitor)
        for number in (3, 2, 1):
            self.write(f"{number}, {name}\n")
            await self.flush()
            await asyncio.sleep(0.1)


routes = [(r"/countdown", CountdownHandler), *live_routes("/live")]
