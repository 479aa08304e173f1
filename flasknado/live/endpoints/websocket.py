"""`GET socket`: WebSocket, JSON both ways; one connection may change its channels.

The handler shakes hands and is gone; what stays is one `Conversation` with a frame receiver
and who called.
"""

from __future__ import annotations

from tornado.iostream import StreamClosedError

from flasknado.live.compression import deflated
from flasknado.live.endpoints.access import refusals
from flasknado.live.endpoints.base import LiveHandler
from flasknado.live.endpoints.conversation import Conversation
from flasknado.live.errors import LiveError
from flasknado.live.html import WEBSOCKET_FORMATS
from flasknado.live.tickets import Access
from flasknado.native import websocket_handshake as handshake
from flasknado.native.in_flask import Caller, Refused
from flasknado.websocket import codec


class SocketHandler(LiveHandler):
    """The opening handshake. Pages of other origins need the CORS policy's leave.

    With channels in the query (`channel`, `tag`) the client follows these at once, for libraries
    that have no protocol of their own.
    """

    # Of a page's own making is nothing but the URL.
    ambient_fields = ("Cookie", "Authorization")

    async def get(self) -> None:
        try:
            handshake.check(self.request)
        except handshake.HandshakeError as error:
            raise Refused(error.status, str(error), error.headers) from None
        origin = self.request.headers.get("Origin")
        if not (origin is None or self.own_page or self.origin_policy.allows(origin)):
            raise Refused(403, f"pages of {origin[:80]!a} may not connect")
        hub = self.hub()
        wire_format = WEBSOCKET_FORMATS[self.format_name(WEBSOCKET_FORMATS)]
        extensions = None
        if self.state.options.compression:
            extensions = handshake.permessage_deflate(self.request)
            if extensions is not None:
                wire_format = deflated(wire_format)
        channels, after, last = self.optional_channels(), self.after(), self.last()
        access: Access | None = None
        if channels:
            access = await self.authorize(channels)
        else:
            with refusals():
                await hub.ready()
        if self.client_gone:
            return
        subscriber = Conversation(hub, Caller(self), self.state, self.address(), wire_format)
        self.introduce(subscriber, channels)
        self.set_status(101)
        try:
            stream = handshake.accept(self, extensions)
            try:
                hub.admit_guest(subscriber)
                if access is not None:
                    hub.identify(subscriber, access)
            except LiveError as error:
                # In a closing frame, because a browser shows nothing else to the page.
                await stream.write(codec.close_frame(codec.CLOSE_TRY_LATER, str(error)))
                stream.close()
                hub.remove(subscriber)
            else:
                subscriber.attach(stream)
                if access is not None and not subscriber.gone:
                    subscriber.begin(channels, after, last, access)
        except StreamClosedError:
            hub.remove(subscriber)
        self.application.log_request(self)

    head = get  # is refused as any request that does not open a WebSocket
