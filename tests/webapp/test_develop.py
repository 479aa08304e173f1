"""`python server.py develop`: development mode where the settings are those of development."""

from __future__ import annotations

from typing import Any

import pytest

import server
from config import Settings


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return what the server is asked to serve with."""
    values: dict[str, Any] = {}
    monkeypatch.setattr("flasknado.serve", lambda build, **given: values.update(given))
    return values


def test_settings_of_one_machine_are_developed(served: dict[str, Any]) -> None:
    server.develop(Settings(_env_file=None, host="localhost", port=0))
    assert served["debug"] is True
    assert served["bind"] == "localhost:0"


@pytest.mark.parametrize(
    ("setting", "because"),
    [
        ({"host": "0.0.0.0"}, "HOST=0.0.0.0"),
        ({"workers": 2}, "WORKERS=2"),
        (
            {"app_env": "production", "secret_key": "2f-Kq8xw7ZPn0LmB4rTcVd6s" * 2},
            "APP_ENV=production",
        ),
    ],
)
def test_other_settings_are_served_as_ever_and_why_is_said(
    served: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
    setting: dict[str, Any],
    because: str,
) -> None:
    settings = Settings(_env_file=None, **setting)
    server.develop(settings)
    assert served["debug"] is False
    assert capsys.readouterr().out == f"Without development mode, because of {because}.\n"


def test_command_that_serves_is_not_in_development_mode(served: dict[str, Any]) -> None:
    server.serve(Settings(_env_file=None))
    assert served["debug"] is False
