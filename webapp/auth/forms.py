"""The forms for accounts."""

from __future__ import annotations

from flask_wtf import FlaskForm
from wtforms import PasswordField, StringField, TextAreaField
from wtforms.validators import InputRequired

from webapp import accounts, rules
from webapp.forms import ByRule


class RegisterForm(FlaskForm):  # type: ignore[misc]
    """A new account."""

    username = StringField(
        "Username",
        [ByRule(accounts.available_username)],
        description=f"It has {rules.USERNAME_RULE}.",
        render_kw={"autocomplete": "username", "autocapitalize": "none", "spellcheck": "false"},
    )
    password = PasswordField(
        "Password",
        [ByRule(rules.password)],
        description=f"It has {rules.PASSWORD_RULE}.",
        render_kw={"autocomplete": "new-password"},
    )


class PasswordForm(FlaskForm):  # type: ignore[misc]
    """Another password for one's own account."""

    current_password = PasswordField(
        "Current password",
        [InputRequired("Type your current password.")],
        render_kw={"autocomplete": "current-password"},
    )
    password = PasswordField(
        "New password",
        [ByRule(rules.password)],
        description=f"It has {rules.PASSWORD_RULE}.",
        render_kw={"autocomplete": "new-password"},
    )


class ProfileForm(FlaskForm):  # type: ignore[misc]
    """What a person says of themselves."""

    about = TextAreaField(
        "About you",
        [ByRule(rules.about, required=False)],
        description="Plain text, which everybody can read.",
        render_kw={"rows": 4, "dir": "auto"},
    )


class TokenForm(FlaskForm):  # type: ignore[misc]
    """A new API token."""

    name = StringField(
        "What is the token for?",
        [ByRule(rules.token_name)],
        description="Such as: backup script.",
        render_kw={"autocomplete": "off"},
    )


class LoginForm(FlaskForm):  # type: ignore[misc]
    """An account that is there already."""

    username = StringField(
        "Username",
        [InputRequired("Type your username.")],
        render_kw={"autocomplete": "username", "autocapitalize": "none", "spellcheck": "false"},
    )
    password = PasswordField(
        "Password",
        [InputRequired("Type your password.")],
        render_kw={"autocomplete": "current-password"},
    )
