"""Which database a process talks to: the user's own server where the environment names one, else ours.

Here: that choice for the catalogue and for Dagster. Not here: the embedded cluster itself
(`geo_assets.embedded`), nor what stands in the databases.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import sql

from geo_assets.embedded import EmbeddedPostgres
from geo_assets.settings import Settings

CATALOGUE_DATABASE = "geo_assets"
DAGSTER_DATABASE = "dagster"
READER_ROLE = "geo_assets_reader"
"""May read what geo_assets makes."""
LOADER_ROLE = "geo_assets_loader"
"""May write items and the ledger."""
API_ROLE = "geo_assets_api"
"""May read what the reader may, and keep the ledger of the API's jobs."""


def embedded_postgres(settings: Settings) -> EmbeddedPostgres:
    """The embedded cluster of this state folder, running or not."""
    return EmbeddedPostgres(settings.state_folder)


def uses_embedded(settings: Settings) -> bool:
    """Whether the catalogue lies in the embedded cluster; Dagster's database then does so too, unless named."""
    return settings.database_url is None


def catalogue_url(settings: Settings) -> str:
    """Where PgSTAC and the ledger are; raises DatabaseUnavailable where the embedded cluster does not run."""
    if settings.database_url is not None:
        return settings.database_url.get_secret_value()
    return embedded_postgres(settings).url(CATALOGUE_DATABASE)


def dagster_url(settings: Settings) -> str:
    """Where Dagster's runs and events are; raises DatabaseUnavailable as `catalogue_url` does.

    On a server of the user's own that is the catalogue's database, of which Dagster keeps to schema public.
    """
    if settings.dagster_database_url is not None:
        return settings.dagster_database_url.get_secret_value()
    if settings.database_url is not None:
        return settings.database_url.get_secret_value()
    return embedded_postgres(settings).url(DAGSTER_DATABASE)


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
    """Make both databases in the running cluster.

    Dagster commits some 13 events a step, each waiting for the disk: its database may lose the last
    moment of its log in a power cut, and halves the time of a run. The catalogue's may not.
    """
    cluster.ensure_databases(catalogue, dagster)
    with psycopg.connect(cluster.url(dagster), autocommit=True) as connection:
        relax = sql.SQL("ALTER DATABASE {} SET synchronous_commit = off")
        connection.execute(relax.format(sql.Identifier(dagster)))
