"""Applications of many kinds under `python -m flasknado.process.cli MODULE:APP`, as they are."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
from pathlib import Path

import pytest
import requests

from tests.support.process import ServerProcess
from tests.unmodified.conftest import Host
from tests.unmodified.environments import HOST, Environments

pytestmark = pytest.mark.timeout(300)  # the first of them installs packages

APPLICATIONS = Path(__file__).with_name("applications")
TIMEOUT_S = 30


def get(server: ServerProcess, path: str, **options: object) -> requests.Response:
    return requests.get(server.url + path, timeout=TIMEOUT_S, **options)  # type: ignore[arg-type]


class Visitor(requests.Session):
    """A browser at one site."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url

    def see(self, path: str) -> requests.Response:
        return self.get(self.url + path, timeout=TIMEOUT_S)

    def fill_in(self, path: str, **form: str) -> requests.Response:
        return self.post(self.url + path, data=form, timeout=TIMEOUT_S)


@pytest.mark.parametrize("mount", ["", "/prefix"])
def test_factory_in_the_shape_of_flasks_tutorial_serves_the_whole_of_it(
    mount: str, host: Host, environments: Environments, tmp_path: Path
) -> None:
    shutil.copytree(APPLICATIONS / "flaskr", tmp_path / "flaskr")
    command = (environments.python("flask"), "-m", "flask", "--app", "flaskr", "init-db")
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=60)
    options = ("--workers", "2", *(("--mount", mount) if mount else ()))
    with host("flask", "flaskr:create_app()", *options, cwd=tmp_path) as server:
        ann, bob = Visitor(server.url + mount), Visitor(server.url + mount)
        assert ann.see("/create").url == ann.url + "/auth/login"
        for visitor, name in ((ann, "ann"), (bob, "bob")):
            page = visitor.fill_in("/auth/register", username=name, password="secret")
            assert page.url == visitor.url + "/auth/login"
            assert visitor.fill_in("/auth/login", username=name, password="secret").ok
        again = bob.fill_in("/auth/register", username="ann", password="other")
        assert "User ann is already registered." in again.text
        page = ann.fill_in("/create", title="First & last", body="A snowman: \N{SNOWMAN}")
        assert page.url == ann.url + "/"
        assert "First &amp; last" in bob.see("/").text
        assert "A snowman: \N{SNOWMAN}" in bob.see("/").text
        assert bob.fill_in("/1/delete").status_code == 403
        assert bob.fill_in("/2/delete").status_code == 404
        assert "First" not in ann.fill_in("/1/delete").text
        assert f'href="{mount}/auth/logout"' in ann.see("/").text
        assert f'href="{mount}/auth/login"' in ann.see("/auth/logout").text


def test_application_with_a_module_named_config_has_its_own(host: Host) -> None:
    with host("flask", "site_of_mine:app", cwd=APPLICATIONS / "own_config") as server:
        assert get(server, "/").text == "hello from my own config; hello from my own config"


def test_flask_login_knows_the_user_until_logging_out(host: Host) -> None:
    with host("flask-login", "login_site:app", cwd=APPLICATIONS) as server:
        ann = Visitor(server.url)
        assert ann.see("/protected").url == server.url + "/login?next=%2Fprotected"
        assert ann.fill_in("/login", name="ann", password="wrong").text == "log in, please"
        page = ann.fill_in("/login?next=/protected", name="ann", password="secret", remember="yes")
        assert page.text == "logged in as ann"
        ann.cookies.pop("session")
        assert ann.see("/protected").text == "logged in as ann", "the cookie remembers"
        assert ann.see("/logout").text == "logged out"
        assert ann.see("/protected").text == "log in, please"


