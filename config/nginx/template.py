"""nginx's configuration, from the template beside this file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template

TEMPLATE = Path(__file__).with_name("nginx.conf")
_STREAMS_A_SERVER = 10_000


class _AtTemplate(Template):
    """Placeholders are `@{name}`, since `$name` is nginx's own."""

    delimiter = "@"


@dataclass(frozen=True)
class Site:
    """What nginx is told.

    `address` and `servers` are `host:port`; `folder` is where nginx may write; `access_log` is
    the directive's value, a path and a format or `off`.
    """

    address: str
    servers: Sequence[str]
    folder: Path
    max_body_mb: int
    open_files: int
    access_log: str = "off"
    live_prefix: str = "/live"
    shutdown_timeout_s: int = 30


def render(site: Site) -> str:
    """Return the text of `nginx.conf` for a site."""
    # A connection through nginx is two files; some are left for logs and temporary files.
    connections = min(2 * _STREAMS_A_SERVER * len(site.servers), site.open_files - 64)
    servers = (f"        server {server} max_fails=3 fail_timeout=2s;" for server in site.servers)
    return _AtTemplate(TEMPLATE.read_text(encoding="utf-8")).substitute(
        address=site.address,
        servers="\n".join(servers),
        folder=site.folder,
        max_body_mb=site.max_body_mb,
        open_files=site.open_files,
        worker_connections=max(connections, 64),
        access_log=site.access_log,
        live_prefix=site.live_prefix,
        shutdown_timeout_s=site.shutdown_timeout_s,
    )
