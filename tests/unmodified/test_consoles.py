"""Consoles, of PostgreSQL and of locust: one walk under this server and under gunicorn."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest
import requests

from tests.support.postgres import USER, PostgresServer, postgres_server
from tests.unmodified.conftest import TheSame, takes_long
from tests.unmodified.walking import TIMEOUT_S, Walker

pytestmark = [pytest.mark.timeout(900), takes_long]  # the first of them installs packages

SQL = "SELECT n, repeat('x', 50) AS text FROM generate_series(1, 3000) AS n"


def ask_until(is_so: str, ann: Walker, path: str) -> requests.Response:
    """Ask, uncompared, until the answer is as a regular expression says."""
    ends = time.monotonic() + TIMEOUT_S
    while True:
        answer = ann.get(ann.url + path, timeout=TIMEOUT_S)
        if re.search(is_so, answer.text):
            return answer
        assert time.monotonic() < ends, answer.text[:2000]
        time.sleep(0.1)


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        yield server


def log_into_pgadmin(ann: Walker) -> None:
    assert ann.step("GET", "/browser/").status_code == 302
    page = ann.step("GET", "/login").text
    token = re.findall(r'"csrfToken": "([^"]+)"', page)[0]
    login = {"csrf_token": token, "email": "ann@example.org", "internal_button": "Login"}
    for password, leads_to in (("wrong", "/login"), ("a long secret", "/browser/")):
        sent = ann.step("POST", "/authenticate/login", data={**login, "password": password})
        assert sent.headers["Location"] == leads_to
    assert ann.step("GET", "/browser/").ok
    assert "ann@example.org" in ann.step("GET", "/user_management/current_user.js").text
    script = ann.step("GET", "/browser/js/utils.js").text
    ann.headers["X-pgA-CSRFToken"] = re.findall(r"\['csrf_token'\] = '([^']+)'", script)[0]


def connect_to_server(ann: Walker, host: str) -> int:
    server = {"name": "here", "gid": 1, "host": host, "port": 5432, "username": USER}
    assert ann.step("POST", "/browser/server/obj/1/", json=server).status_code == 410
    assert ann.step("POST", "/browser/server/obj/1/", data="{not json").status_code == 500
    assert ann.step("POST", "/browser/server/obj/1/", json={**server, "db": "postgres"}).ok
    assert ann.step("GET", "/browser/server/obj/1/1").json()["name"] == "here"
    assert (
        "connected" in ann.step("POST", "/browser/server/connect/1/1", data={"password": ""}).text
    )
    [database] = ann.step("GET", "/browser/database/nodes/1/1/").json()["data"]
    assert "public" in ann.step("GET", f"/browser/schema/nodes/1/1/{database['_id']}/").text
    return int(database["_id"])


def query_database(ann: Walker, database: int) -> None:
    tool = "/sqleditor/{}/4711".format

    def start(sql: str) -> None:
        assert ann.step("POST", tool("query_tool/start"), json={"sql": sql}).ok

    begin = f"/sqleditor/initialize/sqleditor/4711/1/1/{database}"
    opened = ann.post(ann.url + begin, json={"dbname": "postgres"}, timeout=TIMEOUT_S)
    assert opened.ok, opened.text  # it tells a random number
    start(SQL)
    found = ask_until('"status":"Success"', ann, tool("poll")).json()["data"]
    assert found["rows_affected"] == 3000
    assert [row[0] for row in found["result"]] == list(range(1, 1001))
    assert ann.step("GET", tool("fetch_window") + "/1000/1500").ok
    table = ann.step("POST", tool("query_tool/download"), json={"query": SQL, "filename": "x.csv"})
    assert table.text.count("\n") == 3001
    start("SELEC")
    assert "syntax error" in ask_until("errormsg.*ERROR", ann, tool("poll")).text
    start("SELECT pg_sleep(600)")
    assert '"Busy"' in ann.step("GET", tool("poll")).text
    assert ann.step("POST", tool("cancel")).ok
    ask_until("due to user request", ann, tool("poll"))
    assert ann.step("DELETE", tool("close")).ok


def test_pgadmin_answers_as_it_does_under_gunicorn(
    postgres: PostgresServer, the_same: TheSame
) -> None:
    def use(ann: Walker) -> None:
        assert ann.step("GET", "/misc/ping").text == "PING"
        log_into_pgadmin(ann)
        query_database(ann, connect_to_server(ann, str(postgres.socket_path.parent)))
        assert len(ann.step("GET", "/static/js/generated/style.css").content) > 100_000
        assert ann.step("GET", "/socket.io/?EIO=4&transport=polling").text.startswith("0{")
        ann.step("GET", "/no-such-page")
        assert ann.step("GET", "/logout").status_code == 302
        assert ann.step("GET", "/browser/server/obj/1/1").status_code == 401

    the_same("pgadmin", "pgadmin4.pgAdmin4:app", use)


def test_page_of_locust_runs_a_load_and_answers_as_it_does_under_gunicorn(
    the_same: TheSame,
) -> None:
    def use(ann: Walker) -> None:
        assert "root" in ann.step("GET", "/").text
        start = {"user_count": "2", "spawn_rate": "10", "host": "http://example.org"}
        assert not ann.step("POST", "/swarm", data={**start, "user_count": "x"}).json()["success"]
        assert ann.step("POST", "/swarm", data=start).json()["success"]
        ask_until('"num_requests": 6,', ann, "/stats/requests")
        ask_until('"state": "running"', ann, "/stats/requests")
        assert ann.step("GET", "/tasks").json()["per_class"]["Whaler"]["ratio"] == 1
        assert "no wind" in ann.step("GET", "/stats/failures/csv").text
        ann.step("GET", "/exceptions")
        assert ann.step("POST", "/stop").json()["success"]
        ask_until('"state": "stopped"', ann, "/stats/requests")
        ask_until("no wind", ann, "/stats/report?download=1")  # rates are in these
        ask_until("GET,/whales,6,2,", ann, "/stats/requests/csv")
        assert ann.step("POST", "/stats/reset").text == "ok"
        assert "GET,/whales,0,0," in ann.step("GET", "/stats/requests/csv").text
        ann.step("GET", "/exceptions/csv")
        ann.step("GET", "/stats/requests_full_history/csv")
        assert ann.step("GET", "/login").status_code == 302
        assert ann.step("GET", "/stats/reset").status_code == 405
        script = re.findall(r'src="\./(assets/[^"]+\.js)"', ann.step("GET", "/").text)[0]
        assert len(ann.step("GET", f"/{script}").content) > 100_000
        ann.step("GET", "/no-such-page")

    the_same("locust", "locust_site:app", use)