def test_isso_takes_shows_edits_and_deletes_comments(host: Host, tmp_path: Path) -> None:
    settings = tmp_path / "isso.cfg"
    settings.write_text(
        f"[general]\ndbpath = {tmp_path}/comments.db\nhost = http://127.0.0.1:9/\n"
        "[guard]\nenabled = false\n"
    )
    env = {"ISSO_SETTINGS": str(settings)}
    with host("isso", "isso.run:application", env=env) as server:
        ann = Visitor(server.url)
        origin = {"Origin": "http://127.0.0.1:9"}
        comment = {"text": "*Good* <script>morning</script>", "author": "Ann", "title": "Thread"}
        made = ann.post(
            server.url + "/new?uri=/thread/", json=comment, headers=origin, timeout=TIMEOUT_S
        )
        assert made.status_code == 201
        assert made.headers["Access-Control-Allow-Origin"] == "http://127.0.0.1:9"
        number = made.json()["id"]
        shown = ann.see("/?uri=/thread/").json()
        assert "<em>Good</em>" in shown["replies"][0]["text"]
        assert "<script>" not in shown["replies"][0]["text"]
        counts = ann.post(server.url + "/count", json=["/thread/", "/none/"], timeout=TIMEOUT_S)
        assert counts.json() == [1, 0]
        edited = ann.put(f"{server.url}/id/{number}", json={"text": "Better"}, timeout=TIMEOUT_S)
        assert "Better" in edited.json()["text"]
        assert ann.see(f"/id/{number}?plain=1").json()["text"] == "Better"
        stranger = requests.delete(f"{server.url}/id/{number}", timeout=TIMEOUT_S)
        assert stranger.status_code == 403
        assert ann.delete(f"{server.url}/id/{number}", timeout=TIMEOUT_S).ok
        assert get(server, "/?uri=/thread/").json()["total_replies"] == 0
        script = get(server, "/js/embed.min.js")
        assert script.headers["Content-Type"].startswith(("text/javascript", "application/java"))
        assert len(script.content) == int(script.headers["Content-Length"]) > 10_000


def test_sqlite_web_shows_queries_exports_and_imports(host: Host, tmp_path: Path) -> None:
    database = tmp_path / "zoo.db"
    with sqlite3.connect(database) as connection:
        connection.execute("CREATE TABLE animals (id INTEGER PRIMARY KEY, name TEXT)")
        rows = ((f"animal {number}",) for number in range(500))
        connection.executemany("INSERT INTO animals (name) VALUES (?)", rows)
    connection.close()
    env = {"DATABASE": str(database)}
    with host("sqlite-web", "sqlite_site:app", cwd=APPLICATIONS, env=env) as server:
        visitor = Visitor(server.url)
        assert "animals" in visitor.see("/").text
        assert "animal 7" in visitor.see("/animals/content/").text
        page = visitor.fill_in("/animals/query/", sql="SELECT name FROM animals WHERE id = 43")
        assert "animal 42" in page.text
        sql = "SELECT name FROM animals ORDER BY id"
        exported = visitor.fill_in("/animals/query/", sql=sql, export_json="1")
        assert [row["name"] for row in exported.json()] == [f"animal {n}" for n in range(500)]
        file = {"file": ("more.json", json.dumps([{"name": "okapi"}]), "application/json")}
        sent = visitor.post(server.url + "/animals/import/", files=file, timeout=TIMEOUT_S)
        assert sent.ok
        found = visitor.fill_in("/animals/query/", sql="SELECT count(*) AS n FROM animals")
        assert "501" in found.text
        assert visitor.see("/static/css/bootstrap.min.css").ok


@pytest.mark.parametrize(
    ("application", "hello", "said"),
    [
        ("django_hello:application", "/hello/Ann%C3%A9/", "hello Ann\xe9, at /hello/Ann%C3%A9/"),
        ("django_hello", "/hello/you/", "hello you, at /hello/you/"),
        ("bottle_hello:app", "/hello/you", "hello you, at /hello/you"),
    ],
)
def test_framework_other_than_flask_is_hosted(
    application: str, hello: str, said: str, host: Host
) -> None:
    with host("frameworks", application, cwd=APPLICATIONS) as server:
        assert get(server, hello).content.decode() == said
        assert get(server, "/stream").text == "one two three"
        files = {"file": ("zeros", bytes(3_000_000))}
        sent = requests.post(server.url + "/upload", files=files, timeout=TIMEOUT_S)
        # Django wants a token against forged requests only where its middleware is on.
        assert sent.json() == {"file": 3_000_000}
        assert get(server, "/not-there").status_code == 404


def test_framework_other_than_flask_knows_its_mount(host: Host) -> None:
    options = ("django_hello:application", "--mount", "/prefix")
    with host("frameworks", *options, cwd=APPLICATIONS) as server:
        assert get(server, "/prefix/hello/you/").text == "hello you, at /prefix/hello/you/"
    with host("frameworks", "bottle_hello:app", "--mount", "/prefix", cwd=APPLICATIONS) as server:
        assert get(server, "/prefix/hello/you").text == "hello you, at /prefix/hello/you"
        assert get(server, "/prefix/fails").status_code == 500


def test_environment_of_an_application_has_nothing_of_this_project_but_the_package(
    environments: Environments, tmp_path: Path
) -> None:
    program = (
        "import importlib.util as u; "
        "print([name for name in ('config', 'webapp', 'tests', 'server') if u.find_spec(name)])"
    )
    done = subprocess.run(
        [environments.python(HOST), "-c", program],
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.strip() == "[]"
