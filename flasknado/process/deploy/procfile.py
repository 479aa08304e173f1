"""A Procfile, for platforms that set `PORT` and `WEB_CONCURRENCY`."""

from __future__ import annotations

import shlex

from flasknado.process.deploy.site import Site


def files(site: Site) -> dict[str, str]:
    """Return the file, by its path."""
    options = list(site.options)
    if not site.has("forwarded_allow_ips") and not site.has("trusted_fields"):
        options += ["--forwarded-allow-ips", "*", "--trusted-fields", "proto"]
    command = shlex.join(["flasknado", site.application, *options])
    return {
        "Procfile": f"""\
# The server listens on the port that the platform names in PORT, and starts as many workers as
# WEB_CONCURRENCY says. Only the platform's router reaches that port, so it is trusted, for the
# scheme. On TERM the server drains for --graceful-timeout ({site.cfg.graceful_timeout} s).
web: {command}
"""
    }
