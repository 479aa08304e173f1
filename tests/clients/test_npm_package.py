"""`clients/js` as `npm pack` makes it: what is in it, its types, and its hooks at a real server."""

from __future__ import annotations

import json
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

import flasknado
from flasknado import HTTPServer, WSGIContainer
from flasknado.live import routes
from tests.flasknado.live.helpers import make_app
from tests.support.process import PROJECT_ROOT
from tests.support.programs import missing, need
from tests.support.serving import serving

PACKAGE = PROJECT_ROOT / "clients" / "js"
MODULES = PROJECT_ROOT / "tests" / "javascript" / "node_modules"
HERE = Path(__file__).parent
PEERS = ("react", "react-test-renderer", "typescript", "vue")
TOKEN = "a token of the tests, long enough"
TIMEOUT_S = 100


def run(*command: str, cwd: Path, **env: str) -> str:
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def application(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of an application that has the packed package installed."""
    for name in PEERS:
        if not (MODULES / name).is_dir():
            missing(f"{name} is missing: make tests/javascript/node_modules/.installed")
    folder = tmp_path_factory.mktemp("application")
    [packed] = json.loads(
        run(need("npm"), "pack", "--json", "--pack-destination", str(folder), cwd=PACKAGE)
    )
    modules = folder / "node_modules"
    with tarfile.open(folder / packed["filename"]) as archive:
        archive.extractall(modules, filter="data")
    (modules / "package").rename(modules / "flasknado-live")
    for name in (*PEERS, "@vue"):
        (modules / name).symlink_to(MODULES / name)
    for source in ("hooks.test.js", "types.ts"):
        (folder / source).write_text((HERE / source).read_text())
    (folder / "package.json").write_text('{"type": "module"}')
    return folder


def test_package_has_the_module_of_the_server_and_no_more_than_it_needs(application: Path) -> None:
    package = application / "node_modules" / "flasknado-live"
    static = PROJECT_ROOT / "flasknado" / "live" / "static"
    for name in ("live.js", "live.d.ts"):
        assert (package / name).read_bytes() == (static / name).read_bytes()
    code = {"index", "live", "react", "vue"}
    names = {f"{name}.{suffix}" for name in code for suffix in ("js", "d.ts")}
    assert {path.name for path in package.iterdir()} == names | {
        "LICENSE",
        "README.md",
        "hooks.js",
        "package.json",
    }
    described = json.loads((package / "package.json").read_text())
    assert described["version"] == flasknado.__version__
    assert described["private"] is True


def test_hooks_follow_a_server(application: Path, tmp_path: Path) -> None:
    live_app = make_app(tmp_path, LIVE_PUBLISH_TOKEN=TOKEN)
    with serving(lambda: HTTPServer(WSGIContainer(live_app.app), handlers=routes())) as served:
        env = {"LIVE_URL": f"{served.url}/", "LIVE_PUBLISH_TOKEN": TOKEN}
        printed = run(need("node"), "--test", "hooks.test.js", cwd=application, **env)
    live_app.engine().dispose()
    assert "pass 3" in printed
    assert "fail 0" in printed


def test_types_let_an_application_write_what_works(application: Path) -> None:
    options = "--noEmit --strict --target es2023 --module esnext --moduleResolution bundler"
    tsc = MODULES / "typescript" / "bin" / "tsc"
    run(need("node"), str(tsc), *options.split(), "types.ts", cwd=application)
