"""The Socket.IO application of the benchmark on Flask-SocketIO: `SOCKETIO_ASYNC_MODE` says how."""

from __future__ import annotations

import os

import flask_socketio as library  # type: ignore[import-untyped]

from loadtests.apps.socketio_views import application

app = application(library, async_mode=os.environ["SOCKETIO_ASYNC_MODE"])
