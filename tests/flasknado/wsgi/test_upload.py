"""Large uploads through `request.files`, in little memory."""

from __future__ import annotations

import hashlib
import socket
from pathlib import Path

from tests.support.process import server_process

UPLOAD_BYTES = 256 * 1024 * 1024
EXTRA_MEMORY_BYTES = 60 * 1000 * 1000
BLOCK = bytes(range(256)) * 4096

APP = """
import hashlib, flask
app = flask.Flask("upload")

@app.get("/")
def index():
    with open("/proc/self/status") as status:
        return next(line.split()[1] for line in status if line.startswith("VmHWM"))

@app.post("/upload")
def upload():
    digest = hashlib.sha256()
    while block := flask.request.files["file"].stream.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()
"""


def exchange(port: int, head: bytes, blocks: int = 0, tail: bytes = b"") -> str:
    """Send a request, its body block by block, and return the body of the answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=120) as client:
        client.sendall(head)
        for _ in range(blocks):
            client.sendall(BLOCK)
        client.sendall(tail)
        with client.makefile("rb") as answer:
            return answer.read().partition(b"\r\n\r\n")[2].decode()


def peak_memory_bytes(port: int) -> int:
    return int(exchange(port, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")) * 1024


def test_upload_of_256_mib_through_request_files_takes_little_memory(tmp_path: Path) -> None:
    (tmp_path / "upload.py").write_text(APP)
    before = b'--b\r\nContent-Disposition: form-data; name="file"; filename="big"\r\n\r\n'
    after = b"\r\n--b--\r\n"
    length = len(before) + UPLOAD_BYTES + len(after)
    head = (
        b"POST /upload HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
        b"Content-Type: multipart/form-data; boundary=b\r\n"
        b"Content-Length: %d\r\n\r\n" % length
    )
    blocks = UPLOAD_BYTES // len(BLOCK)
    command = (
        "-m",
        "flasknado.process.cli",
        "-b",
        "127.0.0.1:0",
        "--max-body",
        str(length),
        "upload:app",
    )
    with server_process(command, cwd=tmp_path) as server:
        at_rest = peak_memory_bytes(server.port)
        answer = exchange(server.port, head + before, blocks, after)
        at_peak = peak_memory_bytes(server.port)
    assert answer == hashlib.sha256(BLOCK * blocks).hexdigest()
    assert at_peak - at_rest < EXTRA_MEMORY_BYTES
