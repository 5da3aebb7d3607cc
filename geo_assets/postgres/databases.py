"""Which database a process talks to: the user's own server where the environment names one, else ours.

Here: that choice for the catalogue and for Dagster. Not here: the embedded cluster itself
(`geo_assets.postgres.embedded`), nor what is in the databases.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from geo_assets.errors import InvalidConfiguration
from geo_assets.postgres.embedded import EmbeddedPostgres
from geo_assets.postgres.errors import database_errors
from geo_assets.postgres.logins import API_LOGINS, PIPELINE_LOGIN, ensure_logins, password_of, user_of, with_login
from geo_assets.settings import Settings

CATALOGUE_DATABASE = "geo_assets"
DAGSTER_DATABASE = "dagster"


def embedded_postgres(settings: Settings) -> EmbeddedPostgres:
    """The embedded cluster of this state folder, running or not."""
    return EmbeddedPostgres(settings.state_folder)


def uses_embedded(settings: Settings) -> bool:
    """Whether the catalogue lies in the embedded cluster; Dagster's database then does so too, unless named."""
    return all(url is None for url in (settings.database_url, settings.owner_database_url, settings.api_database_url))


def catalogue_url(settings: Settings) -> str:
    """Where PgSTAC and the ledger are, for runs, sensors and commands: they act as the pipeline's login.

    Raises DatabaseUnavailable where the embedded cluster does not run.
    """
    if settings.database_url is not None:
        return settings.database_url.get_secret_value()
    if not uses_embedded(settings):
        raise InvalidConfiguration(
            "GEO_ASSETS_DATABASE_URL is not set, though a URL of the owner or of the API is.",
            remedy=f"Set GEO_ASSETS_DATABASE_URL to the same database with the user {PIPELINE_LOGIN}.",
        )
    return embedded_postgres(settings).pipeline_url(CATALOGUE_DATABASE)


def owner_url(settings: Settings) -> str:
    """The same database for whoever owns it, who migrates, backs up and restores. Raises as `catalogue_url` does."""
    if uses_embedded(settings):
        return embedded_postgres(settings).url(CATALOGUE_DATABASE)
    if settings.owner_database_url is not None:
        return settings.owner_database_url.get_secret_value()
    return catalogue_url(settings)


def api_url(settings: Settings, login: str) -> str:
    """The same database for one of the API's logins. Raises as `catalogue_url` does."""
    if settings.api_database_url is not None:
        return with_login(settings.api_database_url.get_secret_value(), login)
    return with_login(catalogue_url(settings), login)


def dagster_url(settings: Settings) -> str:
    """Where Dagster's runs and events are; raises as `catalogue_url` does.

    On a server of the user's own that is the catalogue's database, of which Dagster keeps to schema public.
    """
    if settings.dagster_database_url is not None:
        return settings.dagster_database_url.get_secret_value()
    if uses_embedded(settings):
        return embedded_postgres(settings).pipeline_url(DAGSTER_DATABASE)
    return catalogue_url(settings)


def dagster_owner_url(settings: Settings) -> str | None:
    """Dagster's database for its owner, where its tables are to be the pipeline's login's; else None.

    A database of Dagster's own on the user's server is made for whoever its URL names: nothing is handed over.
    """
    used = dagster_url(settings)
    if user_of(used) != PIPELINE_LOGIN:
        return None
    if uses_embedded(settings):
        return None if settings.dagster_database_url is not None else embedded_postgres(settings).url(DAGSTER_DATABASE)
    owner = owner_url(settings)
    return owner if _place_of(owner) == _place_of(used) else None


def _place_of(url: str) -> tuple[str | None, int, str]:
    parts = urlsplit(url)
    return parts.hostname, parts.port or 5432, parts.path


def is_pipelines(settings: Settings) -> bool:
    """Whether runs act as the pipeline's login, and not as one of the user's own."""
    return user_of(catalogue_url(settings)) == PIPELINE_LOGIN


def login_passwords(settings: Settings) -> dict[str, str]:
    """The passwords of the logins that these settings name; none for those whose URL has none."""
    urls = {login: api_url(settings, login) for login in API_LOGINS}
    if is_pipelines(settings):
        urls[PIPELINE_LOGIN] = catalogue_url(settings)
    found = {login: password_of(url) for login, url in urls.items()}
    return {login: password for login, password in found.items() if password}


@contextmanager
def databases_running(settings: Settings) -> Iterator[None]:
    """Have the databases there inside the block; stops the embedded cluster if the block started it."""
    if not uses_embedded(settings):
        yield
        return
    with embedded_postgres(settings).running() as cluster:
        ensure_embedded_databases(cluster)
        yield


def ensure_embedded_databases(
    cluster: EmbeddedPostgres, *, catalogue: str = CATALOGUE_DATABASE, dagster: str = DAGSTER_DATABASE
) -> None:
    """Make the logins and both databases in the running cluster.

    Dagster commits some 13 events a step, each waiting for the disk: its database may lose the last
    moment of its log in a power cut, and halves the time of a run. The catalogue's may not.
    """
    cluster.ensure_databases(catalogue, dagster)
    pipeline = cluster.pipeline_url(catalogue)
    urls = {PIPELINE_LOGIN: pipeline, **{login: with_login(pipeline, login) for login in API_LOGINS}}
    with database_errors(), psycopg.connect(cluster.url("postgres"), autocommit=True) as connection:
        ensure_logins(connection, {login: str(password_of(url)) for login, url in urls.items()})
    with database_errors(), psycopg.connect(cluster.url(dagster), autocommit=True) as connection:
        relax = sql.SQL("ALTER DATABASE {} SET synchronous_commit = off")
        connection.execute(relax.format(sql.Identifier(dagster)))
