"""An Engine.IO v4 server on the event loop: sessions over HTTP long-polling and WebSocket."""
