"""gunicorn's settings that are honoured here; the others are refused unless at their default.

Refusing a setting is better than silently ignoring it.
"""

from __future__ import annotations

from collections.abc import Iterator

from gunicorn.config import Config, make_settings

from flasknado.errors import ConfigurationError
from flasknado.process.configuration import named

HONOURED: dict[str, str] = {
    "config": "The configuration file: PATH, file:PATH or python:MODULE.",
    "wsgi_app": "The application, if the command line does not name one.",
    "bind": "The addresses to listen on: HOST:PORT, unix:PATH or fd://FD. May be repeated.",
    "backlog": "How many connections may wait to be accepted.",
    "workers": "The number of worker processes.",
    "worker_class": "flasknado.Worker, or a subclass of it.",
    "threads": "How many threads run views in each worker.",
    "worker_connections": "How many connections may be open in each worker.",
    "max_requests": "How many requests a worker answers before it is replaced; 0 means no limit.",
    "max_requests_jitter": "The most requests to add to that at random, so that workers are not "
    "all replaced at once.",
    "timeout": "Kill and replace a worker whose event loop has not responded for this many "
    "seconds.",
    "graceful_timeout": "How many seconds a draining worker has to finish its requests.",
    "keepalive": "How many seconds a connection may be idle between requests; 0 turns keep-alive "
    "off.",
    "limit_request_line": "The longest request target, in bytes; longer ones get 414.",
    "limit_request_fields": "The most header fields in a request; more get 431.",
    "reload": "Restart the workers when code changes (for development).",
    "reload_engine": "How --reload watches files: auto, inotify or poll.",
    "reload_extra_files": "More files for --reload to watch. May be repeated.",
    "check_config": "Check the configuration and exit.",
    "print_config": "Print the configuration and exit.",
    "preload_app": "Import the application before the workers are forked.",
    "reuse_port": "Set SO_REUSEPORT on every listening socket.",
    "chdir": "The folder to run in.",
    "daemon": "Run in the background.",
    "raw_env": "NAME=VALUE to set in the environment of the application. May be repeated.",
    "pidfile": "The file to write the arbiter's process id to.",
    "worker_tmp_dir": "The folder for the workers' heartbeat files.",
    "tmp_upload_dir": "The folder for large request bodies.",
    "user": "The user to run the workers as.",
    "group": "The group to run the workers as.",
    "umask": "The mode mask of Unix sockets; the default leaves access to the user and the group.",
    "initgroups": "Give the workers all groups of their user.",
    "forwarded_allow_ips": "The proxies to trust, in what --trusted-fields names: IP addresses, "
    "CIDR blocks, unix for clients on a Unix socket, or *, separated by commas.",
    "secure_scheme_headers": "The header fields in which those proxies give the scheme, each with "
    "its value for https.",
    "errorlog": "The file for the error log; - is standard error.",
    "accesslog": "The file for the access log; - is standard output. Off by default.",
    "access_log_format": "The format of the access log: gunicorn's atoms (see "
    "docs/operations.md), or json.",
    "disable_redirect_access_to_syslog": "With --log-syslog, keep the access log out of syslog.",
    "loglevel": "The lowest level to log: debug, info, warning, error or critical.",
    "capture_output": "Send standard output and standard error to the error log.",
    "logger_class": "flasknado.Logger, or a subclass of it.",
    "logconfig": "A logging configuration file.",
    "logconfig_dict": "A logging configuration.",
    "logconfig_json": "A logging configuration file in JSON.",
    "syslog": "Send the logs to syslog.",
    "syslog_addr": "The address of syslog.",
    "syslog_prefix": "The program name in syslog.",
    "syslog_facility": "The facility in syslog.",
    "enable_stdio_inheritance": "Keep the standard streams open with --daemon.",
    "proc_name": "The name of the processes.",
    "default_proc_name": "The name of the processes if proc_name is not set.",
    "pythonpath": "Folders to import from, separated by commas.",
    "on_starting": "Hook: before the arbiter starts.",
    "on_reload": "Hook: during a reload.",
    "when_ready": "Hook: the arbiter is listening.",
    "pre_fork": "Hook: before a worker is forked.",
    "post_fork": "Hook: in a worker, after it was forked.",
    "post_worker_init": "Hook: in a worker, after it has loaded the application.",
    "worker_int": "Hook: a worker has been told to stop at once.",
    "worker_abort": "Hook: a worker's event loop has stopped responding.",
    "pre_exec": "Hook: before a new arbiter is executed (USR2).",
    "child_exit": "Hook: in the arbiter, after a worker has exited.",
    "worker_exit": "Hook: in a worker, before it exits.",
    "nworkers_changed": "Hook: the number of workers has changed.",
    "on_exit": "Hook: before the arbiter exits.",
    "keyfile": "TLS: the private key.",
    "certfile": "TLS: the certificate.",
    "ca_certs": "TLS: the authorities that client certificates are checked against.",
    "cert_reqs": "TLS: client certificates are not asked for (0), optional (1) or required (2).",
    "ciphers": "TLS: the ciphers, as an OpenSSL cipher list.",
    "ssl_context": "Hook: makes the TLS context.",
    "control_socket": "The path of gunicorn's control socket.",
    "control_socket_mode": "The file mode of the control socket.",
    "control_socket_disable": "Turn the control socket off, as it is by default.",
}
"""gunicorn's settings that are honoured, with their meaning here."""


