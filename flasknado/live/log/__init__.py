"""Where events are kept: a database or memory, followed by one thread. No event loop."""
