"""The forms for posts and comments."""

from __future__ import annotations

from flask_wtf import FlaskForm
from wtforms import StringField, TextAreaField

from webapp import rules
from webapp.forms import ByRule


class PostForm(FlaskForm):  # type: ignore[misc]
    """A post, new or edited."""

    title = StringField("Title", [ByRule(rules.title)], render_kw={"autocomplete": "off"})
    body = TextAreaField(
        "Text",
        [ByRule(rules.post_body)],
        description="Markdown: *emphasis*, **strong**, [a link](https://example.org), # heading.",
        render_kw={"rows": 14},
    )


class CommentForm(FlaskForm):  # type: ignore[misc]
    """A comment on a post."""

    body = TextAreaField("Your comment", [ByRule(rules.comment_body)], render_kw={"rows": 4})


class EmptyForm(FlaskForm):  # type: ignore[misc]
    """Only a button, and the token that says that the person pressed it."""
