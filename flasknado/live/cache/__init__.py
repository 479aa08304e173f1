"""Pages that a worker keeps and serves itself, until an event says that they have changed."""
