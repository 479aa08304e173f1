"""Durable runs: the output of a generator, as events that outlive the client that asked for it."""
