"""An existing Flask application and, beside it, a native handler that knows its sessions.

    flasknado examples.native_beside_flask:app --handlers examples.native_beside_flask:routes

`curl -N localhost:8000/ticks` holds its connection open and, between two ticks, no thread.
"""

import asyncio
import os

import tornado.web
from flask import Flask, request, session

import flasknado
from flasknado import in_flask

# The Flask application, as it was.

app = Flask(__name__)
app.secret_key = "change me"


@app.post("/login")
def login() -> str:
    session["name"] = request.form["name"]
    return f"welcome, {session['name']}\n"


def name_of_visitor() -> str:
    return str(session.get("name", "stranger"))


# What is new.


class TickHandler(tornado.web.RequestHandler):
    async def get(self) -> None:
        name = await in_flask(self, name_of_visitor)  # on a thread, in Flask's request context
        for number in range(1, 6):
            self.write(f"tick {number}, {name}\n")
            await self.flush()
            await asyncio.sleep(0.2)


routes = [(r"/ticks", TickHandler)]


async def main() -> None:
    """Serve in this process, as any program of Tornado's does: `python THIS_FILE`."""
    server = flasknado.HTTPServer(flasknado.WSGIContainer(app), handlers=routes)
    server.listen(int(os.environ.get("PORT", "8000")), "127.0.0.1")
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
