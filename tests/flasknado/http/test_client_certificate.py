"""Client certificates reach views and `in_flask`, on every layer; those of proxies if named."""

from __future__ import annotations

import base64
import json
import ssl
import subprocess
from pathlib import Path
from typing import Any

import flask
import pytest
import tornado.web

from flasknado import HTTPServer, WSGIContainer, in_flask
from flasknado.http.client_certificate import CERTIFICATE_KEY
from flasknado.server import LAYERS
from tests.support.programs import need
from tests.support.raw import connect, read_to_end, statuses
from tests.support.serving import serving

app = flask.Flask("certificates")


def told() -> dict[str, Any]:
    environ = flask.request.environ
    certificate = environ.get(CERTIFICATE_KEY)
    return {
        **{key: value for key, value in environ.items() if key.startswith("SSL_")},
        "subject": certificate and certificate["subject"],
    }


@app.get("/")
def view() -> Any:
    return flask.jsonify(told())


class Native(tornado.web.RequestHandler):
    async def get(self) -> None:
        self.write(await in_flask(self, told))


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority, and a certificate of ann's and one of the server's that it has signed."""
    folder = tmp_path_factory.mktemp("keys")
    openssl = need("openssl")

    def run(*arguments: str) -> None:
        subprocess.run([openssl, *arguments], cwd=folder, check=True, capture_output=True)

    new = ("req", "-utf8", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    run(
        *new,
        *("-x509", "-days", "2", "-subj", "/CN=the authority", "-keyout", "ca.key", "-out", "ca"),
        *("-addext", "keyUsage=critical,keyCertSign,cRLSign"),
    )
    for name, subject in (("ann", "/O=Shop, Inc/CN=änn"), ("server", "/CN=localhost")):
        run(*new, "-subj", subject, "-keyout", f"{name}.key", "-out", f"{name}.csr")
        signed = ("x509", "-req", "-days", "2", "-in", f"{name}.csr", "-out", name)
        run(*signed, "-CA", "ca", "-CAkey", "ca.key", "-set_serial", "0x1234")
    return folder


def ask(
    keys: Path, layer: str, path: str, certificate: str | None, asked_for: ssl.VerifyMode
) -> dict[str, Any]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(keys / "ca"))
    context.load_cert_chain(keys / "server", keys / "server.key")
    context.verify_mode = asked_for

    def make() -> HTTPServer:
        handlers = [(r"/native", Native)]
        return HTTPServer(WSGIContainer(app), handlers, http=layer, ssl_options=context)

    client = ssl.create_default_context(cafile=str(keys / "ca"))
    client.check_hostname = False
    if certificate is not None:
        client.load_cert_chain(keys / certificate, keys / f"{certificate}.key")
    with serving(make) as server, connect(server.address) as sock, client.wrap_socket(sock) as tls:
        forged = "Ssl-Client-Verify: SUCCESS\r\nSSL_CLIENT_S_DN: CN=root\r\nClient-Cert: :AAAA:"
        tls.sendall(
            f"GET {path} HTTP/1.1\r\nHost: a\r\n{forged}\r\nConnection: close\r\n\r\n".encode()
        )
        answer: dict[str, Any] = json.loads(read_to_end(tls).partition(b"\r\n\r\n")[2])
    return answer


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("path", ["/", "/native"])
def test_client_certificate_is_in_the_environ(keys: Path, layer: str, path: str) -> None:
    answer = ask(keys, layer, path, "ann", ssl.CERT_REQUIRED)
    assert answer.pop("SSL_CLIENT_V_START").endswith("GMT")
    assert answer.pop("SSL_CLIENT_V_END").endswith("GMT")
    assert answer.pop("SSL_PROTOCOL").startswith("TLSv1.")
    assert answer.pop("SSL_CIPHER")
    pem = answer.pop("SSL_CLIENT_CERT")
    assert ssl.PEM_cert_to_DER_cert(pem) == ssl.PEM_cert_to_DER_cert((keys / "ann").read_text())
    assert answer == {
        "SSL_CLIENT_VERIFY": "SUCCESS",
        "SSL_CLIENT_S_DN": "CN=änn,O=Shop\\, Inc".encode().decode("latin-1"),
        "SSL_CLIENT_S_DN_CN": "änn".encode().decode("latin-1"),
        "SSL_CLIENT_I_DN": "CN=the authority",
        "SSL_CLIENT_M_SERIAL": "1234",
        "subject": [[["organizationName", "Shop, Inc"]], [["commonName", "änn"]]],
    }


@pytest.mark.parametrize("layer", LAYERS)
def test_client_without_a_certificate_where_one_is_asked_for_has_none(
    keys: Path, layer: str
) -> None:
    answer = ask(keys, layer, "/", None, ssl.CERT_OPTIONAL)
    assert answer["SSL_CLIENT_VERIFY"] == "NONE"
    assert "SSL_CLIENT_CERT" not in answer


@pytest.mark.parametrize("layer", LAYERS)
def test_connection_that_asks_for_no_certificate_has_no_variables(keys: Path, layer: str) -> None:
    assert ask(keys, layer, "/", None, ssl.CERT_NONE) == {"subject": None}


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("path", ["/", "/native"])
@pytest.mark.parametrize(("trusted", "verified"), [(["client-cert"], True), (["proto"], False)])
def test_client_certificate_of_a_proxy_is_believed_if_it_is_named(
    keys: Path, layer: str, path: str, trusted: list[str], verified: bool
) -> None:
    der = ssl.PEM_cert_to_DER_cert((keys / "ann").read_text())

    def make() -> HTTPServer:
        return HTTPServer(
            WSGIContainer(app),
            [(r"/native", Native)],
            http=layer,
            trusted_proxies=["127.0.0.1"],
            trusted_fields=trusted,
        )

    field = f"Client-Cert: :{base64.b64encode(der).decode()}:"
    with serving(make) as server, connect(server.address) as sock:
        head = f"GET {path} HTTP/1.1\r\nHost: a\r\n{field}\r\nConnection: close\r\n\r\n"
        sock.sendall(head.encode())
        said = read_to_end(sock)
    assert statuses(said) == [200]
    answer = json.loads(said.partition(b"\r\n\r\n")[2])
    if verified:
        assert answer["SSL_CLIENT_VERIFY"] == "SUCCESS"
        assert ssl.PEM_cert_to_DER_cert(answer["SSL_CLIENT_CERT"]) == der
    else:
        assert answer == {"subject": None}
