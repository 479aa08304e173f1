"""Uploads that are written to files while they arrive."""
