"""Which of gunicorn's settings mean something here; any other one is refused unless at its default.

A setting that is silently ignored is worse than one that is refused: its user believes
in it.
"""

from __future__ import annotations

from collections.abc import Iterator

from gunicorn.config import Config, make_settings

from flasknado.errors import ConfigurationError

HONOURED: dict[str, str] = {
    "config": "the configuration file",
    "wsgi_app": "the application, instead of the command line's",
    "bind": "addresses to listen on: HOST:PORT, unix:PATH, fd://FD",
    "backlog": "connections that may wait to be accepted",
    "workers": "processes",
    "worker_class": "flasknado.Worker, or a subclass",
    "threads": "threads of a worker that run views; 16 by default",
    "worker_connections": "open connections of a worker; 20,000 by default",
    "max_requests": "requests after which a worker is replaced; 0: never",
    "max_requests_jitter": "up to this many more, at random",
    "timeout": "seconds without a heartbeat of the loop after which a worker is killed",
    "graceful_timeout": "seconds that a draining worker has to finish requests",
    "keepalive": "seconds that a connection may rest between requests; 75 by default, 0: none",
    "limit_request_line": "bytes of a request target; a longer one gets 414",
    "limit_request_fields": "header fields of a request; more get 431",
    "reload": "restart workers when code changes (development)",
    "reload_engine": "how changes are found",
    "reload_extra_files": "more files to watch",
    "check_config": "check the configuration and exit",
    "print_config": "print the configuration and exit",
    "preload_app": "import the application before the workers are forked",
    "reuse_port": "SO_REUSEPORT on every listening socket",
    "chdir": "the folder to run in",
    "daemon": "run in the background",
    "raw_env": "environment variables of the application",
    "pidfile": "where the arbiter writes its process id",
    "worker_tmp_dir": "the folder of the heartbeat files",
    "tmp_upload_dir": "the folder of large request bodies",
    "user": "the user to run workers as",
    "group": "the group to run workers as",
    "umask": "the file mode mask of Unix sockets; 007 by default: for the user and its group",
    "initgroups": "take the user's other groups, too",
    "forwarded_allow_ips": "proxies that are believed, in what --trusted-fields names",
    "secure_scheme_headers": "header fields of theirs that tell the scheme, each with its value "
    "for https",
    "errorlog": "where the error log goes; - is standard error",
    "accesslog": "where the access log goes; - is standard output; off by default",
    "access_log_format": "gunicorn's atoms (docs/operations.md), or json",
    "disable_redirect_access_to_syslog": "with syslog, keep the access log out of it",
    "loglevel": "the least level that is logged",
    "capture_output": "send standard output and error to the error log",
    "logger_class": "flasknado.Logger, or a subclass",
    "logconfig": "a logging configuration file",
    "logconfig_dict": "a logging configuration",
    "logconfig_json": "a logging configuration in JSON",
    "syslog": "log to syslog",
    "syslog_addr": "the address of syslog",
    "syslog_prefix": "the name in syslog",
    "syslog_facility": "the facility in syslog",
    "enable_stdio_inheritance": "keep standard streams in a daemon",
    "proc_name": "the name of the processes",
    "default_proc_name": "the same, if none is given",
    "pythonpath": "folders to import from",
    "on_starting": "hook: before the arbiter starts",
    "on_reload": "hook: in a reload",
    "when_ready": "hook: the arbiter listens",
    "pre_fork": "hook: before a worker is forked",
    "post_fork": "hook: in the forked worker",
    "post_worker_init": "hook: the worker has loaded the application",
    "worker_int": "hook: a worker was told to stop at once",
    "worker_abort": "hook: a worker's loop was frozen",
    "pre_exec": "hook: before a new arbiter is executed (USR2)",
    "child_exit": "hook: in the arbiter, a worker has ended",
    "worker_exit": "hook: in the worker, it ends",
    "nworkers_changed": "hook: the number of workers changes",
    "on_exit": "hook: the arbiter ends",
    "keyfile": "TLS: the private key",
    "certfile": "TLS: the certificate",
    "ca_certs": "TLS: authorities for client certificates",
    "cert_reqs": "TLS: whether client certificates are asked for",
    "ciphers": "TLS: the ciphers",
    "ssl_context": "hook: makes the TLS context",
    "control_socket": "gunicorn's control socket; off by default",
    "control_socket_mode": "its file mode",
    "control_socket_disable": "whether it is off",
}
"""gunicorn's settings that are honoured, with their meaning here."""


_HTTP = "requests are read strictly, as docs/http-safety.md says"
_HTTP2 = "let nginx or another proxy speak HTTP/2 to clients"
_ASGI = "this server hosts WSGI applications; live endpoints are native handlers (--handlers)"
_STATSD = "let Prometheus read /-/metrics, or run its statsd exporter"
_DIRTY = "run long tasks in a job queue, such as Celery or RQ"
_PROXY_PROTOCOL = (
    "have the proxy speak HTTP and send X-Forwarded-For, and add for to --trusted-fields"
)
_UWSGI = "have nginx speak HTTP: proxy_pass instead of uwsgi_pass"
_PASTE = (
    "write a module with application = paste.deploy.loadapp('config:/path/to/file.ini') "
    "and serve that as MODULE:application"
)
_TLS = "use ssl_context, which may change the context that gunicorn makes"

REPLACEMENTS: dict[str, str] = {
    "limit_request_field_size": "use --max-head, which bounds the request line and all header "
    "fields together",
    "spew": "use --request-timeout, which logs where a slow view is, or a debugger",
    "sendfile": "files of wsgi.file_wrapper are always sent by the kernel",
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
    "do_handshake_on_connect": "handshakes never block here and have --header-timeout seconds",
    "http_protocols": _HTTP2,
    "http2_cleartext": _HTTP2,
    "http2_max_concurrent_streams": _HTTP2,
    "http2_initial_window_size": _HTTP2,
    "http2_max_frame_size": _HTTP2,
    "http2_max_header_list_size": _HTTP2,
    "permit_obsolete_folding": _HTTP,
    "strip_header_spaces": _HTTP,
    "permit_unconventional_http_method": "any token is a method already",
    "permit_unconventional_http_version": _HTTP,
    "casefold_http_method": "methods are case-sensitive (RFC 9110, section 9.1)",
    "forwarder_headers": "have the proxy send X-Forwarded-Prefix instead of SCRIPT_NAME, and add "
    "prefix to --trusted-fields",
    "header_map": "fields with underscores in their names are dropped: have the proxy send hyphens",
    "asgi_loop": _ASGI,
    "asgi_lifespan": _ASGI,
    "asgi_disconnect_grace_period": _ASGI,
    "websocket_max_message_size": "set websocket_max_message_size of Tornado's application, or "
    "LIVE_MAX_MESSAGE_BYTES",
    "http_parser": "use --http, which chooses the connection layer",
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
        value = cfg.settings[name].get()
        if value != default.get():
            instead = REPLACEMENTS.get(name, "docs/operations.md lists the settings that it uses")
            shown = getattr(value, "__qualname__", None) or repr(value)
            yield (
                name,
                f"gunicorn's setting {name} is {shown}, but this server does not use it: "
                f"remove it; {instead}",
            )


def refuse_unknown(cfg: Config, own: frozenset[str]) -> None:
    """Raise `ConfigurationError` for settings that would be ignored; `own` are ours."""
    for _, sentence in refused(cfg, own):
        raise ConfigurationError(sentence)