_HTTP = "requests are parsed strictly (docs/http-safety.md)"
_HTTP2 = "use nginx or another proxy for HTTP/2"
_ASGI = "this server hosts WSGI applications; use native handlers (--handlers) for async code"
_STATSD = "scrape /-/metrics with Prometheus"
_DIRTY = "run long tasks in a job queue, such as Celery or RQ"
_PROXY_PROTOCOL = "have the proxy send X-Forwarded-For over HTTP, and add for to --trusted-fields"
_UWSGI = "use HTTP: in nginx, proxy_pass instead of uwsgi_pass"
_PASTE = (
    "write a module with application = paste.deploy.loadapp('config:/path/to/file.ini') "
    "and serve that as MODULE:application"
)
_TLS = "use the hook ssl_context, which can change the TLS context"

REPLACEMENTS: dict[str, str] = {
    "limit_request_field_size": "use --max-head, which limits the request line and all header "
    "fields together",
    "spew": "use --request-timeout, which logs the stack of slow views, or a debugger",
    "sendfile": "wsgi.file_wrapper always uses the kernel's sendfile",
    "statsd_host": _STATSD,
    "statsd_prefix": _STATSD,
    "dogstatsd_tags": _STATSD,
    "enable_backlog_metric": "watch flasknado_pool_queue_requests in /-/metrics",
    "paste": _PASTE,
    "raw_paste_global_conf": _PASTE,
    "pre_request": "use Flask's before_request, or WSGI middleware around the application",
    "post_request": "use Flask's after_request or teardown_request, WSGI middleware, or the "
    "access log",
    "proxy_protocol": _PROXY_PROTOCOL,
    "proxy_allow_ips": _PROXY_PROTOCOL,
    "protocol": _UWSGI,
    "uwsgi_allow_ips": _UWSGI,
    "ssl_version": _TLS,
    "suppress_ragged_eofs": _TLS,
    "do_handshake_on_connect": "TLS handshakes never block; --header-timeout limits them",
    "http_protocols": _HTTP2,
    "http2_cleartext": _HTTP2,
    "http2_max_concurrent_streams": _HTTP2,
    "http2_initial_window_size": _HTTP2,
    "http2_max_frame_size": _HTTP2,
    "http2_max_header_list_size": _HTTP2,
    "permit_obsolete_folding": _HTTP,
    "strip_header_spaces": _HTTP,
    "permit_unconventional_http_method": "every method that is a token is accepted",
    "permit_unconventional_http_version": _HTTP,
    "casefold_http_method": "methods are case-sensitive (RFC 9110, section 9.1)",
    "forwarder_headers": "have the proxy send X-Forwarded-Prefix instead of SCRIPT_NAME, and add "
    "prefix to --trusted-fields",
    "header_map": "header fields with underscores in their names are dropped: have the proxy send "
    "hyphens",
    "asgi_loop": _ASGI,
    "asgi_lifespan": _ASGI,
    "asgi_disconnect_grace_period": _ASGI,
    "websocket_max_message_size": "set websocket_max_message_size of Tornado's application, or "
    "LIVE_MAX_MESSAGE_BYTES",
    "http_parser": "use --http to choose the connection layer",
    "root_path": "use --mount, or have the proxy send X-Forwarded-Prefix",
    "dirty_apps": _DIRTY,
    "dirty_workers": _DIRTY,
    "dirty_timeout": _DIRTY,
    "dirty_threads": _DIRTY,
    "dirty_graceful_timeout": _DIRTY,
    "on_dirty_starting": _DIRTY,
    "dirty_post_fork": _DIRTY,
    "dirty_worker_init": _DIRTY,
    "dirty_worker_exit": _DIRTY,
}
"""gunicorn's settings that are refused, each with what to do instead."""


def refused(cfg: Config, own: frozenset[str]) -> Iterator[tuple[str, str]]:
    """Yield the name of each setting that would be ignored, with a sentence; `own` are ours."""
    for name, default in make_settings().items():
        if name in HONOURED or name in own:
            continue
        setting = cfg.settings[name]
        value = setting.get()
        if value != default.get():
            instead = REPLACEMENTS.get(name, "see docs/operations.md for the settings it uses")
            shown = getattr(value, "__qualname__", None) or repr(value)
            yield (
                name,
                f"{named(cfg, name)} is {shown}, but gunicorn's setting {name} is not supported "
                f"here: remove it; {instead}",
            )


def refuse_unknown(cfg: Config, own: frozenset[str]) -> None:
    """Raise `ConfigurationError` for settings that would be ignored; `own` are ours."""
    for _, sentence in refused(cfg, own):
        raise ConfigurationError(sentence)
