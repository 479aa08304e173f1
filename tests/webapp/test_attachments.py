"""Attachments: uploaded, shown or downloaded, and gone when their post is."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.webapp.people import ApiClient, Browser, assert_api_error, make_app
from webapp import attachments
from webapp.attachments import DOWNLOAD, media_type_of
from webapp.extensions import db
from webapp.models import ADMIN, Attachment

LogIn = Callable[..., Browser]
Obtain = Callable[..., ApiClient]

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 40
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'


def attach(
    person: ApiClient, post_id: int, data: bytes = PNG, name: str = "picture.png"
) -> TestResponse:
    fields: dict[str, Any] = {"file": (io.BytesIO(data), name)}
    return person.request("POST", f"/attachments/{post_id}", data=fields)


def kept_files(app: Flask) -> list[Path]:
    folder: Path = app.config["UPLOAD_DIR"]
    return sorted(folder.iterdir()) if folder.exists() else []


def test_file_is_uploaded_and_served_as_it_was(
    app: Flask, client: FlaskClient, api: Obtain
) -> None:
    ada = api("ada")
    post_id = ada.post()

    answer = attach(ada, post_id, PNG * 5_000, "a picture.png")

    assert answer.status_code == 201, answer.text
    assert answer.json["media_type"] == "image/png"
    assert answer.json["size_bytes"] == len(PNG) * 5_000
    assert answer.json["url"] == "/attachments/1/a%20picture.png"
    with client.get(answer.json["url"]) as file:
        assert file.data == PNG * 5_000
        assert file.mimetype == "image/png"
        assert file.headers["X-Content-Type-Options"] == "nosniff"
        assert "sandbox" in file.headers["Content-Security-Policy"]
        assert "attachment" not in file.headers.get("Content-Disposition", "")
    listed = client.get(f"/api/v1/posts/{post_id}/attachments").json
    assert listed == {"attachments": [answer.json]}
    (kept,) = kept_files(app)
    assert kept.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("name", ["page.html", "picture.svg", "picture.png"])
def test_file_that_is_no_picture_is_a_download_whatever_its_name(
    client: FlaskClient, api: Obtain, name: str
) -> None:
    ada = api("ada")

    answer = attach(ada, ada.post(), SVG, name)

    with client.get(answer.json["url"]) as file:
        assert file.mimetype == DOWNLOAD
        assert file.headers["Content-Disposition"].startswith("attachment")


@pytest.mark.parametrize(
    ("beginning", "media_type"),
    [
        (PNG[:16], "image/png"),
        (b"\xff\xd8\xff\xe0" + b"\0" * 12, "image/jpeg"),
        (b"GIF89a" + b"\0" * 10, "image/gif"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "image/webp"),
        (b"RIFF\0\0\0\0WAVEfmt ", DOWNLOAD),
        (b"<svg", DOWNLOAD),
        (b"", DOWNLOAD),
    ],
    ids=str,
)
def test_kind_of_a_file_is_read_from_its_bytes(beginning: bytes, media_type: str) -> None:
    assert media_type_of(beginning) == media_type


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("a\x01b\x7f.txt", "ab.txt"),
        ("..hidden", "hidden"),
        ("x" * 200 + ".tar.gz", "x" * 117 + ".gz"),
        ("Übung.txt", "Übung.txt"),
        ("photo\u202egpj.exe\u2069\x85", "photogpj.exe"),
    ],
)
def test_name_of_a_file_is_made_harmless(
    client: FlaskClient, api: Obtain, name: str, kept: str
) -> None:
    ada = api("ada")

    answer = attach(ada, ada.post(), b"text", name)

    assert answer.json["name"] == kept
    with client.get(answer.json["url"]) as file:
        assert file.status_code == 200


def test_page_takes_shows_and_deletes_files(app: Flask, browser: LogIn) -> None:
    person = browser("ada")
    person.submit("/write", title="T", body="B")
    token = person.csrf_token("/post/1")

    fields: dict[str, Any] = {"csrf_token": token, "file": (io.BytesIO(PNG), "p.png")}
    uploaded = person.client.post("/attachments/1", data=fields)
    page = person.get("/post/1").text
    deleted = person.submit("/attachments/1/delete", form_on="/post/1")

    assert uploaded.location == "/post/1#attachments"
    assert '<img src="/attachments/1/p.png"' in page
    assert "48 bytes" in page
    assert deleted.location == "/post/1#attachments"
    assert "p.png" not in person.get("/post/1").text
    assert kept_files(app) == []


@pytest.mark.parametrize(("data", "name"), [(b"", "empty.txt"), (b"x", ""), (b"x", "/")])
def test_upload_of_nothing_is_422_and_keeps_nothing(
    app: Flask, api: Obtain, data: bytes, name: str
) -> None:
    ada = api("ada")

    assert "file is" in assert_api_error(attach(ada, ada.post(), data, name), 422)
    assert kept_files(app) == []


def test_upload_without_a_form_is_422(api: Obtain) -> None:
    ada = api("ada")

    answer = ada.request("POST", f"/attachments/{ada.post()}", json={"file": "x"})

    assert "file is missing" in assert_api_error(answer, 422)


def test_attachments_are_their_authors_and_administrators(client: FlaskClient, api: Obtain) -> None:
    ada, grace, boss = api("ada"), api("grace"), api("boss", ADMIN)
    post_id = ada.post()
    made = attach(ada, post_id).json

    assert_api_error(attach(grace, post_id), 403)
    assert_api_error(grace.request("DELETE", f"/attachments/{made['id']}"), 403)
    assert_api_error(client.post(f"/api/v1/attachments/{post_id}"), 401)
    assert_api_error(attach(ada, 99), 404)
    assert boss.request("DELETE", f"/attachments/{made['id']}").status_code == 204
    assert client.get(made["url"]).status_code == 404


def test_attachments_of_a_post_and_an_account_are_bounded(
    app: Flask, api: Obtain, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = api("ada")
    full = ada.post()
    for _ in range(attachments.MAX_OF_A_POST):
        assert attach(ada, full, b"x", "x").status_code == 201

    assert "at most 10 attachments" in assert_api_error(attach(ada, full), 409)
    monkeypatch.setattr(attachments, "MAX_BYTES_OF_AN_ACCOUNT", 60)
    post_id = ada.post()
    assert attach(ada, post_id).status_code == 201
    assert "of attachments" in assert_api_error(attach(ada, post_id), 409)
    assert len(kept_files(app)) == attachments.MAX_OF_A_POST + 1


def test_file_that_is_larger_than_the_server_takes_is_413(app: Flask, api: Obtain) -> None:
    ada = api("ada")
    post_id = ada.post()
    app.config["MAX_CONTENT_LENGTH"] = 100_000

    assert_api_error(attach(ada, post_id, b"x" * 100_001), 413)
    assert attach(ada, post_id, b"x" * 90_000).status_code == 201
    assert len(kept_files(app)) == 1


def test_files_go_with_their_post_once_that_is_committed(app: Flask, api: Obtain) -> None:
    ada = api("ada")
    post_id = ada.post()
    attach(ada, post_id)
    with app.app_context():
        attachments.delete(db.session.query(Attachment).one())
        db.session.rollback()
        db.session.commit()
    assert len(kept_files(app)) == 1

    ada.request("DELETE", f"/posts/{post_id}")

    assert kept_files(app) == []
    with app.app_context():
        assert db.session.query(Attachment).count() == 0


def test_folder_that_cannot_be_used_is_one_sentence_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        app = make_app(tmp_path / "x.db", upload_dir=folder)
        with pytest.raises(attachments.UploadFolderError, match=r"UPLOAD_DIR is .*file"):
            attachments.prepare(app)
    app = make_app(tmp_path / "x.db", upload_dir=tmp_path / "new" / "folder")
    attachments.prepare(app)
    assert (tmp_path / "new" / "folder").is_dir()


def test_no_transaction_is_open_while_bytes_are_copied(
    app: Flask, api: Obtain, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = api("ada")
    post_id = ada.post()
    copy = attachments._copy
    in_transaction: list[bool] = []

    def watched(source: Any, target: Any) -> int:
        in_transaction.append(db.session().in_transaction())
        return copy(source, target)

    monkeypatch.setattr(attachments, "_copy", watched)
    attach(ada, post_id)

    assert in_transaction == [False]


def test_sweep_deletes_old_files_of_no_attachment_and_nothing_else(
    app: Flask, api: Obtain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attachments, "_LOOKED_UP_AT_ONCE", 2)
    ada = api("ada")
    attach(ada, ada.post())
    folder: Path = app.config["UPLOAD_DIR"]
    (attached,) = kept_files(app)
    left = [folder / f"{number:032x}" for number in range(3)]
    new = folder / ("f" * 32)
    others = [folder / "README", folder / ("e" * 31), folder / ("d" * 32)]
    for path in (*left, new, *others[:2]):
        path.write_bytes(PNG)
    others[2].symlink_to(attached)
    for path in (attached, *left, *others):
        os.utime(path, (0, 0), follow_symlinks=False)
    run = app.test_cli_runner().invoke

    counted = run(args=["attachments", "sweep"])
    assert "3 files belong to no attachment" in counted.output
    assert set(left) < set(folder.iterdir())

    swept = run(args=["attachments", "sweep", "--delete"])
    assert "3 files of no attachment are deleted" in swept.output
    assert set(folder.iterdir()) == {attached, new, *others}
    assert "0 files" in run(args=["attachments", "sweep", "--delete"]).output
    assert run(args=["attachments", "sweep", "--hours", "0"]).exit_code == 2


def test_upload_that_is_cut_off_before_its_commit_leaves_a_file_for_the_sweep(
    app: Flask, api: Obtain, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = api("ada")
    post_id = ada.post()

    # A process that is killed runs no handler: the file is there, the row is not.
    monkeypatch.setattr(db.session, "commit", db.session.rollback)
    attach(ada, post_id)
    monkeypatch.undo()

    (left,) = kept_files(app)
    os.utime(left, (0, 0))
    with app.app_context():
        assert list(attachments.left_behind(3600)) == [left]
