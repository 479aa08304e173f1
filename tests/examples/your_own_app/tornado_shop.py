import asyncio
import os

from shop import app
from tornado.web import Application, FallbackHandler, RequestHandler

from flasknado import HTTPServer, WSGIContainer


class VersionHandler(RequestHandler):
    def get(self) -> None:
        self.write("1.0")


async def main() -> None:
    container = WSGIContainer(app)  # was tornado.wsgi.WSGIContainer(app)
    application = Application(
        [(r"/version", VersionHandler), (r".*", FallbackHandler, {"fallback": container})]
    )
    server = HTTPServer(application)  # was tornado.httpserver.HTTPServer(application)
    server.listen(int(os.environ.get("PORT", "8000")), "127.0.0.1")
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
