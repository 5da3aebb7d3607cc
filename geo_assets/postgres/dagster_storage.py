"""Dagster's storage in PostgreSQL, found by our settings, so that dagster.yaml needs no variable set.

Here: the class that dagster.yaml names, and making Dagster's tables. Not here: which database that is
(`geo_assets.postgres.databases`).
"""

from collections.abc import Mapping
from typing import Any, Self

import psycopg
from dagster import Field
from dagster._config.config_schema import UserConfigSchema
from dagster._core.storage.event_log.schema import SqlEventLogStorageMetadata
from dagster._core.storage.runs.schema import RunStorageSqlMetadata
from dagster._core.storage.schedules.schema import ScheduleStorageSqlMetadata
from dagster._serdes import ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage
from psycopg import sql

from geo_assets.postgres.databases import dagster_url
from geo_assets.postgres.errors import database_errors
from geo_assets.postgres.locks import Lock, take
from geo_assets.postgres.logins import PIPELINE_LOGIN
from geo_assets.settings import Settings

_METADATA = (RunStorageSqlMetadata, SqlEventLogStorageMetadata, ScheduleStorageSqlMetadata)
_OWNED = """
    SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
    AND relowner = current_user::regrole AND relname = ANY(%s)
"""


class PostgresStorage(DagsterPostgresStorage):
    """DagsterPostgresStorage whose URL comes from `dagster_url` when the process starts.

    The reference that a run worker gets holds no URL and no password: the worker asks again.
    """

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """No option but Dagster's own about making tables."""
        return {"should_autocreate_tables": Field(bool, is_required=False, default_value=True)}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]) -> Self:
        """Build it from what dagster.yaml says, making the tables at first."""
        url = dagster_url(Settings())
        if config_value["should_autocreate_tables"]:
            create_dagster_tables(url)
        return cls(postgres_url=url, should_autocreate_tables=False, inst_data=inst_data)


def create_dagster_tables(url: str) -> None:
    """Make Dagster's tables where they are missing; harmless to repeat.

    One process at a time: webserver and daemon start together, and both make them at first
    (Dagster's own retry only knows some of the ways in which that fails).
    """
    with database_errors(), psycopg.connect(url, autocommit=True) as connection:
        take(connection, Lock.DAGSTER_TABLES)
        DagsterPostgresStorage(postgres_url=url, should_autocreate_tables=True)


def give_dagster_tables(owner_url: str) -> None:
    """Let the pipeline's login make Dagster's tables in this database, and own those that its owner made before."""
    names = ["alembic_version", *(name for metadata in _METADATA for name in metadata.tables)]
    to = sql.Identifier(PIPELINE_LOGIN)
    with database_errors(), psycopg.connect(owner_url, autocommit=True) as connection, connection.transaction():
        connection.execute(sql.SQL("GRANT USAGE, CREATE ON SCHEMA public TO {}").format(to))
        for (table,) in connection.execute(_OWNED, (names,)).fetchall():
            statement = sql.SQL("ALTER TABLE public.{} OWNER TO {}")
            connection.execute(statement.format(sql.Identifier(table), to))
