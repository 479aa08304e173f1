"""The tables' constraints and their timestamps."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

import pytest
from flask import Flask
from sqlalchemy.exc import IntegrityError, StatementError

from webapp import posts
from webapp.columns import utc_now
from webapp.extensions import db
from webapp.models import ADMIN, Comment, Post, User
from webapp.records import RevokedToken

Account = Callable[..., int]


def test_timestamp_comes_back_aware_and_in_utc(app: Flask) -> None:
    moment = datetime(2025, 3, 1, 12, 30, 15, 250_000, timezone(timedelta(hours=5)))
    with app.app_context():
        db.session.add(RevokedToken(jti="a", expires_at=moment))
        db.session.commit()
        db.session.expire_all()

        kept = db.session.get_one(RevokedToken, "a").expires_at

    assert kept == moment
    assert kept.tzinfo is UTC
    assert kept.hour == 7


def test_timestamp_without_zone_is_refused(app: Flask) -> None:
    with app.app_context():
        db.session.add(RevokedToken(jti="a", expires_at=datetime(2025, 3, 1)))
        with pytest.raises(StatementError, match="has no time zone"):
            db.session.commit()


def test_username_differing_by_case_only_is_refused(app: Flask, account: Account) -> None:
    account("ada")
    with app.app_context():
        db.session.add(User(username="ADA", username_key="ada", password_hash="x"))
        with pytest.raises(IntegrityError):
            db.session.commit()


def test_role_that_is_unknown_is_refused(app: Flask) -> None:
    with app.app_context():
        db.session.add(User(username="ada", username_key="ada", password_hash="x", role="king"))
        with pytest.raises(IntegrityError):
            db.session.commit()


def test_post_takes_its_comments_with_it(app: Flask, account: Account) -> None:
    user_id = account("ada")
    with app.app_context():
        user = db.session.get_one(User, user_id)
        post = posts.create(user, "Title", "Body")
        posts.add_comment(post, user, "First")
        posts.add_comment(post, user, "Second")
        db.session.commit()
        db.session.expire_all()
        assert post.comment_count == 2

        posts.delete(post)
        db.session.commit()

        assert db.session.query(Comment).count() == 0


def test_post_id_is_never_used_again(app: Flask, account: Account) -> None:
    user_id = account("ada")
    with app.app_context():
        user = db.session.get_one(User, user_id)
        first = posts.create(user, "Title", "Body")
        db.session.commit()
        posts.delete(first)
        db.session.commit()
        second = posts.create(user, "Title", "Body")
        db.session.commit()

        assert second.id > first.id


def test_post_may_be_changed_by_its_author_and_administrators() -> None:
    post = Post(author_id=1)

    assert User(id=1, role="user").may_change(post)
    assert not User(id=2, role="user").may_change(post)
    assert User(id=3, role=ADMIN).may_change(post)


def test_present_time_is_aware() -> None:
    assert utc_now().utcoffset() == timedelta(0)
