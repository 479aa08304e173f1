"""Operations by gunicorn's settings and ours: checked at the start, built in each worker."""

from __future__ import annotations

from typing import Any

from gunicorn.config import Config
from tornado.web import Application

from flasknado.native.direct import no_line
from flasknado.ops import bind
from flasknado.ops.logs import access_lines
from flasknado.ops.logs.scrub import SECRET_PARAMETERS, Scrubber
from flasknado.ops.metrics.access import Allowed
from flasknado.ops.metrics.workers import Snapshots, shared
from flasknado.ops.operations import Operations
from flasknado.process.configuration import about
from flasknado.process.settings import option
from flasknado.server import HTTPServer


def check(cfg: Config) -> None:
    """Raise `ConfigurationError` for a setting of operations that cannot be used.

    Listens on `ops_bind`, so call it in the process that becomes the arbiter.
    """
    with about(cfg, "access_log_format"):
        access_lines.template(cfg.access_log_format, scrubber_of(cfg))
    if option(cfg, "ops_bind"):
        with about(cfg, "ops_bind"):
            bind.shared_socket(option(cfg, "ops_bind"))


def scrubber_of(cfg: Config) -> Scrubber:
    """Return what hides secrets, by the setting `secret_parameters`."""
    return Scrubber((*SECRET_PARAMETERS, *_listed(option(cfg, "secret_parameters"))))


def allowed_of(cfg: Config) -> Allowed:
    """Return who may see the metrics, by the settings `metrics_allow` and `metrics_token`."""
    networks = _listed(option(cfg, "metrics_allow")) or None
    return Allowed(networks, option(cfg, "metrics_token") or "")


def snapshots_of(cfg: Config) -> Snapshots:
    """Return where the workers of this arbiter add up their numbers; before any fork."""
    return shared(cfg.worker_tmp_dir, cfg.uid, cfg.gid)


def operations_of(
    server: HTTPServer, cfg: Config, log: Any, snapshots: Snapshots, age: int
) -> Operations:
    """Return the operations of a worker's server; `log` is gunicorn's logger."""
    logs = bool(_is_access_logged(cfg) and log.access_log.handlers)
    return Operations(
        server,
        snapshots=snapshots,
        age=age,
        allowed=allowed_of(cfg),
        access_template=(
            access_lines.template(cfg.access_log_format, scrubber_of(cfg)) if logs else None
        ),
        access_logger=log.access_log,
        stuck_after_s=option(cfg, "stuck_after"),
        stuck_share=option(cfg, "stuck_share"),
    )


def operations_server(operations: Operations, prefix: str) -> HTTPServer:
    """Return a server of nothing but the endpoints of operations, for `ops_bind`."""
    return HTTPServer(
        Application([], log_function=no_line),
        handlers=operations.routes(prefix, own_address=True),
        settings={"log_function": no_line},
        # A worker that goes in a reload must not go on answering that it is draining.
        no_keep_alive=True,
    )


def _is_access_logged(cfg: Config) -> bool:
    """Whether there is an access log (gunicorn's logger says so from 27 only)."""
    if cfg.accesslog or cfg.logconfig or cfg.logconfig_dict or cfg.logconfig_json:
        return True
    return bool(cfg.syslog and not cfg.disable_redirect_access_to_syslog)


def _listed(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]
