"""The native endpoint of a `SocketIO`: its server on the loop, and what the log tells it.

On the loop's thread.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import logging
import re
from typing import Any

from tornado.routing import URLSpec

from flasknado.live.event import REVOCATIONS, Cursor
from flasknado.live.hub.hub import Hub, hub_of
from flasknado.live.log.tables import Batch
from flasknado.live.options import LiveOptions
from flasknado.live.revocation import revocation_of
from flasknado.ops.metrics.sources import add_source
from flasknado.socketio import bus
from flasknado.socketio.bus import message_of, target_of
from flasknado.socketio.client import Client
from flasknado.socketio.engineio.direct import DirectRequests
from flasknado.socketio.engineio.handler import EngineHandler
from flasknado.socketio.engineio.options import EngineOptions
from flasknado.socketio.engineio.peers import MARK, Peers
from flasknado.socketio.engineio.server import Engine
from flasknado.socketio.metrics import SocketIOSource
from flasknado.socketio.recovery import Recoveries
from flasknado.socketio.runtime import LoopRuntime
from flasknado.socketio.served import Served
from flasknado.socketio.server import Callback, Server, Waiter

log = logging.getLogger("flasknado.socketio")


class Endpoint:
    """The server of one `SocketIO` on one loop, with the sessions below it."""

    def __init__(self, socketio: Served, http_server: Any) -> None:
        options = socketio.options
        loop = asyncio.get_running_loop()
        # Of its own: the `SocketIO` may be given another application later.
        self._core = socketio.core
        self._emitter = socketio.server
        self._bus = socketio.server.bus
        self._epoch = ""
        runtime = LoopRuntime(loop, http_server, options.threads, options.queue_limit)
        self.hub: Hub = hub_of(socketio.state, http_server)
        self.server = Server(self._core, runtime, self._bus)
        self.server.upholds = self.hub.revocations.upholds
        self.server.max_per_user = self.hub.options.max_per_user
        self.server.pending_limit_bytes = self.hub.options.backlog_limit_bytes
        self.engine = Engine(_with_limits(options.engine, self.hub.options), loop, self.server)
        self.peers = self._peers_of(http_server)
        self._recoveries = Recoveries(options, self.hub, self._bus, runtime)
        if options.durable:
            self.server.recoveries = self._recoveries
        self.hub.taps.append(self._on_batch)
        self._emitter.servers.append(self.server)
        budget = getattr(http_server, "budget", None)
        if budget is not None:
            budget.sources.append(self.engine.held_bytes)
            budget.on_change.append(self.engine.memory_changed)
        add_source(http_server, SocketIOSource(self.engine, self.server))
        http_server.add_drain_callback(self.engine.drain)
        http_server.add_close_callback(self._close)

    def _peers_of(self, http_server: Any) -> Peers | None:
        """Listen to the other workers, if there may be any."""
        container = getattr(http_server, "container", None)
        if not getattr(container, "multiprocess", False):
            return None
        peers = Peers()
        try:
            peers.listen(self.engine)
        except OSError as error:
            log.error(
                "the other workers cannot reach this one (%s), so clients of long-polling get 400: "
                "have them use WebSocket only, or serve with one worker",
                error,
            )
            return None
        self.engine.sid_prefix = f"{peers.name}{MARK}"
        return peers

    def _close(self) -> None:
        if self.peers is not None:
            self.peers.close()
        self.engine.close()
        self._emitter.servers.remove(self.server)
        self.hub.taps.remove(self._on_batch)

    # What the log tells.

    def _on_batch(self, batch: Batch) -> None:
        for event in batch.events:
            revocation = revocation_of(event) if event.channel == REVOCATIONS else None
            if revocation is not None:
                self.server.revoke(revocation)
        if self._epoch != batch.epoch:
            self._epoch = batch.epoch
            self.server.begin_log()
            if batch.events:
                self._recoveries.advance(Cursor(batch.epoch, batch.events[0].offset - 1))
        for told in self._bus.heard(batch.events):
            try:
                self._take(told)
            except Exception:
                # It must not stop the events of others, which come the same way.
                log.exception("event %d of the log, of Socket.IO, failed", told.offset)
            self._recoveries.advance(Cursor(batch.epoch, told.offset))
        self._recoveries.advance(Cursor(batch.epoch, batch.complete_to))

    def _take(self, told: bus.Told) -> None:
        own = told.origin == self._bus.origin
        if told.what == bus.EMIT:
            number = told.fields.get("number")
            # A durable event is told in each of its rooms, and delivered once.
            if number == 0 or (number is None and not own):
                self._deliver(told)
        elif not own:
            self._obey(told)

    def _deliver(self, told: bus.Told) -> None:
        fields = told.fields
        number = fields.get("ack")
        callback = None
        if number is not None:

            def callback(*args: Any) -> None:
                self._bus.tell(bus.ACK, to=told.origin, number=number, args=list(args))

        message = message_of(self._core.parser, fields)
        if "number" in fields:
            message.offset = told.offset
        self.server.deliver(target_of(fields), message, callback)

    def _obey(self, told: bus.Told) -> None:
        """Do what another process asks for."""
        fields = told.fields
        if told.what == bus.ACK:
            if fields["to"] == self._bus.origin:
                self._answered(self._emitter.asked(fields["number"]), fields["args"])
            return
        if told.what == bus.CLOSE_ROOM:
            self.server.close_room(fields["namespace"], fields["key"])
            return
        client: Client | None = self.server.clients.get(fields["sid"])
        if client is None or client.namespace != fields["namespace"]:
            return
        if told.what == bus.ENTER:
            # At once: the next event may be for the room.
            self.server.join(client, client.enter(fields["room"]))
        elif told.what == bus.LEAVE:
            self.server.part(client, client.leave(fields["room"]))
        elif told.what == bus.DISCONNECT:
            self.server.disconnect(client)
        elif told.what == bus.DISPLACE:
            self.server.displaced(client)

    def _answered(self, callback: Callback | None, args: list[Any]) -> None:
        """Call a callback with what a client of another process has answered."""
        if callback is None:
            return
        if isinstance(callback, Waiter):
            callback(*args)
            return
        run = functools.partial(self._core.call_outside, callback, args)
        if not self.server.runtime.run("an answer to a Socket.IO event", run):
            log.warning("the answer of a Socket.IO client was dropped: too many clients wait")


def _with_limits(engine: EngineOptions, options: LiveOptions) -> EngineOptions:
    """Return the options with the limits that are those of all live clients."""
    return dataclasses.replace(
        engine,
        backlog_limit_bytes=options.backlog_limit_bytes,
        max_sessions=options.max_subscribers,
        max_per_address=options.max_per_address,
    )


def routes(socketio: Served, http_server: Any) -> list[URLSpec]:
    """Return the route of a `SocketIO` on a server; raises `ConfigurationError`."""
    container = getattr(http_server, "container", None)
    socketio.state.check_processes(bool(getattr(container, "multiprocess", False)))
    endpoints: dict[asyncio.AbstractEventLoop, Endpoint] = {}

    def find(handler: EngineHandler) -> Endpoint:
        loop = asyncio.get_running_loop()
        endpoint = endpoints.get(loop)
        if endpoint is None:
            endpoint = endpoints[loop] = Endpoint(socketio, handler.settings["http_server"])
        return endpoint

    def find_engine(handler: EngineHandler) -> Engine:
        return find(handler).engine

    def find_now() -> Engine | None:
        endpoint = endpoints.get(asyncio.get_running_loop())
        return endpoint.engine if endpoint is not None and endpoint.hub.takes_clients else None

    def is_elsewhere(sid: str) -> bool:
        endpoint = endpoints.get(asyncio.get_running_loop())
        peers = None if endpoint is None else endpoint.peers
        return peers is not None and peers.owner(sid) is not None

    async def ready(handler: EngineHandler) -> None:
        await find(handler).hub.ready()

    options = socketio.options
    members = {
        "max_body_bytes": options.engine.max_payload_bytes,
        "policy": options.policy,
        "serve_direct": DirectRequests(find_now, is_elsewhere).serve,
    }
    handler = type("SocketIOHandler", (EngineHandler,), members)
    arguments = {
        "find_engine": find_engine,
        "ready": ready,
        "find_peers": lambda handler: find(handler).peers,
    }
    return [URLSpec(rf"/{re.escape(options.path)}/?", handler, arguments)]
