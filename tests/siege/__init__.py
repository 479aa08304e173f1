"""Attacks on real servers of this machine, judged: `make siege`; the tests have a short form."""
