"""`docs/operations.md` says what the server does: settings, metrics, atoms, secrets."""

from __future__ import annotations

import re
from pathlib import Path

import gunicorn
import pytest

from flasknado.ops.logs.access_lines import template
from flasknado.ops.logs.scrub import SECRET_PARAMETERS, Scrubber
from flasknado.ops.metrics.model import COUNTER, PREFIX
from flasknado.ops.metrics.sources import connections, pool, process
from flasknado.process import reference, settings
from flasknado.process.gunicorn_settings import HONOURED
from flasknado.server import HTTPServer
from flasknado.stock.container import WSGIContainer

PAGE = (Path(__file__).parents[3] / "docs" / "operations.md").read_text()


needs_newest_gunicorn = pytest.mark.skipif(
    gunicorn.version_info < (27,), reason="the page has the settings of gunicorn 27"
)


@needs_newest_gunicorn
@pytest.mark.parametrize(
    "table", [reference.own_settings, reference.gunicorn_settings, reference.refused_settings]
)
def test_page_has_the_table_of_settings_as_it_is(table: object) -> None:
    assert callable(table)
    assert table() in PAGE, "run: python -m flasknado.process.reference, and paste what it prints"


@needs_newest_gunicorn
def test_tables_have_every_setting() -> None:
    assert all(f"| `{own.cli[0]}" in reference.own_settings() for own in settings.OWN)
    assert all(f"| `{name}` |" in reference.gunicorn_settings() for name in HONOURED)


def test_page_names_every_metric_of_the_sources() -> None:
    server = HTTPServer(WSGIContainer(lambda environ, start_response: []))
    families = [*connections(server), *pool(server), *process(0.0)]
    names = {PREFIX + f.name + ("_total" if f.kind == COUNTER else "") for f in families}
    assert names <= set(re.findall(r"flasknado_\w+", PAGE))


def test_alerts_use_metrics_that_the_page_names() -> None:
    table, _, alerts = PAGE.partition("## Alerts worth having")
    known = set(re.findall(r"flasknado_\w+", table))
    used = set(re.findall(r"flasknado_\w+", alerts.partition("## What happens")[0]))
    assert {name.removesuffix("_bucket") for name in used} <= known


def test_page_names_every_secret_parameter_and_atom() -> None:
    assert all(f"`{name}`" in PAGE for name in SECRET_PARAMETERS)
    for atom in re.findall(r"^\| (`%\(.*?) \|", PAGE, re.MULTILINE):
        template(atom.replace("`", "").replace(", ", " "), Scrubber())
