"""The logins of geo_assets: one for each part, which can become no other.

Here: their names, how each session of one begins, their passwords, and making them. Not here: what each may do
(`geo_assets.ledger.roles`), nor which server they are of (`geo_assets.postgres.databases`).
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote, urlsplit, urlunsplit

import psycopg
from psycopg import sql

READER_ROLE = "geo_assets_reader"
"""No login: may read what geo_assets makes; for people's own logins."""
LOADER_ROLE = "geo_assets_loader"
"""No login: may write items and the ledger."""

PIPELINE_LOGIN = "geo_assets_pipeline"
"""Runs, sensors and commands: acts as the loader, and owns the tables of vector files."""
FEATURES_LOGIN = "geo_assets_features"
"""/features: reads the tables of vector files."""
TILES_LOGIN = "geo_assets_tiles"
"""/raster: reads the catalogue, and registers searches."""
STAC_LOGIN = "geo_assets_stac"
"""Reads of /stac."""
TRANSACTIONS_LOGIN = "geo_assets_transactions"
"""Writes of /stac, into collections of no source, and who wrote what."""
JOBS_LOGIN = "geo_assets_jobs"
"""/api: reads the catalogue and the ledger, and writes its jobs."""

API_LOGINS = (FEATURES_LOGIN, TILES_LOGIN, STAC_LOGIN, TRANSACTIONS_LOGIN, JOBS_LOGIN)
LOGINS = (*API_LOGINS, PIPELINE_LOGIN)

STATEMENT_SECONDS = 30
_BOUNDED = {
    "statement_timeout": f"{STATEMENT_SECONDS}s",
    "idle_in_transaction_session_timeout": "60s",
    "lock_timeout": "15s",
}
_READING = {**_BOUNDED, "default_transaction_read_only": "on"}
# A session can change its own: privileges are what holds, these keep an honest query from going on for ever.
SESSIONS: dict[str, dict[str, str]] = {
    FEATURES_LOGIN: _READING,
    STAC_LOGIN: _READING,
    TILES_LOGIN: _BOUNDED,  # PgSTAC finds the items of a mosaic by a temporary table
    TRANSACTIONS_LOGIN: _BOUNDED,
    JOBS_LOGIN: {**_BOUNDED, "statement_timeout": "120s"},
    PIPELINE_LOGIN: {},
}
_MAKE = "CREATE ROLE {} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS"


def ensure_logins(connection: psycopg.Connection[Any], passwords: Mapping[str, str]) -> None:
    """Make the logins that are missing, with what their sessions begin with, and set these passwords."""
    for login in LOGINS:
        name = sql.Identifier(login)
        found = connection.execute("SELECT rolconfig AS config FROM pg_roles WHERE rolname = %s", (login,)).fetchone()
        if found is None:
            connection.execute(sql.SQL(_MAKE).format(name))
        config = (found["config"] if isinstance(found, dict) else found[0]) if found is not None else None
        for setting, value in SESSIONS[login].items():
            if f"{setting}={value}" not in (config or ()):
                statement = sql.SQL("ALTER ROLE {} SET {} = {}")
                connection.execute(statement.format(name, sql.Identifier(setting), sql.Literal(value)))
        if login in passwords:
            # Encrypted here, so that no log of the server has it.
            secret = connection.pgconn.encrypt_password(passwords[login].encode(), login.encode(), b"scram-sha-256")
            connection.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(name, sql.Literal(secret.decode())))


def with_login(url: str, login: str) -> str:
    """``url`` for another login, whose password is derived from that of ``url``: who knows it learns no other's."""
    parts = urlsplit(url)
    place, password = parts.netloc.rpartition("@")[2], password_of(url)
    derived = "" if password is None else f":{quote(_derive(password, login), safe='')}"
    return urlunsplit(parts._replace(netloc=f"{login}{derived}@{place}"))


def password_of(url: str) -> str | None:
    """The password in a URL, if there is one."""
    password = urlsplit(url).password
    return None if password is None else unquote(password)


def user_of(url: str) -> str | None:
    """The user that a URL names, if any."""
    return urlsplit(url).username


def _derive(password: str, login: str) -> str:
    digest = hmac.new(password.encode(), f"geo_assets: {login}".encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")
