"""Configuration files made from others."""

from __future__ import annotations

from flasknado.process.doctor.rewrite import made, rewritten


def test_setting_in_several_lines_is_commented_out_whole() -> None:
    new = rewritten("a = 1\nb = [\n    1,\n]\nc = 3\n", {"b": "b must go"}, "old.py", "new.py")
    assert new.splitlines()[1:] == [
        "a = 1",
        "# flasknado: b must go",
        "# b = [",
        "#     1,",
        "# ]",
        "c = 3",
    ]


def test_decorated_hook_is_commented_out_with_its_decorator() -> None:
    source = "@quiet\ndef hook(worker):\n    pass\n"
    new = rewritten(source, {"hook": "no"}, "old.py", "new.py")
    assert "\n# @quiet\n# def hook(worker):\n#     pass\n" in new


def test_imported_hook_is_commented_out() -> None:
    assert "\n# from hooks import pre_request\n" in rewritten(
        "from hooks import pre_request\n", {"pre_request": "no"}, "old.py", "new.py"
    )


def test_setting_in_a_branch_is_named_at_the_top() -> None:
    source = "import os\nif os.name == 'posix':\n    spew = True\n"
    new = rewritten(source, {"spew": "it is refused"}, "old.py", "new.py")
    assert new.splitlines()[1] == "# flasknado: remove this by hand: it is refused"
    assert new.endswith(source)


def test_file_of_values_says_the_same() -> None:
    names: dict[str, object] = {}
    exec(made({"workers": 2, "bind": ["a:1"]}, "new.py"), names)
    assert (names["workers"], names["bind"]) == (2, ["a:1"])
