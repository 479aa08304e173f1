"""Helpers shared by the tests: servers on threads and in processes."""
