"""An image of an application: non-root, on a read-only root, with a health check."""

from __future__ import annotations

from flasknado.process.deploy.site import OPS_PORT, Site

PYTHON_IMAGE = "python:3.13-slim"
USER_ID = 10001

SOCKETS = "/sockets"
"""The folder of the Unix socket, which nginx in another container shares."""


def health_command(site: Site, port: int = OPS_PORT) -> list[str]:
    """Return a command that fails unless the server in the container lives."""
    url = f"http://127.0.0.1:{port}{site.ops_prefix}/healthz"
    return ["python", "-c", f"import urllib.request as u; u.urlopen({url!r}, timeout=3)"]


def dockerfile(site: Site) -> str:
    """Return a Dockerfile for the folder of the application; who runs it names the command."""
    return f"""\
FROM {PYTHON_IMAGE}
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /srv/{site.name}
# flasknado is one of the requirements.
COPY requirements.txt .
RUN pip install --no-cache-dir -r requirements.txt
COPY . .
RUN useradd --system --uid {USER_ID} --no-create-home app && install -d -o app {SOCKETS}
USER {USER_ID}
"""
