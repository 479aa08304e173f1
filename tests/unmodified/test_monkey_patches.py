"""gevent and eventlet: an application that patches Python is refused, and told what to remove."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.process import PROJECT_ROOT
from tests.unmodified.conftest import Host
from tests.unmodified.environments import Environments

pytestmark = pytest.mark.timeout(300)  # the first of them installs packages

CALLS = {
    "gevent": "from gevent import monkey; monkey.patch_all()",
    "eventlet": "import eventlet; eventlet.monkey_patch()",
}
APP = "\nimport flask\napp = flask.Flask('patched')\n"


@pytest.mark.parametrize("package", CALLS)
@pytest.mark.parametrize("where", ["application", "configuration file"])
def test_patched_python_is_refused_in_one_sentence(
    host: Host, tmp_path: Path, package: str, where: str
) -> None:
    call = CALLS[package]
    (tmp_path / "patched.py").write_text((call if where == "application" else "") + APP)
    if where != "application":
        (tmp_path / "gunicorn.conf.py").write_text(call)
    with host("monkey-patches", "patched:app", cwd=tmp_path, ready=False) as server:
        assert server.wait() != 0
        server.wait_for_output(rf"the {where} calls {package}\.monkey.*\(\), but this server")
        if package == "gevent":  # eventlet itself prints one, of what it cannot patch
            assert "Traceback" not in server.output


@pytest.mark.parametrize("package", CALLS)
def test_package_that_patches_nothing_is_welcome(host: Host, tmp_path: Path, package: str) -> None:
    (tmp_path / "unpatched.py").write_text(
        f"import {package}" + APP.replace("patched", "unpatched")
    )
    with host("monkey-patches", "unpatched:app", cwd=tmp_path):
        pass


@pytest.mark.parametrize("package", CALLS)
def test_doctor_names_the_patch(environments: Environments, tmp_path: Path, package: str) -> None:
    (tmp_path / "patched.py").write_text(CALLS[package] + APP)
    done = subprocess.run(
        [environments.python("monkey-patches"), "-m", "flasknado", "doctor", "patched:app"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(PROJECT_ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert f"will not start: the application calls {package}.monkey" in done.stdout
