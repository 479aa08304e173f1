"""Searching: what counts as a word, what is found, and what it costs."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable

import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import example, given
from hypothesis import strategies as st

from tests.webapp.people import ApiClient
from webapp.extensions import db
from webapp.models import WORD_CHARACTERS, SearchWord
from webapp.search import MAX_WORDS_OF_A_POST, index_all, words_of

Obtain = Callable[..., ApiClient]


def titles(client: FlaskClient, query: str, **options: str) -> list[str]:
    answer = client.get("/api/v1/search", query_string={"q": query, **options})
    assert answer.status_code == 200, answer.text
    return [post["title"] for post in answer.json["posts"]]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Two halves, ONE process.", ["two", "halves", "one", "process"]),
        ("Crème brûlée", ["creme", "brulee"]),
        ("straße STRASSE", ["strasse"]),
        ("\U0001d56clpha \ufb01sh", ["alpha", "fish"]),
        ("snake_case don't", ["snake", "case", "don", "t"]),
        ("東京タワー", ["東", "京", "タ", "ワ", "ー"]),
        ("한국어", ["한", "국", "어"]),
        ("a" * 100, ["a" * WORD_CHARACTERS]),
        ("... !", []),
    ],
)
def test_words_of_a_text(text: str, words: list[str]) -> None:
    assert words_of(text) == words


@example("\U0001d400")
@given(st.text())
def test_words_of_words_are_the_same_words(text: str) -> None:
    words = words_of(text)

    assert words_of(" ".join(words)) == words
    assert all(unicodedata.normalize("NFC", word) == word for word in words)


def test_search_finds_posts_with_all_words_the_last_as_a_beginning(
    client: FlaskClient, api: Obtain
) -> None:
    ada = api("ada")
    ada.post("Compilers", "Ships and compilers.")
    ada.post("Ships", "Only ships.")
    ada.post("Übung", "Nothing else.")

    assert titles(client, "ships") == ["Ships", "Compilers"]
    assert titles(client, "COMPILERS ship") == ["Compilers"]
    assert titles(client, "ships comp") == ["Compilers"]
    assert titles(client, "ship compilers") == []
    assert titles(client, "ubung") == ["Übung"]
    assert titles(client, "?!") == []


def test_search_follows_edits_and_deletions(app: Flask, client: FlaskClient, api: Obtain) -> None:
    ada = api("ada")
    post_id = ada.post("Old", "Common words.")

    ada.request("PATCH", f"/posts/{post_id}", json={"title": "New"})
    assert titles(client, "old") == []
    assert titles(client, "new common") == ["New"]
    ada.request("DELETE", f"/posts/{post_id}")
    assert titles(client, "new") == []
    with app.app_context():
        assert db.session.query(SearchWord).count() == 0


def test_search_is_in_pages_by_cursor(client: FlaskClient, api: Obtain) -> None:
    ada = api("ada")
    for number in range(5):
        ada.post(f"Post {number}", "word")

    first = client.get("/api/v1/search?q=word&limit=3").json
    rest = titles(client, "word", cursor=first["next_cursor"])

    assert [post["title"] for post in first["posts"]] + rest == [
        f"Post {n}" for n in (4, 3, 2, 1, 0)
    ]


def test_search_finds_people_by_the_beginning_of_their_names(
    client: FlaskClient, account: Callable[..., int]
) -> None:
    for name in ("Grace", "gram_", "linus"):
        account(name)

    people = client.get("/api/v1/search?q=gra").json["people"]

    assert [person["username"] for person in people] == ["Grace", "gram_"]
    assert client.get("/api/v1/search?q=gram_x").json["people"] == []


def test_search_page_works_without_a_script(client: FlaskClient, api: Obtain) -> None:
    api("ada").post("A <title>", "Findable.")

    page = client.get("/search?q=findable").text

    assert "A &lt;title&gt;" in page
    assert 'value="findable"' in page
    assert "Nothing was found." in client.get("/search?q=missing").text
    assert "Nothing was found." not in client.get("/search").text
    assert "Set-Cookie" not in client.get("/search?q=findable").headers


def test_post_with_very_many_words_is_indexed_in_part(app: Flask, api: Obtain) -> None:
    body = " ".join(f"w{number}" for number in range(2_000))

    api("ada").post("T", body)

    with app.app_context():
        assert db.session.query(SearchWord).count() == MAX_WORDS_OF_A_POST


def test_index_is_made_again_by_the_command(app: Flask, client: FlaskClient, api: Obtain) -> None:
    api("ada").post("Lost", "word")
    with app.app_context():
        db.session.query(SearchWord).delete()
        db.session.commit()
        assert titles(client, "lost") == []

    result = app.test_cli_runner().invoke(args=["posts", "index"])

    assert result.output == "1 posts indexed.\n"
    assert titles(client, "lost") == ["Lost"]
    with app.app_context(), db.engine.begin() as connection:
        assert list(index_all(connection)) == [1]
