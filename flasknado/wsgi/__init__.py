"""Flask on a connection: environ, response, thread pool, container."""
