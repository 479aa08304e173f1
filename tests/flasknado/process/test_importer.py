from __future__ import annotations

import re
from pathlib import Path

import pytest

from flasknado.process.importer import ImportFromStringError, import_from_string

MODULE = """
def app(environ, start_response): ...
class holder:
    inner = "found"
def factory(name, *, size=1):
    return (name, size)
def broken():
    return 1 / 0
async def coroutine():
    return app
number = 3
class Application:
    def __call__(self, environ, start_response): ...
application_object = Application()
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    name = f"imported_by_{request.node.name.partition('[')[0]}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    (tmp_path / f"{name}_fails.py").write_text("import not_a_module_at_all\n")
    (tmp_path / f"{name}_raises.py").write_text("raise RuntimeError('at import')\n")
    (tmp_path / f"{name}_exits.py").write_text("raise SystemExit(3)\n")
    monkeypatch.syspath_prepend(tmp_path)
    return name


def test_import_attribute_returns_it(module: str) -> None:
    assert import_from_string(f"{module}:holder.inner") == "found"


def test_import_bare_module_takes_the_default(module: str) -> None:
    assert callable(import_from_string(module, default="app"))


def test_import_factory_with_literals_returns_its_result(module: str) -> None:
    assert import_from_string(f"{module}:factory('x', size=3)") == ("x", 3)


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("{m}:", "not of the form"),
        (":app", "not of the form"),
        ("{m}", "not of the form"),
        ("{m}:nothing", "has no attribute 'nothing'"),
        ("{m}:holder.outer", "has no attribute 'holder.outer'"),
        ("{m}:factory()", "missing a required argument: 'name'"),
        ("{m}:factory(name)", "neither a name nor a call with literal arguments"),
        ("{m}:1 + 1", "neither a name nor a call"),
        ("{m}:coroutine()", "an async function: use a regular one"),
        (
            "{m}:number()",
            "is a call, but '{m}:number' is not callable (it is of type int): write '{m}:number'",
        ),
        ("{m}:app()", "calls an application, not a factory: write '{m}:app'"),
        ("{m}:application_object()", "calls an application, not a factory"),
        ("{m}.py:app", "is a file name: name the module, as in '{m}:app'"),
        ("./{m}:app", "is a file name: name the module, as in '{m}:app'"),
        ("src/{m}.py:app", "is a file name: name the module, as in 'src.{m}:app'"),
        ("..{m}:app", "is not a module name"),
        ("{m}_is_not_there:app", "there is no module"),
        ("{m}_is_not_there.below:app", "there is no module"),
    ],
)
def test_import_of_what_is_not_there_says_so_in_one_sentence(
    module: str, uri: str, said: str
) -> None:
    with pytest.raises(ImportFromStringError, match=re.escape(said.format(m=module))) as caught:
        import_from_string(uri.format(m=module))
    assert caught.value.__cause__ is None
    assert "\n" not in str(caught.value)


def test_import_bare_module_without_the_default_says_how_to_name_another(module: str) -> None:
    with pytest.raises(ImportFromStringError, match=f"name the application, as in '{module}:app'"):
        import_from_string(module, default="application")


@pytest.mark.parametrize(
    ("uri", "cause"),
    [
        ("{m}_exits:app", SystemExit),
        ("{m}_fails:app", ModuleNotFoundError),
        ("{m}_raises:app", RuntimeError),
        ("{m}:broken()", ZeroDivisionError),
    ],
)
def test_import_that_fails_inside_keeps_the_cause(
    module: str, uri: str, cause: type[BaseException]
) -> None:
    with pytest.raises(ImportFromStringError, match="failed") as caught:
        import_from_string(uri.format(m=module))
    assert isinstance(caught.value.__cause__, cause)
