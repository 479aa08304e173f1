"""Which paths may belong to a cached view, and what its page follows."""

from __future__ import annotations

import time
from typing import Any

import pytest
from flask import Flask

from flasknado.errors import ConfigurationError
from flasknado.live import InvalidEvent, Live
from flasknado.live.cache.rules import CachedPaths, CachedView
from flasknado.live.cache.store import concerns

live = Live()


def view(**values: Any) -> str:
    return "page"


def paths_of(*rules: str, mount: str = "") -> CachedPaths:
    app = Flask("rules")
    for rule in rules:
        app.add_url_rule(rule, rule, live.cached(channels="posts")(view))
    app.add_url_rule("/plain", "plain", view)
    return CachedPaths(app, mount)


@pytest.mark.parametrize(
    ("rule", "path"),
    [
        ("/", "/"),
        ("/a.b", "/a.b"),
        ("/post/<int:post_id>", "/post/7"),
        ("/<name>/x", "/ann/x"),
        ("/<string(length=2):code>", "/de"),
        ("/files/<path:file>", "/files/a/b"),
        ("/<any(a, b):kind>/list", "/a/list"),
        ("/<slug>-<int:post_id>.html", "/a-post-7.html"),
        ("/<path:file>/<int:line>", "/a/b/7"),
        ("/<any('a/b', c):kind>/<name>", "/a/b/ann"),
    ],
)
def test_path_of_a_cached_rule_is_found(rule: str, path: str) -> None:
    assert paths_of(rule).find(path) is not None


@pytest.mark.parametrize("path", ["/axb", "/post/", "/post/7/edit", "/plain", "/a.b/", ""])
def test_path_of_no_cached_rule_is_not_found(path: str) -> None:
    assert paths_of("/a.b", "/post/<int:post_id>").find(path) is None


@pytest.mark.parametrize(
    "rule", ["/<a>-<b>-<c>", "/<path:a>/<path:b>/<path:c>/d", "/<a>-<path:b>-"]
)
@pytest.mark.parametrize("path", ["/" + "-" * 16_000 + "/x", "/" + "-/" * 8000 + "x", "/" * 16_000])
def test_path_is_looked_for_in_time_that_grows_with_its_length(rule: str, path: str) -> None:
    paths = paths_of(rule)
    began_s = time.thread_time()
    paths.find(path)
    assert time.thread_time() - began_s < 0.25


def test_text_between_two_variables_tells_paths_apart() -> None:
    assert paths_of("/<slug>-<int:post_id>").find("/ann") is None


def test_path_of_another_view_is_not_taken_for_a_variable() -> None:
    paths = paths_of("/<name>")
    assert paths.find("/ann") is not None
    assert paths.find("/plain") is None


def test_mount_belongs_to_the_path() -> None:
    paths = paths_of("/a", mount="/shop")
    assert paths.find("/shop/a") is not None
    assert paths.find("/a") is None


def test_application_without_cached_views_has_no_paths() -> None:
    assert not paths_of()
    assert paths_of().find("/") is None


def test_channels_take_values_of_the_url() -> None:
    about = CachedView(("posts", "post:{post_id}"), None, 60)
    assert about.channels_of({"post_id": 7}) == {"posts", "post:7"}


def test_channels_of_a_function_are_asked_with_the_values_of_the_url() -> None:
    about = CachedView(lambda post_id: f"post:{post_id}", None, 60)
    assert about.channels_of({"post_id": 7}) == {"post:7"}


@pytest.mark.parametrize("channels", ["no channel", ["posts", "!"], "*"])
def test_what_is_no_channel_is_refused_at_once(channels: Any) -> None:
    with pytest.raises(InvalidEvent):
        live.cached(channels=channels)(view)


@pytest.mark.parametrize("channels", [lambda: (), lambda: "no channel"])
def test_function_that_returns_no_channel_is_refused(channels: Any) -> None:
    with pytest.raises(InvalidEvent):
        CachedView(channels, None, 60).channels_of({})


@pytest.mark.parametrize("options", [{"channels": []}, {"channels": "posts", "max_age_s": 0}])
def test_setting_that_keeps_nothing_is_refused(options: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"cached view needs channels|max_age_s"):
        live.cached(**options)(view)


@pytest.mark.parametrize(
    ("channels", "event", "expected"),
    [
        ("posts", "posts", True),
        ("posts", "posts2", False),
        ("post:*", "post:7", True),
        ("post:*", "posts", False),
        ("post:*", "post:7!presence", False),
    ],
)
def test_event_concerns_pages_of_its_channel(channels: str, event: str, expected: bool) -> None:
    assert concerns({channels}, {event}) is expected
