"""What the compiled wheel is made of; under `make test-compiled`, that the tests run on it."""

from __future__ import annotations

import importlib
import os
import tomllib
from pathlib import Path

import pytest

PROJECT_ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text(encoding="utf-8"))
WHEEL = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
SOURCES: list[str] = WHEEL["hooks"]["mypyc"]["include"]


@pytest.mark.parametrize("source", SOURCES)
def test_module_that_is_to_be_compiled_is_there(source: str) -> None:
    assert (PROJECT_ROOT / source).is_file()


@pytest.mark.skipif("FLASKNADO_COMPILED" not in os.environ, reason="run make test-compiled")
@pytest.mark.parametrize("source", SOURCES)
def test_module_under_test_is_the_compiled_one(source: str) -> None:
    module = importlib.import_module(source.removesuffix(".py").replace("/", "."))

    assert str(module.__file__).endswith(".so")
