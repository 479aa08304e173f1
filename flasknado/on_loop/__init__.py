"""What an application leaves to the event loop: coroutines of views, and async producers."""

from __future__ import annotations

from typing import Final

HOST_KEY: Final = "flasknado.loop_host"
"""Where the environ of a request has the `LoopHost` of the server that runs it."""
