"""What operators ask a server: is it alive, is it ready, what is it doing."""

from flasknado.ops.operations import Operations, install, routes

__all__ = ["Operations", "install", "routes"]
