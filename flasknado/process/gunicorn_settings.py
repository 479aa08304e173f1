"""Which of gunicorn's settings mean something here; any other one is refused unless at its default.

A setting that is silently ignored is worse than one that is refused: its user believes
in it.
"""

from __future__ import annotations

from gunicorn.config import Config, make_settings

from flasknado.errors import ConfigurationError

HONOURED: dict[str, str] = {
    "config": "the configuration file",
    "wsgi_app": "the application, instead of the command line's",
    "bind": "addresses to listen on: HOST:PORT, unix:PATH, fd://FD",
    "backlog": "connections that may wait to be accepted",
    "workers": "processes",
    "worker_class": "flasknado.process.worker.Worker, or a subclass",
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
    "umask": "the file mode mask",
    "initgroups": "take the user's other groups, too",
    "forwarded_allow_ips": "proxies whose forwarding headers are believed",
    "errorlog": "where the error log goes; - is standard error",
    "accesslog": "where the access log goes; - is standard output; off by default",
    "access_log_format": "gunicorn's atoms (docs/operations.md), or json",
    "disable_redirect_access_to_syslog": "with syslog, keep the access log out of it",
    "loglevel": "the least level that is logged",
    "capture_output": "send standard output and error to the error log",
    "logger_class": "flasknado.process.logger.Logger, or a subclass",
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


def refuse_unknown(cfg: Config, own: frozenset[str]) -> None:
    """Raise `ConfigurationError` for settings that would be ignored; `own` are ours."""
    for name, default in make_settings().items():
        if name in HONOURED or name in own:
            continue
        if cfg.settings[name].get() != default.get():
            raise ConfigurationError(
                f"gunicorn's setting {name} is {cfg.settings[name].get()!r}, but this server does "
                f"not use it: remove it (docs/operations.md lists those that it uses)"
            )
