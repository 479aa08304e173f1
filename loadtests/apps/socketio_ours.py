"""The Socket.IO application of the benchmark on `flasknado.socketio`."""

from __future__ import annotations

import flasknado.socketio as library
from loadtests.apps.socketio_views import application

app = application(library)
