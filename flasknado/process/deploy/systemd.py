"""Units of systemd: a socket, which is there while the service restarts, and the service."""

from __future__ import annotations

from flasknado.process.deploy.site import Site


def files(site: Site) -> dict[str, str]:
    """Return both units, by their paths."""
    folder = "/etc/systemd/system"
    return {
        f"{folder}/{site.name}.socket": _socket(site),
        f"{folder}/{site.name}.service": _service(site),
    }


def _socket(site: Site) -> str:
    streams = [bind.removeprefix("unix:") for bind in site.binds] or [site.socket]
    listen = "".join(f"ListenStream={stream}\n" for stream in streams)
    ways = ""
    if any(stream.startswith("/") for stream in streams):
        ways += f"""\
# Whoever may write to the socket is trusted as a proxy is: the service, and nginx.
SocketUser={site.name}
SocketGroup=www-data
SocketMode=0660
"""
    if not all(stream.startswith("/") for stream in streams):
        ways += "NoDelay=true\n"
    return f"""\
[Unit]
Description=The socket of {site.application}

[Socket]
{listen}{ways}# Connections wait here while the service starts.
Backlog={site.cfg.backlog}

[Install]
WantedBy=sockets.target
"""


def _service(site: Site) -> str:
    extra = () if site.binds else site.behind_nginx()
    command = " ".join(
        _quoted(word) for word in (site.command, site.application, *site.options, *extra)
    )
    home = "read-only" if str(site.folder).startswith(("/home/", "/root/")) else "true"
    return f"""\
[Unit]
Description={site.application}
Requires={site.name}.socket
After=network-online.target {site.name}.socket
Wants=network-online.target

[Service]
# Started once a worker serves.
Type=notify
# systemctl reload: new workers serve before the old ones go. (From systemd 253 on,
# Type=notify-reload waits for that.)
ExecReload=/bin/kill -HUP $MAINPID
# Restarted if no worker's event loop turns for so long; the arbiter replaces a frozen worker
# within --timeout.
WatchdogSec={site.watchdog_s}
User={site.name}
WorkingDirectory={_path(str(site.folder))}
# Secrets: NAME=value, one a line, readable for root alone.
EnvironmentFile=-/etc/{site.name}.env
ExecStart={command}
# TERM goes to the arbiter, which drains its workers; --graceful-timeout and --lame-duck fit in.
KillMode=mixed
TimeoutStopSec={site.grace_s}
Restart=on-failure
RestartSec=1
# --worker-connections, and some for files.
LimitNOFILE={site.open_files}

# What it may write: /var/lib/{site.name} ($STATE_DIRECTORY), /tmp of its own, /dev/shm.
StateDirectory={site.name}
UMask=0027
ProtectSystem=strict
ProtectHome={home}
PrivateTmp=true
PrivateDevices=true
# What it may do: nothing that a web server need not.
NoNewPrivileges=true
CapabilityBoundingSet=
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictNamespaces=true
RestrictRealtime=true
RestrictSUIDSGID=true
LockPersonality=true
ProtectClock=true
ProtectControlGroups=true
ProtectHostname=true
ProtectKernelLogs=true
ProtectKernelModules=true
ProtectKernelTunables=true
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
"""


def _path(text: str) -> str:
    return text.replace("%", "%%")


def _quoted(word: str) -> str:
    """Return a word of a command line as systemd.service(5) reads it."""
    word = word.replace("\\", "\\\\").replace("%", "%%").replace("$", "$$")
    if word and not any(sign in word for sign in " \t\"';"):
        return word
    escaped = word.replace('"', '\\"')
    return f'"{escaped}"'
