"""The API does what its description says: every operation, with what fits and what does not."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import schemathesis
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks

from tests.webapp.people import ApiClient, make_app
from webapp import accounts
from webapp.database import migrate_if_needed
from webapp.extensions import db
from webapp.models import ADMIN, USER

Obtain = Callable[..., ApiClient]

EXAMPLES = 3
"""For each operation; all of them together take some seconds."""
BOUNDS = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
LEFT_OUT = {
    # Werkzeug says what is wrong before any view: 404 for a path, 405 for a method.
    "unsupported_method",
    # Roles and the wording of names say more than a schema can.
    "positive_data_acceptance",
    # Fields and parameters that the API does not know are ignored.
    "negative_data_rejection",
}


def test_description_is_served_and_names_every_view_of_the_api(
    app: Flask, client: FlaskClient
) -> None:
    description = client.get("/api/openapi.json").json

    described = {
        (method.upper(), path)
        for path, methods in description["paths"].items()
        for method in methods
    }
    views = {
        (method, re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule))
        for rule in app.url_map.iter_rules()
        if rule.rule.startswith("/api/v1/")
        for method in rule.methods - {"HEAD", "OPTIONS"}
    }
    assert description["openapi"].startswith("3.1")
    assert described == views
    names = [
        each["operationId"]
        for methods in description["paths"].values()
        for each in methods.values()
    ]
    assert len(set(names)) == len(names)


def test_page_for_people_names_every_path_and_loads_nothing_from_elsewhere(
    client: FlaskClient,
) -> None:
    page = client.get("/api/docs").text

    for path, methods in client.get("/api/openapi.json").json["paths"].items():
        assert f"<code>{path}</code>" in page
        assert all(each["summary"] for each in methods.values())
    for address in re.findall(r'(?:src|<link[^>]* href)="([^"]+)"', page):
        assert address.startswith("/")
    ids, links = re.findall(r' id="([^"]+)"', page), re.findall(r'href="#([^"]+)"', page)
    assert len(set(ids)) == len(ids)
    assert set(links) <= set(ids)


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    """Return an application with an administrator who has something of everything."""
    path: Path = tmp_path_factory.mktemp("openapi") / "test.db"
    app = make_app(path, api_write_limit="off")
    app.config |= {"LOGIN_LIMIT_PER_ADDRESS": "", "REGISTER_LIMIT_PER_ADDRESS": ""}
    migrate_if_needed(app)
    with app.app_context():
        for name in ("boss", "ada"):
            accounts.register(name, f"{name}-password", ADMIN if name == "boss" else USER)
    boss, ada = ApiClient(app, "boss", 1), ApiClient(app, "ada", 2)
    boss.post()
    for person in (boss, ada):
        person.request("POST", "/posts/1/comments", json={"body": "C"})
    boss.request("POST", "/me/tokens", json={"name": "tests"})
    yield app
    with app.app_context():
        db.engine.dispose()


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_every_operation_answers_as_described(described: Flask, mode: GenerationMode) -> None:
    load_all_checks()
    checks = [check for check in CHECKS.get_all() if check.__name__ not in LEFT_OUT]
    schema = schemathesis.openapi.from_wsgi("/api/openapi.json", described)
    answered: Counter[int] = Counter()
    for result in schema.get_all_operations():
        operation = result.ok()
        # Some operations end the session or token that is used.
        token = ApiClient(described, "boss", 1).access_token

        def hold(case: schemathesis.Case, token: str) -> None:
            headers = {"Authorization": f"Bearer {token}"}
            response = case.call_and_validate(headers=headers, checks=checks)
            answered[response.status_code // 100] += 1

        cases = operation.as_strategy(generation_mode=mode)
        tested = BOUNDS(given(case=cases, token=st.just(token))(hold))
        with suppress(Unsatisfiable):  # there is nothing that could be wrong with it
            tested()
    assert answered.total() >= 60
    assert answered[2 if mode is GenerationMode.POSITIVE else 4] >= 25
