"""The forms for posts and comments."""

from __future__ import annotations

import secrets

from flask_wtf import FlaskForm
from wtforms import HiddenField, StringField, TextAreaField

from webapp import rules
from webapp.forms import ByRule


def new_key() -> str:
    """Return a name for one form on one page, to notice when it is sent twice."""
    return secrets.token_urlsafe(12)


class OnceForm(FlaskForm):  # type: ignore[misc]
    """A form that is done once, however often it is sent."""

    form_key = HiddenField(default=new_key)


class PostForm(OnceForm):
    """A post, new or edited; `version` is the one that was read."""

    title = StringField(
        "Title", [ByRule(rules.title)], render_kw={"autocomplete": "off", "dir": "auto"}
    )
    body = TextAreaField(
        "Text",
        [ByRule(rules.post_body)],
        description="Markdown: *emphasis*, **strong**, [a link](https://example.org), # heading.",
        render_kw={"rows": 14, "dir": "auto"},
    )
    version = HiddenField()


class CommentForm(OnceForm):
    """A comment on a post."""

    body = TextAreaField(
        "Your comment", [ByRule(rules.comment_body)], render_kw={"rows": 4, "dir": "auto"}
    )


class EmptyForm(FlaskForm):  # type: ignore[misc]
    """Only a button, and the token that says that the person pressed it."""
