"""Whether an installed wheel is compiled, and serves: what cibuildwheel runs for each wheel.

python compiled_smoke.py [--pure]
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from flasknado.http import parser

APP = """
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"served"]
"""
DEADLINE_S = 30.0


def main() -> None:
    """End with an error unless the wheel is of the form that it should be, and serves."""
    compiled = not str(parser.__file__).endswith(".py")
    assert compiled is ("--pure" not in sys.argv), parser.__file__
    with tempfile.TemporaryDirectory() as folder:
        port_file = Path(folder) / "port"
        (Path(folder) / "smoke.py").write_text(APP)
        (Path(folder) / "conf.py").write_text(
            f"def post_worker_init(worker):\n"
            f"    with open({str(port_file)!r}, 'w') as file:\n"
            f"        file.write(str(worker.sockets[0].getsockname()[1]))\n"
        )
        command = [sys.executable, "-m", "flasknado", "smoke:app", "--bind", "127.0.0.1:0"]
        with subprocess.Popen([*command, "--config", "conf.py"], cwd=folder) as server:
            try:
                ends = time.monotonic() + DEADLINE_S
                while not (port_file.exists() and port_file.read_text()):
                    assert time.monotonic() < ends, "the server did not start"
                    time.sleep(0.05)
                with urllib.request.urlopen(
                    f"http://127.0.0.1:{port_file.read_text()}", timeout=DEADLINE_S
                ) as answer:
                    assert answer.read() == b"served"
            finally:
                server.terminate()
    assert server.returncode == 0, server.returncode
    print("compiled" if compiled else "pure", "and served")  # noqa: T201


if __name__ == "__main__":
    main()
