"""A compose file: the application, nginx before it, and PostgreSQL."""

from __future__ import annotations

import json

from flasknado.process.deploy import containers, nginx
from flasknado.process.deploy.containers import SOCKETS
from flasknado.process.deploy.site import OPS_PORT, Site

SOCKET = f"{SOCKETS}/server.sock"


def files(site: Site) -> dict[str, str]:
    """Return the file, by its path."""
    return {"compose.yaml": _compose(site)}


def _compose(site: Site) -> str:
    name = site.name
    command = [
        "flasknado",
        site.application,
        *site.options,
        *site.behind_nginx(),
        "--bind",
        f"unix:{SOCKET}",
        # nginx is another user, of another container.
        "--umask",
        "0",
        *(() if site.has("ops_bind") else ("--ops-bind", f"127.0.0.1:{OPS_PORT}")),
    ]
    web = nginx.configuration(site, f"unix:{SOCKET}", tls=False, has_files=False)
    return f"""\
# docker compose up --build --detach; POSTGRES_PASSWORD comes from .env beside this file.
name: {name}

services:
  app:
    build:
      context: .
      dockerfile_inline: |
{_indented(containers.dockerfile(site), 8)}
    # The list form: a shell would not pass TERM on.
    command: {_escaped(json.dumps(command))}
    environment:
      DATABASE_URL: postgresql+psycopg://{name}:${{POSTGRES_PASSWORD:?set it in .env}}@db/{name}
    depends_on:
      db:
        condition: service_healthy
    volumes:
      - sockets:{SOCKETS}
    # Nothing but the socket's folder and /tmp can be written to.
    read_only: true
    tmpfs:
      - /tmp
    cap_drop: [ALL]
    security_opt: ["no-new-privileges:true"]
    healthcheck:
      test: {json.dumps(["CMD", *containers.health_command(site)])}
      interval: 10s
      timeout: 5s
      start_period: 30s
    # --graceful-timeout and --lame-duck fit in.
    stop_grace_period: {site.grace_s}s
    restart: unless-stopped

  web:
    image: nginx:stable-alpine
    depends_on:
      app:
        condition: service_healthy
    ports:
      - "80:80"
    volumes:
      - sockets:{SOCKETS}:ro
    configs:
      - source: nginx
        target: /etc/nginx/conf.d/default.conf
    read_only: true
    tmpfs:
      - /var/cache/nginx
      - /var/run
      - /tmp
    restart: unless-stopped

  db:
    image: postgres:17-alpine
    environment:
      POSTGRES_USER: {name}
      POSTGRES_PASSWORD: ${{POSTGRES_PASSWORD:?set it in .env}}
    volumes:
      - database:/var/lib/postgresql/data
    healthcheck:
      test: ["CMD", "pg_isready", "--username", "{name}"]
      interval: 2s
      timeout: 5s
      retries: 30
    restart: unless-stopped

volumes:
  database:
  sockets:

configs:
  nginx:
    # Two $ are one for compose.
    content: |
{_indented(_escaped(web), 6)}"""


def _escaped(text: str) -> str:
    """Return text in which compose finds no variable."""
    return text.replace("$", "$$")


def _indented(text: str, width: int) -> str:
    return "".join(f"{' ' * width}{line}".rstrip() + "\n" for line in text.splitlines())
