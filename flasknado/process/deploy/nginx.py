"""A server of nginx: TLS, HTTP/2, static files, live endpoints, and the limits of the server."""

from __future__ import annotations

import re

from flasknado.http.body_limits import pattern_of
from flasknado.process.deploy.site import Site

PASSED_ON = """\
    proxy_http_version 1.1;
    proxy_connect_timeout 2s;
    # Overwritten, never appended to: what a client says about itself ends here. The server
    # believes the first four (--trusted-fields proto,for,host,request-id).
    proxy_set_header X-Forwarded-Proto $scheme;
    proxy_set_header X-Forwarded-For $remote_addr;
    proxy_set_header X-Forwarded-Host $host;
    proxy_set_header X-Request-ID $request_id;
    proxy_set_header X-Forwarded-Port "";
    proxy_set_header X-Forwarded-Prefix "";
    proxy_set_header X-Forwarded-Protocol "";
    proxy_set_header X-Forwarded-Ssl "";
    proxy_set_header X-Real-IP "";
    proxy_set_header Client-Cert "";
    proxy_set_header Forwarded "";
    proxy_set_header Host $host;
    proxy_set_header Upgrade $@{name}_upgrade;
    proxy_set_header Connection $@{name}_connection;
    # The server collects bodies by itself, and no upload holds one of its threads.
    proxy_request_buffering off;
"""


def files(site: Site) -> dict[str, str]:
    """Return the file, by its path."""
    text = configuration(site, _upstream(site), tls=True, has_files=True)
    return {f"/etc/nginx/conf.d/{site.name}.conf": text}


def configuration(site: Site, upstream: str, *, tls: bool, has_files: bool) -> str:
    """Return what belongs into nginx's `http` block.

    upstream: where the server listens, such as `unix:/run/shop.sock` or `127.0.0.1:8000`.
    tls: serve HTTPS with certbot's files, and redirect HTTP to it.
    has_files: whether nginx can read the static files, which the server serves otherwise.
    """
    name = site.name.replace("-", "_")
    server = _tls(site) if tls else f"    listen 80;\n    server_name {site.domain};\n"
    parts = [
        _head(name, upstream),
        _redirect(site) if tls else "",
        f"server {{\n{server}\n",
        "    server_tokens off;\n"
        "    # Equal to the server's own (--max-body): what it would refuse does not get there.\n"
        f"    client_max_body_size {_size(site.body_limits().default_bytes)};\n\n",
        PASSED_ON.replace("@{name}", name),
        _locations(site, name, has_files),
        "}\n",
    ]
    return "".join(parts)


def _upstream(site: Site) -> str:
    bind = site.binds[0] if site.binds else f"unix:{site.socket}"
    host, _, port = bind.rpartition(":")
    if bind.startswith("unix:"):
        return bind
    return f"127.0.0.1:{port}" if host in ("", "0.0.0.0", "[::]") else bind


def _head(name: str, upstream: str) -> str:
    return f"""\
upstream {name} {{
    server {upstream};
    keepalive 32;
    # Shorter than the server's --keep-alive (75 s): nginx ends idle connections, so no request is
    # sent on one that is being closed.
    keepalive_timeout 60s;
}}

# WebSocket is the only other protocol that is passed on.
map $http_upgrade ${name}_upgrade {{
    default        '';
    ~*^websocket$  websocket;
}}
map ${name}_upgrade ${name}_connection {{
    default '';
    ~.      upgrade;
}}

"""


def _redirect(site: Site) -> str:
    return f"""\
server {{
    listen 80;
    listen [::]:80;
    server_name {site.domain};
    server_tokens off;

    # certbot certonly --webroot -w /var/www/html -d {site.domain}
    location ^~ /.well-known/acme-challenge/ {{
        root /var/www/html;
    }}
    location / {{
        return 301 https://$host$request_uri;
    }}
}}

"""


def _tls(site: Site) -> str:
    folder = f"/etc/letsencrypt/live/{site.domain}"
    return f"""\
    # From nginx 1.25.1 on, HTTP/2 is said by `http2 on;`, and this gives a warning.
    listen 443 ssl http2;
    listen [::]:443 ssl http2;
    server_name {site.domain};

    ssl_certificate {folder}/fullchain.pem;
    ssl_certificate_key {folder}/privkey.pem;
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_session_cache shared:{site.name.replace("-", "_")}_tls:10m;
    ssl_session_timeout 1d;
    ssl_session_tickets off;
    # Browsers come by HTTPS only, for as long as this says: raise it once all is well.
    add_header Strict-Transport-Security "max-age=86400" always;
"""


def _locations(site: Site, name: str, has_files: bool) -> str:
    request_s = max(60, int(site.option("request_timeout")) + 5)
    proxy = f"        proxy_pass http://{name};\n        proxy_read_timeout {request_s}s;\n"
    found = {f"{site.mount}/": ("", proxy)}
    for path, size_bytes in site.body_limit_paths().items():
        size = f"        client_max_body_size {_size(size_bytes)};\n"
        found[_match(path)] = ("    # --max-body-for\n", size + proxy)
    for prefix in site.live_prefixes():
        found[f"^~ {prefix}/"] = (
            "    # Live events: each is passed on as it comes.\n",
            f"        proxy_pass http://{name};\n"
            "        proxy_buffering off;\n"
            "        # A heartbeat comes far more often: this ends only what is dead.\n"
            "        proxy_read_timeout 1h;\n"
            "        proxy_send_timeout 60s;\n",
        )
    for prefix, folder in (site.static_folders() if has_files else {}).items():
        found[f"^~ {prefix}/"] = (
            "    # Static files, without asking the server.\n",
            f"        alias {_quoted(f'{folder}/')};\n"
            "        location ~ /\\. {\n"
            "            return 404;\n"
            "        }\n",
        )
    if site.ops_prefix:
        found[f"^~ {site.ops_prefix}/"] = (
            "    # Health and metrics are for this machine: ask the server itself.\n",
            "        return 404;\n",
        )
    return "".join(
        f"\n{comment}    location {match} {{\n{body}    }}\n"
        for match, (comment, body) in found.items()
    )


def _match(path: str) -> str:
    """Return the match of a body limit's rule: a path and everything below, `*` for a segment."""
    if "*" not in path:
        return _quoted(path)
    return f'~ "^{pattern_of(path)}"'


def _quoted(text: str) -> str:
    if re.fullmatch(r"[\w./:+@%~-]+", text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _size(size_bytes: int) -> str:
    mebibytes, rest = divmod(size_bytes, 1 << 20)
    if size_bytes == 0:
        return "1"  # 0 would mean: without a limit
    return str(size_bytes) if rest else f"{mebibytes}m"
