"""Reading the settings: where they come from, what they become, and what is refused."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

import pytest

import config.settings
from config import Settings, SettingsError, load_settings
from flasknado.http.forwarded import FIELDS

GOOD_SECRET = "J2x4vTq9Zr0LmWcYdKfHbNsPgEuAiOoX7631-_ty"


def test_settings_without_environment_have_development_defaults(project_root: Path) -> None:
    settings = load_settings()

    assert settings.app_env == "development"
    assert not settings.production
    assert (settings.host, settings.port) == ("127.0.0.1", 8000)
    assert (settings.workers, settings.threads) == (1, 16)
    assert settings.trusted_proxies == settings.trusted_hosts == settings.cors_origins == ()
    assert settings.max_body_bytes == 16 * 1024 * 1024
    assert (settings.log_level, settings.log_format) == ("info", "text")
    assert settings.database_url.startswith("sqlite:////")
    assert settings.database_url.endswith("/var/flasknado.db")


def test_settings_environment_variables_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = {
        "APP_ENV": "production",
        "SECRET_KEY": GOOD_SECRET,
        "DATABASE_URL": "postgresql://me:pw@db.example/app",
        "DATABASE_CONNECT_TIMEOUT_S": "3",
        "DATABASE_STATEMENT_TIMEOUT_S": "0",
        "DATABASE_SILENCE_TIMEOUT_S": "60",
        "DATABASE_POOL_TIMEOUT_S": "4",
        "HOST": "0.0.0.0",
        "PORT": "0",
        "WORKERS": "4",
        "THREADS": "32",
        "TRUSTED_PROXIES": "127.0.0.1/32, 10.0.0.0/8,::1",
        "TRUSTED_FIELDS": "For, proto,request-id",
        "TRUSTED_HOSTS": "Example.org,.example.net",
        "CORS_ORIGINS": "https://A.example, http://localhost:3000 ,",
        "MAX_BODY_MB": "2",
        "LOGIN_LIMIT_PER_ADDRESS": "5 per minute;20 per hour",
        "LOGIN_LIMIT_PER_ACCOUNT_AND_ADDRESS": "5/minute",
        "LOGIN_LIMIT_PER_ACCOUNT": "Off",
        "REGISTER_LIMIT_PER_ADDRESS": "1 per day",
        "API_WRITE_LIMIT": "100 per hour",
        "UPLOAD_DIR": "var/files",
        "TRANSACTION_WARNING_S": "2.5",
        "LIVE_PUBLISH_TOKEN": "a token long enough",
        "LOG_LEVEL": "DEBUG",
        "LOG_FORMAT": "JSON",
        "ACCESS_LOG": "JSON",
    }
    assert {name.upper() for name in Settings.model_fields} == set(variables)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    settings = load_settings()

    assert settings.production
    assert settings.secret_key.get_secret_value() == GOOD_SECRET
    assert settings.database_url == "postgresql+psycopg://me:pw@db.example/app"
    assert (settings.host, settings.port) == ("0.0.0.0", 0)
    assert (settings.workers, settings.threads) == (4, 32)
    assert settings.trusted_proxies == (
        ip_network("127.0.0.1/32"),
        ip_network("10.0.0.0/8"),
        ip_network("::1/128"),
    )
    assert settings.trusted_fields == ("for", "proto", "request-id")
    assert settings.trusted_hosts == ("example.org", ".example.net")
    assert settings.cors_origins == ("https://a.example", "http://localhost:3000")
    assert settings.max_body_bytes == 2 * 1024 * 1024
    assert settings.database_connect_timeout_s == 3
    assert settings.database_statement_timeout_s == 0
    assert settings.database_silence_timeout_s == 60
    assert settings.database_pool_timeout_s == 4
    assert settings.login_limit_per_address == "5 per minute;20 per hour"
    assert settings.login_limit_per_account_and_address == "5/minute"
    assert settings.login_limit_per_account == ""
    assert settings.register_limit_per_address == "1 per day"
    assert settings.api_write_limit == "100 per hour"
    assert settings.upload_dir == config.settings.PROJECT_ROOT / "var" / "files"
    assert settings.transaction_warning_s == 2.5
    assert settings.live_publish_token.get_secret_value() == "a token long enough"
    assert (settings.log_level, settings.log_format) == ("debug", "json")


def test_settings_dotenv_with_unrelated_variables_is_read(
    project_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project_root / ".env").write_text(
        "# ours and others'\nPORT=9000\nTHREADS=4\nPOSTGRES_PASSWORD=x\nCOMPOSE_PROJECT=y\nHOST=\n"
    )
    monkeypatch.setenv("THREADS", "8")

    settings = load_settings()

    assert settings.port == 9000
    assert settings.threads == 8, "the environment wins over .env"
    assert settings.host == "127.0.0.1", "an empty variable counts as unset"


def test_settings_dotenv_that_is_not_text_is_refused_in_one_sentence(project_root: Path) -> None:
    (project_root / ".env").write_bytes(b"PORT=\xff\xfe\n")

    with pytest.raises(SettingsError, match=r"\.env cannot be read .*delete it\.$"):
        load_settings()


@pytest.mark.parametrize(
    ("name", "value", "offender", "rule", "mend"),
    [
        ("APP_ENV", "prod", "APP_ENV=prod", "development or production", "APP_ENV=production"),
        ("PORT", "65536", "PORT=65536", "from 0 to 65535", "set PORT=8000"),
        ("PORT", "-1", "PORT=-1", "from 0 to 65535", "set PORT=8000"),
        ("PORT", "http", "PORT=http", "from 0 to 65535", "set PORT=8000"),
        ("WORKERS", "0", "WORKERS=0", "from 1 to 256", "set WORKERS"),
        ("THREADS", "1.5", "THREADS=1.5", "from 1 to 1024", "set THREADS=16"),
        ("HOST", "http://x", "HOST=http://x", "without scheme and port", "set HOST="),
        ("MAX_BODY_MB", "0", "MAX_BODY_MB=0", "from 1 to 10240", "set MAX_BODY_MB=16"),
        ("DATABASE_CONNECT_TIMEOUT_S", "0", "T_S=0", "from 1 to 60", "set DATABASE_CONNECT_"),
        ("DATABASE_STATEMENT_TIMEOUT_S", "-1", "T_S=-1", "from 0 to 3600", "set DATABASE_STATEM"),
        ("DATABASE_SILENCE_TIMEOUT_S", "5", "T_S=5", "from 6 to 600", "set DATABASE_SILENCE_"),
        ("DATABASE_POOL_TIMEOUT_S", "soon", "T_S=soon", "from 1 to 300", "set DATABASE_POOL_"),
        ("LOGIN_LIMIT_PER_ADDRESS", "many", "=many", "10 per 10 minutes", "off for no limit"),
        ("LOGIN_LIMIT_PER_ACCOUNT", "0 per hour", "=0 per", "10 per 10 minutes", "100 per hour"),
        ("REGISTER_LIMIT_PER_ADDRESS", "60", "=60", "10 per 10 minutes", "off for no limit"),
        ("TRANSACTION_WARNING_S", "-1", "=-1", "a number from 0 to 3600", "=5"),
        ("LOG_LEVEL", "loud", "LOG_LEVEL=loud", "debug, info", "set LOG_LEVEL=info"),
        ("LOG_FORMAT", "xml", "LOG_FORMAT=xml", "text or json", "set LOG_FORMAT=text"),
        ("TRUSTED_PROXIES", "10.0.0.1/8", "host bits set", "CIDR", "set TRUSTED_PROXIES="),
        ("TRUSTED_PROXIES", "nginx", "'nginx'", "CIDR", "set TRUSTED_PROXIES="),
        ("TRUSTED_FIELDS", "for,X-Real-IP", "'x-real-ip'", "of proto, for", "set TRUSTED_FIELDS="),
        ("TRUSTED_FIELDS", "forwarded", "forwarded alone", "of proto", "set TRUSTED_FIELDS="),
        ("TRUSTED_HOSTS", "a.b,http://x", "'http://x'", "host names", "set TRUSTED_HOSTS="),
        ("TRUSTED_HOSTS", "a.b:80", "'a.b:80'", "without scheme and port", "set TRUSTED_HOSTS="),
        ("CORS_ORIGINS", "https://a.b/c", "'https://a.b/c'", "without a path", "set CORS_ORIGINS="),
        ("CORS_ORIGINS", "https://a.b/", "'https://a.b/'", "without a path", "set CORS_ORIGINS="),
        ("CORS_ORIGINS", "a.b", "'a.b'", "origins separated", "set CORS_ORIGINS="),
        ("CORS_ORIGINS", "*,https://a.b", "includes the other", "or *", "set CORS_ORIGINS="),
        ("DATABASE_URL", "mysql://h/x", "'mysql'", "SQLite file or", "set DATABASE_URL="),
        ("DATABASE_URL", "flasknado.db", "not a URL", "SQLite file or", "set DATABASE_URL="),
        ("DATABASE_URL", "sqlite://", "own database", "SQLite file", "set DATABASE_URL="),
        ("DATABASE_URL", "sqlite:///:memory:", "own database", "SQLite file", "set DATABASE_URL="),
    ],
)
def test_settings_bad_value_is_one_sentence_with_offender_rule_and_mend(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, offender: str, rule: str, mend: str
) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(SettingsError) as caught:
        load_settings()

    (problem,) = caught.value.problems
    assert problem == str(caught.value)
    assert problem.startswith(name)
    assert "\n" not in problem
    assert problem.endswith(".")
    assert offender in problem
    assert rule in problem
    assert mend in problem


def test_settings_several_bad_values_are_a_sentence_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "x")
    monkeypatch.setenv("WORKERS", "y")

    with pytest.raises(SettingsError) as caught:
        load_settings()

    assert [problem.split("=")[0] for problem in caught.value.problems] == ["PORT", "WORKERS"]


@pytest.mark.parametrize(
    ("secret", "reason"),
    [
        (None, "it is missing"),
        ("", "it is missing"),
        ("short-but-real-9f8a", "it has 19 bytes"),
        ("change-me", "placeholder"),
        ("CHANGE_ME_CHANGE_ME_CHANGE_ME_CHANGE_ME", "placeholder"),
        ("django-insecure-8s7df6g87sd6fg8s7d6fg8s7dfg", "placeholder"),
        ("your-secret-key-goes-here-please-set-it", "placeholder"),
        ("abab" * 12, "2 different characters"),
    ],
)
def test_settings_production_with_weak_secret_is_refused_without_showing_it(
    monkeypatch: pytest.MonkeyPatch, secret: str | None, reason: str
) -> None:
    monkeypatch.setenv("APP_ENV", "production")
    if secret is not None:
        monkeypatch.setenv("SECRET_KEY", secret)

    with pytest.raises(SettingsError) as caught:
        load_settings()

    (problem,) = caught.value.problems
    assert problem.startswith("SECRET_KEY is refused because")
    assert reason in problem
    assert "token_urlsafe" in problem
    assert not secret or secret not in problem


def test_settings_production_makes_no_secret_file(
    project_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("APP_ENV", "production")

    with pytest.raises(SettingsError):
        load_settings()

    assert not (project_root / "var").exists()


def test_settings_refused_database_url_hides_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "mysql://me:hun@ter2@db.example/app")

    with pytest.raises(SettingsError) as caught:
        load_settings()

    assert "ter2" not in str(caught.value)
    assert "mysql://me:***@db.example/app" in str(caught.value)


def test_settings_repr_shows_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", GOOD_SECRET)
    monkeypatch.setenv("DATABASE_URL", "postgresql://me:hunter2@db.example/app")

    text = repr(load_settings()) + str(load_settings())

    assert GOOD_SECRET not in text
    assert "hunter2" not in text


def test_settings_relative_sqlite_path_starts_at_the_project_root(
    project_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "sqlite:///data/x.db")
    assert load_settings().database_url == f"sqlite:///{project_root}/data/x.db"

    monkeypatch.setenv("DATABASE_URL", "sqlite:////srv/x.db")
    assert load_settings().database_url == "sqlite:////srv/x.db"


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("https://a.example:443", "https://a.example"),
        ("http://a.example:80", "http://a.example"),
        ("http://[::1]:3000", "http://[::1]:3000"),
        ("*", "*"),
    ],
)
def test_settings_cors_origin_is_kept_as_browsers_send_it(
    monkeypatch: pytest.MonkeyPatch, written: str, kept: str
) -> None:
    monkeypatch.setenv("CORS_ORIGINS", written)

    assert load_settings().cors_origins == (kept,)


def test_settings_are_immutable() -> None:
    settings = load_settings()

    with pytest.raises(ValueError, match="frozen"):
        settings.port = 1  # type: ignore[misc]


def test_publish_token_that_could_be_guessed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIVE_PUBLISH_TOKEN", "short")
    with pytest.raises(SettingsError, match="LIVE_PUBLISH_TOKEN") as refused:
        load_settings()
    assert "short" not in str(refused.value)
    monkeypatch.setenv("LIVE_PUBLISH_TOKEN", "x" * 16)
    assert load_settings().live_publish_token.get_secret_value() == "x" * 16


def test_settings_know_every_field_that_a_proxy_may_be_trusted_in() -> None:
    assert set(config.settings._FIELDS) == set(FIELDS.values())
