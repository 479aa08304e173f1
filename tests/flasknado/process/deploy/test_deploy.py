"""`flasknado deploy`: what it writes is read by the programs that it is for."""

from __future__ import annotations

import http.client
import json
import re
import shlex
import shutil
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
import requests
import yaml

from tests.support.poll import poll
from tests.support.process import ServerProcess, server_process
from tests.support.programs import need

SHOP = """
from flask import Flask, request

app = Flask("shop")


@app.route("/", defaults={"path": ""}, methods=["GET", "POST"])
@app.route("/<path:path>", methods=["GET", "POST"])
def said(path):
    request.get_data()
    return {"path": request.path, "scheme": request.scheme, "address": request.remote_addr}
"""
LIVE = """
from flasknado.live import routes as live_routes

routes = live_routes("/news")
"""
LIMITS = ("--max-body", "64K", "--max-body-for", "POST /upload=1M")
OPTIONS = (*LIMITS, "--max-body-for", "/api/*/photo=128K", "--handlers", "shop_live:routes")
DOMAIN = "shop.example.com"

Deploy = Callable[..., str]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "shop.py").write_text(SHOP)
    (tmp_path / "shop_live.py").write_text(LIVE)
    return tmp_path


@pytest.fixture
def deploy(folder: Path) -> Deploy:
    """`deploy(KIND, *options)` returns what the command prints."""

    def deploy(kind: str, *options: str, status: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "flasknado", "deploy", kind, *options, "shop:app"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == status, done.stderr
        return done.stdout if status == 0 else done.stderr

    return deploy


def parts(text: str) -> dict[str, str]:
    """Return the files of an output by their names, which head them."""
    split = re.split(r"^# (/\S+|\S+\.yaml|Procfile)$\n", text, flags=re.MULTILINE)
    assert split[0] == ""
    return dict(zip((Path(path).name for path in split[1::2]), split[2::2], strict=True))


# systemd.


def test_units_are_verified_by_systemd(deploy: Deploy, folder: Path) -> None:
    analyze = need("systemd-analyze")
    units = folder / "units"
    units.mkdir()
    deploy("systemd", *OPTIONS, "--to", str(units))
    assert sorted(path.name for path in units.iterdir()) == ["shop.service", "shop.socket"]
    # A man page or the user may be missing on this machine, which is no fault of the unit.
    verify = (analyze, "verify", "--man=no", units / "shop.service", units / "shop.socket")
    done = subprocess.run(verify, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr.strip()) == (0, "")


def test_unit_fits_the_options_of_the_server(deploy: Deploy, folder: Path) -> None:
    options = ("--graceful-timeout", "50", "--lame-duck", "5", "--timeout", "40", *LIMITS)
    service = parts(deploy("systemd", *options))["shop.service"]
    setting = dict(re.findall(r"^(\w+)=(.*)$", service, re.MULTILINE))
    assert int(setting["TimeoutStopSec"]) > 50 + 5 + 5, "the arbiter kills after five seconds more"
    assert int(setting["WatchdogSec"]) > 40, "the arbiter replaces a frozen worker first"
    assert int(setting["LimitNOFILE"]) > 20_000
    assert setting["WorkingDirectory"] == str(folder)
    words = shlex.split(setting["ExecStart"])
    assert words[1:] == ["shop:app", *options, "--trusted-fields", "proto,for,host,request-id"]
    assert Path(words[0]).name == "flasknado"


def test_sockets_of_the_unit_are_where_bind_says(deploy: Deploy) -> None:
    units = parts(deploy("systemd", "--bind", "127.0.0.1:8080", "-w", "2"))
    assert "ListenStream=127.0.0.1:8080\n" in units["shop.socket"]
    assert "NoDelay=true" in units["shop.socket"]
    assert "SocketMode" not in units["shop.socket"]
    command = shlex.split(units["shop.service"].partition("ExecStart=")[2].splitlines()[0])
    assert command[1:] == ["shop:app", "-w", "2"], "and nobody on that address is nginx"


# nginx.


@pytest.fixture
def certificate(folder: Path) -> Path:
    """The folder of a key and a certificate, as certbot names them."""
    command = (need("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt")
    names = ("ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", f"/CN={DOMAIN}")
    files = ("-keyout", "privkey.pem", "-out", "fullchain.pem")
    subprocess.run([*command, *names, *files], cwd=folder, check=True, capture_output=True)
    return folder


@pytest.fixture
def shop_behind_nginx(
    deploy: Deploy, folder: Path, certificate: Path
) -> Iterator[tuple[ServerProcess, int]]:
    """The shop, and the port of nginx before it; both as deploy says."""
    nginx = need("nginx")
    text = parts(deploy("nginx", "--domain", DOMAIN, *OPTIONS))["shop.conf"]
    unix = folder / "shop.sock"
    with socket.socket() as plain, socket.socket() as secure:
        plain.bind(("127.0.0.1", 0))
        secure.bind(("127.0.0.1", 0))
        http_port, https_port = plain.getsockname()[1], secure.getsockname()[1]
    for old, new in (
        ("/run/shop/shop.sock", str(unix)),
        (f"/etc/letsencrypt/live/{DOMAIN}", str(certificate)),
        ("listen 80;", f"listen 127.0.0.1:{http_port};"),
        ("listen 443 ssl http2;", f"listen 127.0.0.1:{https_port} ssl http2;"),
    ):
        assert old in text
        text = text.replace(old, new)
    text = re.sub(r"^ *listen \[::\].*\n", "", text, flags=re.MULTILINE)
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    whole = folder / "nginx.conf"
    whole.write_text(
        f"daemon off;\npid {folder}/nginx.pid;\nerror_log stderr;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{temporary}{text}}}\n"
    )
    whole.chmod(0o644)
    command = (nginx, "-e", "stderr", "-c", str(whole), "-p", str(folder))
    tested = subprocess.run(
        [*command, "-t"], capture_output=True, text=True, timeout=60, check=False
    )
    assert "test is successful" in tested.stderr, tested.stderr
    fields = ("--trusted-fields", "proto,for,host,request-id", "--umask", "0")
    serve = ("-m", "flasknado", "shop:app", *LIMITS, *fields, "--bind", f"unix:{unix}")
    with ExitStack() as ends:
        server = ends.enter_context(server_process(serve, cwd=folder))
        for part in (folder, *folder.parents):  # nginx's workers are another user
            if part.owner() == "root" and part.stat().st_mode & 0o001 == 0:
                part.chmod(part.stat().st_mode | 0o011)
        process = subprocess.Popen(command)
        ends.callback(process.wait, 20)
        ends.callback(process.send_signal, signal.SIGTERM)
        poll(lambda: _accepts(https_port))
        yield server, https_port


def _accepts(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def test_nginx_takes_the_configuration_and_serves_the_application(
    shop_behind_nginx: tuple[ServerProcess, int], folder: Path
) -> None:
    _, port = shop_behind_nginx
    context = ssl.create_default_context(cafile=folder / "fullchain.pem")
    context.check_hostname = False

    def ask(method: str, path: str, size_bytes: int = 0) -> tuple[int, bytes]:
        fields = {"Host": DOMAIN, "X-Forwarded-For": "203.0.113.7"}
        client = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=20)
        with closing(client):
            client.request(method, path, bytes(size_bytes) or None, fields)
            answer = client.getresponse()
            return answer.status, answer.read()

    def posted(path: str, *sizes_bytes: int) -> list[int]:
        return [ask("POST", path, size_bytes)[0] for size_bytes in sizes_bytes]

    said = {"path": "/cart", "scheme": "https", "address": "127.0.0.1"}
    assert json.loads(ask("GET", "/cart")[1]) == said
    assert posted("/", 65_536, 65_537) == [200, 413]
    assert posted("/upload/a", 1 << 20, (1 << 20) + 1) == [200, 413]
    assert ask("GET", "/-/healthz")[0] == 404
    assert ask("GET", "/news/events")[0] == 200  # the application, which has no handlers here
    context.set_alpn_protocols(["h2", "http/1.1"])
    with (
        socket.create_connection(("127.0.0.1", port), timeout=20) as plain,
        context.wrap_socket(plain, server_hostname=DOMAIN) as client,
    ):
        assert client.selected_alpn_protocol() == "h2"


def test_locations_of_nginx_are_those_of_the_server(deploy: Deploy, folder: Path) -> None:
    (folder / "static").mkdir()
    own = ("--static", "app", "--static", "/files=static")
    text = deploy("nginx", *OPTIONS, *own, "--mount", "/eu", "--ops-prefix", "/ops")
    locations = re.findall(r"location (.*) \{\n(?:\s+client_max_body_size (\w+);)?", text)
    assert dict(locations[2:]) == {
        "/eu/": "",
        '~ "^/eu/api/[^/]*/photo(?:/|$)"': "131072",
        "/eu/upload": "1m",
        "^~ /eu/news/": "",
        "^~ /eu/static/": "",
        "^~ /eu/files/": "",
        "~ /\\.": "",
        "^~ /ops/": "",
    }
    assert "client_max_body_size 65536;" in text
    assert text.count(f"alias {folder}/static/;") == 2


# Containers.


def test_compose_file_is_one_by_the_specifications_schema(deploy: Deploy, folder: Path) -> None:
    file = folder / "compose.yaml"
    deploy("compose", *OPTIONS, "--to", str(folder))
    command = (sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec")
    done = subprocess.run([*command, file], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    docker = shutil.which("docker")
    if (
        docker
        and subprocess.run([docker, "compose", "version"], capture_output=True).returncode == 0
    ):
        config = (docker, "compose", "-f", file, "config", "--quiet")
        subprocess.run(config, check=True, env={"POSTGRES_PASSWORD": "secret"}, timeout=60)


def test_container_of_the_compose_file_cannot_write_and_is_no_root(deploy: Deploy) -> None:
    file = yaml.safe_load(deploy("compose", *OPTIONS, "--graceful-timeout", "70"))
    app = file["services"]["app"]
    assert app["read_only"] is True
    assert app["cap_drop"] == ["ALL"]
    assert re.search(r"^USER \d+$", app["build"]["dockerfile_inline"], re.MULTILINE)
    assert app["command"][:2] == ["flasknado", "shop:app"]
    assert int(app["stop_grace_period"].rstrip("s")) > 75
    nginx = file["configs"]["nginx"]["content"]
    assert "server unix:/sockets/server.sock;" in nginx
    assert "$" not in nginx.replace("$$", ""), "compose would look for variables"
    assert {"sockets", "database"} == set(file["volumes"])


def test_command_of_the_compose_file_serves_and_its_health_check_passes(
    deploy: Deploy, folder: Path
) -> None:
    app = yaml.safe_load(deploy("compose", *LIMITS))["services"]["app"]
    command = [word.replace("/sockets", str(folder)) for word in app["command"]]
    command[command.index("127.0.0.1:9100")] = f"unix:{folder}/ops.sock"
    with server_process(("-m", *command), cwd=folder):
        connection = http.client.HTTPConnection("ops")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(f"{folder}/ops.sock")
        [url] = re.findall(r"http://127.0.0.1:9100(\S+)'", app["healthcheck"]["test"][-1])
        connection.request("GET", url)
        assert json.load(connection.getresponse()) == {"status": "ok"}
        connection.close()


def test_manifests_are_valid_for_kubernetes(deploy: Deploy, folder: Path) -> None:
    deploy("kubernetes", *OPTIONS, "--image", "registry.example.com/shop:7", "--to", str(folder))
    done = subprocess.run(
        [Path(sys.executable).parent / "kubernetes-validate", "--strict", folder / "shop.yaml"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "deployment/shop" in done.stdout + done.stderr
    assert "service/shop" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("options", "stops_in_s", "hooked"),
    [
        (("--graceful-timeout", "50"), 50 + 5 + 5, True),
        (("--graceful-timeout", "50", "--lame-duck", "8"), 50 + 8 + 5, False),
    ],
)
def test_pod_has_the_time_to_stop(
    options: tuple[str, ...], stops_in_s: int, hooked: bool, deploy: Deploy
) -> None:
    deployment, service = yaml.safe_load_all(deploy("kubernetes", *options))
    pod = deployment["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert pod["terminationGracePeriodSeconds"] > stops_in_s
    assert ("lifecycle" in container) is hooked
    ports = {port["name"] for port in container["ports"]}
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["port"] in ports
    assert service["spec"]["ports"][0]["targetPort"] in ports
    assert (
        service["spec"]["selector"].items()
        <= deployment["spec"]["template"]["metadata"]["labels"].items()
    )


# A Procfile.


def test_command_of_the_procfile_listens_where_the_platform_says(
    deploy: Deploy, folder: Path
) -> None:
    [line] = [
        line
        for line in parts(deploy("procfile", *LIMITS))["Procfile"].splitlines()
        if line[0] != "#"
    ]
    name, _, command = line.partition(": ")
    assert name == "web"
    environment = {"PORT": "0", "WEB_CONCURRENCY": "2"}
    with server_process(("-m", *shlex.split(command)), cwd=folder, env=environment) as server:
        fields = {"X-Forwarded-Proto": "https"}
        said = requests.get(server.url, headers=fields, timeout=20).json()
        assert said["scheme"] == "https"
        server.wait_for_output(r"(?s)Serving as worker.*Serving as worker")


# What cannot be deployed.


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--domain", "not a name"), "--domain must be the name of a host"),
        (("--image", "x: y"), "--image must be the name of an image"),
        (("--name", "a\nExecStartPre=b"), "has a character that no file can be given"),
        (("--threads", "many"), "--threads must be a whole number"),
        (("--handlers", "nobody:routes"), "there is no module 'nobody'"),
        (("--to", "nowhere"), "cannot be written"),
    ],
)
def test_bad_option_is_a_one_line_error(
    options: tuple[str, ...], said: str, deploy: Deploy
) -> None:
    error = deploy("nginx", *options, status=1)
    assert error.startswith("flasknado: ")
    assert error.count("\n") == 1
    assert said in error


def test_file_that_exists_is_left_alone(deploy: Deploy, folder: Path) -> None:
    (folder / "Procfile").write_text("web: mine\n")
    assert "Procfile' cannot be written (File exists)" in deploy(
        "procfile", "--to", str(folder), status=1
    )
    assert (folder / "Procfile").read_text() == "web: mine\n"


def test_setting_of_the_shell_is_refused(deploy: Deploy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLASKNADO_THREADS", "3")
    assert "FLASKNADO_THREADS is set here" in deploy("procfile", status=1)
