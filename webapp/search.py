"""Searching posts by words, in an index of the application's own: the same on every database.

A post's words are rows of `search_word`. A query is at most `MAX_QUERY_WORDS` words, which a
post has all of; the last one may be the beginning of a word, so that one can search while typing.
Chinese, Japanese and Korean characters are words by themselves, since no spaces divide them.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

import sqlalchemy as sa
from sqlalchemy import Select, delete, insert, select

from webapp.extensions import db
from webapp.models import WORD_CHARACTERS, Post, SearchWord, User

MAX_QUERY_CHARACTERS = 200
MAX_QUERY_WORDS = 8
MAX_WORDS_OF_A_POST = 1_000
"""Of a post with more different words, the first are found."""
INDEXED_AT_ONCE = 100

_IDEOGRAPH = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_WORD = re.compile(rf"[{_IDEOGRAPH}]|[^\W_{_IDEOGRAPH}]+")
# Greater than every character that a word may have.
_END = "\U0010ffff"

_post = sa.table(
    "post", sa.column("id", sa.Integer), sa.column("title", sa.Text), sa.column("body", sa.Text)
)
_search_word = sa.table("search_word", sa.column("word", sa.Text), sa.column("post_id", sa.Integer))


def words_of(text: str) -> list[str]:
    """Return the different words of a text, without case and accents, in their order."""
    # What is a letter in another style becomes a plain one first, perhaps a capital.
    folded = unicodedata.normalize("NFKD", text).casefold()
    decomposed = unicodedata.normalize("NFKD", folded)
    plain = "".join(char for char in decomposed if not unicodedata.combining(char))
    # Korean syllables come apart above, and are put together again.
    plain = unicodedata.normalize("NFC", plain)
    return list(dict.fromkeys(word[:WORD_CHARACTERS] for word in _WORD.findall(plain)))


def index(post: Post) -> None:
    """Note the words of a post, new or changed; the caller commits."""
    wanted = _indexed(post.title, post.body)
    known = set(db.session.scalars(select(SearchWord.word).where(SearchWord.post_id == post.id)))
    gone = known.difference(wanted)
    if gone:
        here = SearchWord.post_id == post.id
        db.session.execute(
            delete(SearchWord).where(here, SearchWord.word.in_(gone)),
            execution_options={"synchronize_session": False},
        )
    rows = [{"word": word, "post_id": post.id} for word in wanted if word not in known]
    if rows:
        db.session.execute(insert(SearchWord), rows)


def posts_with(query: str) -> Select[Post] | None:
    """Return the query for the posts that have all words, or `None` if there are no words."""
    words = words_of(query[:MAX_QUERY_CHARACTERS])[:MAX_QUERY_WORDS]
    if not words:
        return None
    statement = select(Post)
    for word in words[:-1]:
        having = select(SearchWord.post_id).where(SearchWord.word == word)
        statement = statement.where(Post.id.in_(having))
    last = words[-1]
    beginning = SearchWord.word.between(last, last + _END)
    return statement.where(Post.id.in_(select(SearchWord.post_id).where(beginning)))


def people_named(query: str) -> Select[User] | None:
    """Return the query for the accounts whose names begin with the query."""
    beginning = query.strip().lower()[:MAX_QUERY_CHARACTERS]
    if not re.fullmatch(r"[a-z][a-z0-9_-]*", beginning):
        return None
    # LIKE would not use the index in every collation; there are few enough accounts.
    return select(User).where(User.username_key.startswith(beginning, autoescape=True))


def index_all(connection: sa.Connection) -> Iterator[int]:
    """Index every post afresh, and yield after each batch how many were in it.

    The caller commits. Knows only the columns that it needs, so that a migration may use it.
    """
    last_id = 0
    while True:
        wanted = sa.select(_post).where(_post.c.id > last_id).order_by(_post.c.id)
        posts = connection.execute(wanted.limit(INDEXED_AT_ONCE)).all()
        if not posts:
            return
        last_id = posts[-1].id
        ids = [post.id for post in posts]
        connection.execute(sa.delete(_search_word).where(_search_word.c.post_id.in_(ids)))
        rows = [
            {"word": word, "post_id": post.id}
            for post in posts
            for word in _indexed(post.title, post.body)
        ]
        if rows:
            connection.execute(sa.insert(_search_word), rows)
        yield len(posts)


def _indexed(title: str, body: str) -> list[str]:
    return words_of(f"{title} {body}")[:MAX_WORDS_OF_A_POST]
