"""The processes around a server: command line, settings, arbiter, worker."""
