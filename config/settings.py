"""The settings: their names, units, rules and defaults, all in one model.

`docs/settings.md` is written from this model (`python -m config.reference`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal

import limits
from pydantic import Field, JsonValue, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from config.errors import SettingsError, settings_error
from config.secret_key import MIN_SECRET_BYTES, development_secret, weakness

PROJECT_ROOT = Path(__file__).resolve().parent.parent
VAR_DIR = PROJECT_ROOT / "var"

_MIN_TOKEN_CHARS = 16
_MAKE_SECRET = "python3 -c 'import secrets; print(secrets.token_urlsafe(48))'"
_HOST_PATTERN = r"(?:[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\])"
_HOST = re.compile(rf"\.?{_HOST_PATTERN}")
# An origin as browsers send it: RFC 6454, section 6.2.
_ORIGIN = re.compile(rf"https?://{_HOST_PATTERN}(?::[1-9][0-9]{{0,4}})?")
# What `flasknado.http.forwarded` knows; this package imports nothing of ours.
_FIELDS = ("proto", "for", "host", "port", "prefix", "request-id", "client-cert", "forwarded")
_POSTGRESQL_DRIVER = "postgresql+psycopg"

Networks = tuple[IPv4Network | IPv6Network, ...]


def _setting(
    default: Any = ...,
    *,
    unit: str,
    meaning: str,
    rule: str,
    mend: str,
    shown_default: str | None = None,
    secret: bool = False,
    **constraints: Any,
) -> Any:
    """Declare a setting, with the text of its table row and its error."""
    if "default_factory" not in constraints:
        constraints["default"] = default
    extra: dict[str, JsonValue] = {
        "unit": unit,
        "rule": rule,
        "mend": mend,
        "shown_default": shown_default,
        "secret": secret,
    }
    return Field(description=meaning, json_schema_extra=extra, **constraints)


def _limit(default: str, meaning: str) -> Any:
    """Declare a limit on attempts, in the notation of the `limits` library."""
    return _setting(
        default,
        unit="attempts per time",
        meaning=f"{meaning} Further ones get 429 until the time has passed.",
        rule="a number of attempts and a time, such as 10 per 10 minutes, or off",
        mend=f"write it as {default}, or off for no limit",
    )


def _default_secret(validated: dict[str, Any]) -> SecretStr:
    if validated["app_env"] == "production":
        return SecretStr("")
    return SecretStr(development_secret(VAR_DIR / "secret_key"))


class Settings(BaseSettings):
    """The application's settings; immutable, and safe to read on any thread.

    Each field is read from the variable of the same name in capitals: first from the
    environment, then from `.env` in the project's root. An empty variable counts as unset.
    """

    model_config = SettingsConfigDict(
        env_file=PROJECT_ROOT / ".env",
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        extra="ignore",  # a .env file serves other programs as well
        frozen=True,
        hide_input_in_errors=True,
    )

    app_env: Literal["development", "production"] = _setting(
        "development",
        unit="name",
        meaning="The environment. Production requires a real `SECRET_KEY` and sends"
        " its cookies over HTTPS only.",
        rule="development or production",
        mend="set APP_ENV=production on a server, and nothing on your own machine",
    )
    secret_key: SecretStr = _setting(
        unit="text",
        meaning="Signs session cookies and tokens. Anyone who has it can impersonate any user.",
        rule=f"random text of at least {MIN_SECRET_BYTES} bytes in production",
        mend=f"set SECRET_KEY to what {_MAKE_SECRET} prints",
        shown_default="development: made once in `var/secret_key`; production: none",
        secret=True,
        default_factory=_default_secret,
        validate_default=True,
    )
    database_url: str = _setting(
        f"sqlite:///{VAR_DIR / 'flasknado.db'}",
        unit="URL",
        meaning="The database: a SQLite file (relative paths start at the project's root) or"
        " PostgreSQL.",
        rule="the URL of a SQLite file or of a PostgreSQL database",
        mend="set DATABASE_URL=sqlite:///var/flasknado.db or"
        " DATABASE_URL=postgresql://user:password@host/name",
        shown_default="`sqlite:///var/flasknado.db`",
        repr=False,
    )
    database_connect_timeout_s: int = _setting(
        5,
        unit="s",
        meaning="How long PostgreSQL may take to accept a connection.",
        rule="a whole number from 1 to 60",
        mend="set DATABASE_CONNECT_TIMEOUT_S=5",
        ge=1,
        le=60,
    )
    database_statement_timeout_s: int = _setting(
        30,
        unit="s",
        meaning="How long PostgreSQL may work on a statement; 0 means no limit."
        " Does not apply to migrations.",
        rule="a whole number from 0 to 3600",
        mend="set DATABASE_STATEMENT_TIMEOUT_S=30, or 0 for what the server has set",
        ge=0,
        le=3600,
    )
    database_silence_timeout_s: int = _setting(
        20,
        unit="s",
        meaning="How long an unreachable PostgreSQL server may stay silent before its connections"
        " are dropped (TCP keep-alive and `TCP_USER_TIMEOUT`).",
        rule="a whole number from 6 to 600",
        mend="set DATABASE_SILENCE_TIMEOUT_S=20",
        ge=6,
        le=600,
    )
    database_pool_timeout_s: int = _setting(
        10,
        unit="s",
        meaning="How long a request waits for a connection before it gets 503. There are"
        " `THREADS` + 8 connections.",
        rule="a whole number from 1 to 300",
        mend="set DATABASE_POOL_TIMEOUT_S=10",
        ge=1,
        le=300,
    )
    host: str = _setting(
        "127.0.0.1",
        unit="address",
        meaning="The address to listen on; `0.0.0.0` means all IPv4 interfaces.",
        rule="one host name or address without scheme and port",
        mend="set HOST=127.0.0.1, or HOST=0.0.0.0 to be reached from other machines",
        pattern=r"^[A-Za-z0-9:._%-]+$",
        max_length=255,
    )
    port: int = _setting(
        8000,
        unit="TCP port",
        meaning="The port to listen on; 0 means any free port.",
        rule="a whole number from 0 to 65535",
        mend="set PORT=8000, or PORT=0 for any free port",
        ge=0,
        le=65535,
    )
    workers: int = _setting(
        1,
        unit="processes",
        meaning="The number of server processes, which share the port.",
        rule="a whole number from 1 to 256",
        mend="set WORKERS to the number of processor cores",
        ge=1,
        le=256,
    )
    threads: int = _setting(
        16,
        unit="threads a process",
        meaning="The number of threads that run Flask views in each process.",
        rule="a whole number from 1 to 1024",
        mend="set THREADS=16",
        ge=1,
        le=1024,
    )
    trusted_proxies: Annotated[Networks, NoDecode] = _setting(
        (),
        unit="CIDR list",
        meaning="Networks of the proxies to trust, for what `TRUSTED_FIELDS` names.",
        rule="networks in CIDR notation separated by commas",
        mend="set TRUSTED_PROXIES=127.0.0.1/32,10.0.0.0/8, or leave it empty to trust no proxy",
        shown_default="none",
    )
    trusted_fields: Annotated[tuple[str, ...], NoDecode] = _setting(
        ("proto",),
        unit="name list",
        meaning="What those proxies are trusted for. Name only what they set on every request:"
        " everything else comes from the client.",
        rule="names separated by commas, of proto, for, host, port, prefix, request-id,"
        " client-cert and forwarded",
        mend="set TRUSTED_FIELDS=for,proto,host,request-id if the proxy sets X-Forwarded-For,"
        " X-Forwarded-Proto, X-Forwarded-Host and X-Request-ID",
        shown_default="`proto`",
    )
    trusted_hosts: Annotated[tuple[str, ...], NoDecode] = _setting(
        (),
        unit="host list",
        meaning="Host names that the server answers for; a leading dot includes subdomains."
        " Other hosts get 400.",
        rule="host names separated by commas, without scheme and port",
        mend="set TRUSTED_HOSTS=example.org,.example.net, or leave it empty to accept any host",
        shown_default="any",
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode] = _setting(
        (),
        unit="origin list",
        meaning="Origins whose pages may use the API and the live events in a browser; with `*`,"
        " pages of any origin may, anonymously unless they have a token.",
        rule="origins separated by commas (scheme, host and port, without a path), or *",
        mend="set CORS_ORIGINS=https://example.org,http://localhost:3000, or leave it empty for"
        " none",
        shown_default="none",
    )
    max_body_mb: int = _setting(
        16,
        unit="MiB",
        meaning="The largest request body; larger ones get 413. The application's own views"
        " accept less, see below.",
        rule="a whole number from 1 to 10240",
        mend="set MAX_BODY_MB=16",
        ge=1,
        le=10240,
    )
    login_limit_per_address: str = _limit(
        "50 per 10 minutes", "Wrong passwords from one address (for IPv6: from one /64 network)."
    )
    login_limit_per_account_and_address: str = _limit(
        "10 per 10 minutes", "Wrong passwords for one account from one address."
    )
    login_limit_per_account: str = _limit(
        "100 per hour",
        "Wrong passwords for one account from anywhere. Addresses from which its owner logged"
        " in within the last 30 days are exempt.",
    )
    register_limit_per_address: str = _limit("60 per hour", "Accounts created from one address.")
    api_write_limit: str = _limit(
        "600 per 10 minutes",
        "Changes by one account, or from one address without an account: through the API, with"
        " the pages' forms and in the chat.",
    )
    upload_dir: Path = _setting(
        VAR_DIR / "uploads",
        unit="folder",
        meaning="Where attachments are kept. Servers on several machines need a common folder.",
        rule="a folder that the server may write to; relative paths start at the project's root",
        mend="set UPLOAD_DIR=var/uploads",
        shown_default="`var/uploads`",
    )
    transaction_warning_s: float = _setting(
        5.0,
        unit="s",
        meaning="How long a request or stream may hold a database transaction before the log says"
        " so once, with the view and the statement; 0 means never.",
        rule="a number from 0 to 3600",
        mend="set TRANSACTION_WARNING_S=5",
        ge=0,
        le=3600,
    )
    live_publish_token: SecretStr = _setting(
        SecretStr(""),
        unit="text",
        meaning="Lets other programs publish live events with `POST /live/publish`. Anyone who has"
        " it can send any event to any reader.",
        rule="random text of at least 16 characters, or empty",
        mend=f"set LIVE_PUBLISH_TOKEN to what {_MAKE_SECRET} prints, or leave it empty to disable"
        " publishing over HTTP",
        shown_default="none",
        secret=True,
    )
    log_level: Literal["debug", "info", "warning", "error", "critical"] = _setting(
        "info",
        unit="name",
        meaning="The lowest level of messages to log.",
        rule="debug, info, warning, error or critical",
        mend="set LOG_LEVEL=info",
    )
    log_format: Literal["text", "json"] = _setting(
        "text",
        unit="name",
        meaning="`text` for people, `json` (one object per line) for log collectors.",
        rule="text or json",
        mend="set LOG_FORMAT=text",
    )

    access_log: Literal["off", "text", "json"] = _setting(
        "off",
        unit="name",
        meaning="The access log on standard output: `text` or `json`, one line per request.",
        rule="off, text or json",
        mend="set ACCESS_LOG=text",
    )

    @property
    def max_body_bytes(self) -> int:
        """`max_body_mb` in bytes."""
        return self.max_body_mb * 1024 * 1024

    @property
    def production(self) -> bool:
        """Whether the application serves the public."""
        return self.app_env == "production"

    @field_validator("app_env", "log_level", "log_format", "access_log", mode="before")
    @classmethod
    def _names_have_no_case(cls, value: Any) -> Any:
        return value.strip().lower() if isinstance(value, str) else value

    @field_validator("secret_key", mode="after")
    @classmethod
    def _production_needs_a_secret(cls, value: SecretStr, info: ValidationInfo) -> SecretStr:
        if info.data.get("app_env") == "production":
            problem = weakness(value.get_secret_value())
            if problem:
                raise ValueError(problem)
        return value

    @field_validator("live_publish_token", mode="after")
    @classmethod
    def _token_cannot_be_guessed(cls, value: SecretStr) -> SecretStr:
        if 0 < len(value.get_secret_value()) < _MIN_TOKEN_CHARS:
            raise ValueError("it could be guessed")
        return value

    @field_validator(
        "login_limit_per_address",
        "login_limit_per_account_and_address",
        "login_limit_per_account",
        "register_limit_per_address",
        "api_write_limit",
        mode="after",
    )
    @classmethod
    def _limits(cls, value: str) -> str:
        if value.strip().lower() == "off":
            return ""
        try:
            items = limits.parse_many(value)
        except ValueError:
            raise ValueError("it is not a limit") from None
        if any(item.amount < 1 or item.multiples < 1 for item in items):
            raise ValueError("nobody could log in or register")
        return value

    @field_validator("database_url", mode="after")
    @classmethod
    def _database_is_of_a_kind_we_know(cls, value: str) -> str:
        scheme, separator, rest = value.strip().partition("://")
        kind = scheme.split("+")[0]
        if not separator:
            raise ValueError("it is not a URL")
        if kind in ("postgres", "postgresql"):
            driver = scheme if "+" in scheme else _POSTGRESQL_DRIVER
            return f"{driver}://{rest}"
        if kind != "sqlite":
            raise ValueError(f"{kind!r} is not supported")
        path = rest.removeprefix("/").partition("?")[0]
        if not rest.startswith("/") or path in ("", ":memory:"):
            raise ValueError("each process and thread would have its own database")
        if not path.startswith(("/", "file:")):
            return f"{scheme}:///{PROJECT_ROOT}/{rest.removeprefix('/')}"
        return f"{scheme}://{rest}"

    @field_validator("upload_dir", mode="after")
    @classmethod
    def _folder_is_absolute(cls, value: Path) -> Path:
        return PROJECT_ROOT / value

    @field_validator("trusted_proxies", mode="before")
    @classmethod
    def _networks(cls, value: Any) -> Any:
        networks = []
        for item in _items(value):
            try:
                networks.append(ip_network(item))
            except ValueError as error:
                raise ValueError(str(error)) from error
        return tuple(networks)

    @field_validator("trusted_fields", mode="before")
    @classmethod
    def _fields(cls, value: Any) -> Any:
        fields = tuple(item.lower() for item in _items(value))
        for field in fields:
            if field not in _FIELDS:
                raise ValueError(f"{field!r} is not a trusted field")
        if fields == ("forwarded",):
            raise ValueError("forwarded alone trusts nothing")
        return fields

    @field_validator("trusted_hosts", mode="before")
    @classmethod
    def _hosts(cls, value: Any) -> Any:
        hosts = tuple(item.lower() for item in _items(value))
        for host in hosts:
            if not _HOST.fullmatch(host):
                raise ValueError(f"{host!r} is not a host name")
        return hosts

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _origins(cls, value: Any) -> Any:
        origins = tuple(item.lower() for item in _items(value))
        for origin in origins:
            if origin == "*":
                if len(origins) > 1:
                    raise ValueError("* already includes the other origins")
            elif not _ORIGIN.fullmatch(origin):
                raise ValueError(f"{origin!r} is not an origin")
        return tuple(_without_default_port(origin) for origin in origins)


def load_settings() -> Settings:
    """Read the settings from the environment and `.env`.

    Raises:
        SettingsError: with one sentence for each bad variable; it shows no secret.
    """
    try:
        return Settings()
    except ValidationError as error:
        raise settings_error(error, Settings.model_fields) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"{PROJECT_ROOT / '.env'} cannot be read ({error}): make it a readable file of"
            " NAME=value lines in UTF-8, or delete it."
        ) from error


def _items(value: Any) -> Iterable[Any]:
    if isinstance(value, str):
        return [item.strip() for item in value.split(",") if item.strip()]
    return tuple(value)


def _without_default_port(origin: str) -> str:
    """Return `origin` as a browser writes it, without a port that the scheme implies."""
    return origin.removesuffix(":443" if origin.startswith("https:") else ":80")
