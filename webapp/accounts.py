"""Accounts: registering, checking a password, reserved names. Runs on view threads only.

bcrypt takes about a quarter of a second on purpose, so no transaction is open while it works.
"""

from __future__ import annotations

from flask import Flask, current_app
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from webapp import credentials, login_limits, passwords, rules
from webapp.database import end_transaction
from webapp.extensions import db, live
from webapp.models import USER, User

# Beside the first segments of the URL map: the live half's and what may come to be used.
_RESERVED = frozenset(
    """about account admin administrator api auth author authors help home live login logout me
    nobody null post posts privacy register root search settings signup socket static support
    system terms undefined user users webhook well-known write www""".split()  # noqa: SIM905
)
_EXTENSION_KEY = "webapp.reserved_names"
# bcrypt's own alphabet; the hash of no password, for names that nobody has.
_NOBODYS_SALT_AND_DIGEST = "." * 53


class NameTakenError(ValueError):
    """Somebody has the name already; one sentence."""


class AccountDisabledError(ValueError):
    """The password is right and the account is disabled; one sentence."""


def reserve_names(app: Flask) -> None:
    """Reserve every first path segment of the URL map, so that no account hides a page."""
    segments = {rule.rule.split("/")[1].lower() for rule in app.url_map.iter_rules()}
    app.extensions[_EXTENSION_KEY] = _RESERVED | {
        segment for segment in segments if segment and "<" not in segment
    }


def available_username(value: str) -> str:
    """Return the name if it follows the rule and is not reserved, or raise `ValueError`."""
    name = rules.username(value)
    if name.lower() in current_app.extensions[_EXTENSION_KEY]:
        raise ValueError(f"The name {name} is reserved for the site: choose another one.")
    return name


def find_by_name(username: str) -> User | None:
    """Return the account with this name in any case; asks no database about an impossible one."""
    if not rules.is_username(username):
        return None
    return db.session.scalar(select(User).where(User.username_key == username.lower()))


def register(username: str, password: str, role: str = USER) -> User:
    """Make an account and commit it.

    Raises:
        NameTakenError: somebody has the name, in this case or another.
        ValueError: the name or the password breaks a rule; the sentence says which.
    """
    name = available_username(username)
    secret = rules.password(password)
    if find_by_name(name) is not None:
        raise NameTakenError(_taken(name))
    end_transaction()
    password_hash = passwords.hash_of(secret)
    user = User(username=name, username_key=name.lower(), password_hash=password_hash, role=role)
    db.session.add(user)
    try:
        db.session.commit()
    except IntegrityError:
        # Somebody took the name while the password was hashed.
        db.session.rollback()
        raise NameTakenError(_taken(name)) from None
    return user


def set_password(user: User, password: str) -> None:
    """Give the account another password, end its sessions and tokens, and commit."""
    user_id, secret = user.id, rules.password(password)
    end_transaction()
    password_hash = passwords.hash_of(secret)
    user = db.session.get_one(User, user_id)
    user.password_hash = password_hash
    credentials.revoke_all(user)
    db.session.commit()


def change_password(user: User, current_password: str, password: str) -> bool:
    """Set another password if the current one is right, and return whether it is; commit."""
    user_id, password_hash, secret = user.id, user.password_hash, rules.password(password)
    end_transaction()
    if not _password_matches(password_hash, current_password):
        return False
    set_password(db.session.get_one(User, user_id), secret)
    return True


def authenticate(username: str, password: str) -> User | None:
    """Return the account if the password is its own, else `None`, after the same time.

    Raises:
        AccountDisabledError: the password is right, but the account is disabled.
    """
    user = find_by_name(username.strip())
    user_id = user.id if user else None
    password_hash = user.password_hash if user else _nobodys_hash()
    end_transaction()
    matches = _password_matches(password_hash, password)
    if user_id is None or not matches:
        return None
    user = db.session.get(User, user_id)
    if user is None or user.password_hash != password_hash:
        return None  # the password was changed while this one was checked
    if user.disabled:
        raise AccountDisabledError(f"The account {user.username} is disabled.")
    return user


def change(user: User, *, disabled: bool | None = None, role: str | None = None) -> None:
    """Change what an administrator may change of an account; the caller commits.

    Live connections end when somebody's role does: what they may read is asked again.
    """
    if disabled is not None:
        set_disabled(user, disabled)
    if role is not None and role != user.role:
        user.role = role
        live.revoke(user.id)


def set_disabled(user: User, disabled: bool) -> None:
    """Disable or enable an account; its sessions, tokens and live connections stop at once.

    The caller commits.
    """
    user.disabled = disabled
    if disabled:
        live.revoke(user.id)


def _password_matches(password_hash: str, password: str) -> bool:
    candidate = password.encode("utf-8", "surrogatepass")
    usable = 0 < len(candidate) <= rules.PASSWORD_MAX_BYTES and b"\0" not in candidate
    # An impossible password costs as much time as a wrong one.
    tried = candidate if usable else b"-"
    right = passwords.matches(password_hash, tried) and usable
    if not right:
        login_limits.note_wrong_password()
    return right


def _nobodys_hash() -> str:
    rounds = current_app.config.get("BCRYPT_LOG_ROUNDS", 12)
    return f"$2b${rounds:02d}${_NOBODYS_SALT_AND_DIGEST}"


def _taken(name: str) -> str:
    return f"The name {name} is taken: choose another one."
