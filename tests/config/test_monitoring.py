"""The dashboard and the alerts: their queries are PromQL, about numbers that a server has."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator

import promql_parser
import pytest
import requests
import yaml

from tests.support.poll import poll
from tests.support.process import PROJECT_ROOT, server_process
from tests.support.programs import need

FOLDER = PROJECT_ROOT / "config" / "monitoring"
DASHBOARD = json.loads((FOLDER / "dashboard.json").read_text())
ALERTS = (FOLDER / "alerts.yml").read_text()
OF_PROMETHEUS = {"instance", "job", "le"}
"""Labels that a scrape adds, and that of histograms."""

VARIABLES = {"$__rate_interval": "5m", "$instance": ".*"}


def panel_queries() -> Iterator[str]:
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            query = target["expr"]
            for name, value in VARIABLES.items():
                query = query.replace(name, value)
            yield query


def alert_queries() -> Iterator[str]:
    for group in yaml.safe_load(ALERTS)["groups"]:
        for rule in group["rules"]:
            yield rule["expr"]


QUERIES = [*panel_queries(), *alert_queries()]


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """The labels of each metric of a server with live events that has been used."""
    folder = tmp_path_factory.mktemp("site")
    shutil.copy(PROJECT_ROOT / "examples" / "live_updates.py", folder)
    command = ("-m", "flasknado", "live_updates:app", "--bind", "127.0.0.1:0")
    options = ("--handlers", "flasknado.live:routes", "--access-logfile", str(folder / "log"))
    with server_process((*command, *options), cwd=folder) as server:

        def ask() -> str:
            requests.get(server.url, timeout=20)
            live = f"{server.url}/live/poll?channel=notes&timeout_s=0"
            requests.get(live, timeout=20)
            return requests.get(f"{server.url}/-/metrics", timeout=20).text

        text = poll(
            ask, lambda text: "flasknado_live_subscribers" in text and 'half="native"' in text
        )
    found: dict[str, set[str]] = {
        name: set() for name in re.findall(r"^# TYPE (\S+)", text, re.MULTILINE)
    }
    for name, inside in re.findall(r"^(\w+)\{(.*?)\} ", text, re.MULTILINE):
        family = name if name in found else re.sub(r"_(bucket|sum|count|created)$", "", name)
        found[family] |= set(re.findall(r'(\w+)="', inside))
    return found


def test_there_are_queries() -> None:
    assert len(QUERIES) > 25
    assert "VARIABLE" not in str(QUERIES)
    assert not [query for query in QUERIES if "$" in query]


@pytest.mark.parametrize("query", QUERIES)
def test_query_is_about_numbers_of_the_server(query: str, labels: dict[str, set[str]]) -> None:
    promql_parser.parse(query)
    names = set(re.findall(r"\bflasknado_\w+", query))
    families = {
        name if name in labels else re.sub(r"_(bucket|sum|count)$", "", name) for name in names
    }
    assert families <= labels.keys()
    known = set().union(OF_PROMETHEUS, *(labels[family] for family in families))
    used = set(re.findall(r'(\w+)\s*(?:=~|!~|!=|=)\s*"', query))
    for group in re.findall(r"\bby \(([^)]*)\)", query):
        used |= set(group.replace(" ", "").split(","))
    # Those of a metric without samples yet are in the table of docs/operations.md.
    page = (PROJECT_ROOT / "docs" / "operations.md").read_text()
    for family in families:
        row = next(line for line in page.splitlines() if re.search(rf"^\| .*`{family}`", line))
        known |= set(row.split("|")[2].replace(" ", "").split(","))
    assert used <= known


def test_page_has_the_alerts_as_they_are() -> None:
    page = (PROJECT_ROOT / "docs" / "operations.md").read_text()
    assert ALERTS.partition("\n")[2] in page


def test_panels_have_places_of_their_own() -> None:
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in DASHBOARD["panels"]]
    assert len(set(places)) == len(places)
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(places)


def test_rules_are_checked_by_prometheus_itself() -> None:
    done = subprocess.run(
        [need("promtool"), "check", "rules", FOLDER / "alerts.yml"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
