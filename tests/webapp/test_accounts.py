"""Registering and checking passwords, below the views."""

from __future__ import annotations

import threading
from collections.abc import Callable

import bcrypt as bcrypt_library
import pytest
from flask import Flask

from webapp import accounts
from webapp.extensions import bcrypt, db
from webapp.models import User

Account = Callable[..., int]


def test_register_keeps_a_bcrypt_hash_and_the_case_of_the_name(app: Flask) -> None:
    with app.app_context():
        user = accounts.register("Ada", "ada-password")

        assert (user.username, user.username_key, user.role) == ("Ada", "ada", "user")
        assert user.password_hash.startswith("$2b$04$")
        assert bcrypt_library.checkpw(b"ada-password", user.password_hash.encode())


def test_register_name_in_another_case_is_taken(app: Flask, account: Account) -> None:
    account("ada")

    with app.app_context(), pytest.raises(accounts.NameTakenError, match="ADA is taken"):
        accounts.register("ADA", "another-password")


def test_register_at_the_same_moment_makes_one_account(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    both_have_looked = threading.Barrier(2, timeout=20)
    hash_password = bcrypt.generate_password_hash

    def hash_together(password: str) -> bytes:
        both_have_looked.wait()
        return hash_password(password)

    monkeypatch.setattr(bcrypt, "generate_password_hash", hash_together)
    outcomes: list[str] = []

    def register() -> None:
        with app.app_context():
            try:
                outcomes.append(accounts.register("ada", "ada-password").username)
            except accounts.NameTakenError as error:
                outcomes.append(type(error).__name__)

    threads = [threading.Thread(target=register) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    assert sorted(outcomes) == ["NameTakenError", "ada"]
    with app.app_context():
        assert db.session.query(User).count() == 1


def test_authenticate_takes_the_name_in_any_case(app: Flask, account: Account) -> None:
    account("ada")

    with app.app_context():
        user = accounts.authenticate(" ADA ", "ada-password")
        assert user is not None
        assert user.username == "ada"


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("ada", "wrong-password"),
        ("ada", ""),
        ("ada", "ada-password" + "x" * 80),
        ("ada", "null\0"),
        ("ada", "\ud800"),
        ("nobody-here", "ada-password"),
        ("nobody-here", ""),
        ("no/such\0name", "ada-password"),
        ("\ud800", "ada-password"),
    ],
)
def test_authenticate_with_anything_wrong_hashes_once_and_gives_nobody(
    app: Flask, account: Account, monkeypatch: pytest.MonkeyPatch, name: str, password: str
) -> None:
    account("ada")
    hashed: list[bytes] = []
    check = bcrypt.check_password_hash

    def counting_check(password_hash: str, candidate: bytes) -> bool:
        hashed.append(password_hash.encode())
        return bool(check(password_hash, candidate))

    monkeypatch.setattr(bcrypt, "check_password_hash", counting_check)

    with app.app_context():
        assert accounts.authenticate(name, password) is None

    # The same work for a name that nobody has, so that the time tells nothing.
    assert [entry[:7] for entry in hashed] == [b"$2b$04$"]


def test_authenticate_holds_no_transaction_while_hashing(
    app: Flask, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    account("ada")
    states: list[bool] = []
    check = bcrypt.check_password_hash

    def observing_check(password_hash: str, candidate: bytes) -> bool:
        states.append(db.session().in_transaction())
        return bool(check(password_hash, candidate))

    monkeypatch.setattr(bcrypt, "check_password_hash", observing_check)

    with app.app_context():
        accounts.authenticate("ada", "ada-password")

    assert states == [False]


def test_authenticate_disabled_account_is_told_only_to_who_knows_the_password(
    app: Flask, account: Account
) -> None:
    user_id = account("ada")
    with app.app_context():
        db.session.get_one(User, user_id).disabled = True
        db.session.commit()

        assert accounts.authenticate("ada", "wrong-password") is None
        with pytest.raises(accounts.AccountDisabledError, match="ada is disabled"):
            accounts.authenticate("ada", "ada-password")


def test_set_password_replaces_the_old_one(app: Flask, account: Account) -> None:
    user_id = account("ada")
    with app.app_context():
        accounts.set_password(db.session.get_one(User, user_id), "a-new-password")

        assert accounts.authenticate("ada", "ada-password") is None
        assert accounts.authenticate("ada", "a-new-password") is not None
