"""Who gets events: the live clients of one process, on its event loop."""
