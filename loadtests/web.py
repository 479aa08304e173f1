"""`python -m loadtests.web`: locust's pages in a browser, with all scenarios to choose from.

Without --target the bundled application runs on our server for as long as locust does. What follows
`--` is given to locust: `-- --headless --users 50 --run-time 60s PageReader`.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from loadtests import generator, measuring
from loadtests.interrupts import Interrupted, held, interruptible
from loadtests.local import NotLocal, local_url
from loadtests.measuring import CannotMeasure
from loadtests.processes import Cores, ServerFailed, end_group, pinned
from loadtests.servers import OURS, ROOT, SERVERS
from loadtests.terminal import INTERRUPTED_STATUS, say

SHAPES = tuple(sorted(path.stem for path in (ROOT / "loadtests" / "shapes").glob("[a-z]*.py")))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run locust until it ends; returns its exit status, or 130 if it was interrupted."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.web", description=__doc__)
    parser.add_argument("--target", metavar="URL", help="what runs there instead")
    parser.add_argument("--server", default=OURS, choices=SERVERS, metavar="NAME")
    parser.add_argument("--shape", choices=SHAPES, help="how the number of users changes")
    parser.add_argument("locust", nargs="*", metavar="LOCUST OPTION")
    options = parser.parse_args(arguments)
    if not generator.LOCUST.exists():
        say(f"locust is not installed: run {generator.INSTALL_LOCUST}")
        return 1
    try:
        with interruptible(), ExitStack() as stack:
            cores = Cores.of_this_machine()
            url = local_url(options.target) if options.target else _serve(options, cores, stack)
            return _locust(options, url, cores, stack)
    except Interrupted:
        say("Interrupted: locust and the server are ended.")
        return INTERRUPTED_STATUS
    except (CannotMeasure, NotLocal, ServerFailed) as error:
        say(str(error))
        return 1


def _serve(options: argparse.Namespace, cores: Cores, stack: ExitStack) -> str:
    server = SERVERS[options.server]
    if server.installed_version() is None:
        raise CannotMeasure(f"{server.name} is not installed: run {server.install}")
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="flasknado-locust-")))
    folder.chmod(0o711)
    prepared = measuring.prepare_database(folder)
    process = stack.enter_context(measuring.served(server, prepared, folder, cores))
    say(f"{server.name} serves the bundled application at {process.url}")
    return process.url


def _locust(options: argparse.Namespace, url: str, cores: Cores, stack: ExitStack) -> int:
    files = [str(generator.LOCUSTFILE)]
    if options.shape:
        files.append(str(ROOT / "loadtests" / "shapes" / f"{options.shape}.py"))
    command = [str(generator.LOCUST), "--locustfile", ",".join(files), "--host", url]
    if "--headless" not in options.locust:
        command += ["--class-picker", "--web-host", "127.0.0.1"]
    with held():
        process = subprocess.Popen(
            pinned(cores.generator, [*command, *options.locust], *cores.spare),
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            process_group=0,
        )
        stack.callback(end_group, process)
    return process.wait()


if __name__ == "__main__":
    sys.exit(main())
