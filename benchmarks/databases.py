"""Fresh databases for each run, copied from migrated templates so that no run pays for a migration."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from geo_assets.postgres.dagster_storage import create_dagster_tables, give_dagster_tables
from geo_assets.postgres.databases import ensure_embedded_databases
from geo_assets.postgres.embedded import EmbeddedPostgres
from geo_assets.postgres.logins import PIPELINE_LOGIN
from geo_assets.resources.database import Database

_CATALOGUE_TEMPLATE = "catalogue_template"
_DAGSTER_TEMPLATE = "dagster_template"


@dataclass(frozen=True, slots=True)
class Databases:
    """The URLs of one run's databases."""

    catalogue_url: str
    """For the login of runs and commands."""
    dagster_url: str
    owner_url: str
    """The catalogue's for its owner: what peers work as."""

    def event_rows(self) -> int:
        """How many rows Dagster's event log has."""
        return _number(self.dagster_url, "SELECT count(*) FROM event_logs")

    def mapped_steps(self, op: str) -> tuple[int, float]:
        """How many mapped steps of ``op`` succeeded, and the seconds between their first and last event."""
        row = _row(
            self.dagster_url,
            "SELECT count(*) FILTER (WHERE dagster_event_type = 'STEP_SUCCESS'),"
            " extract(epoch FROM max(timestamp) - min(timestamp)) FROM event_logs WHERE step_key LIKE %s",
            f"{op}[%",
        )
        return int(row[0]), float(row[1])

    def table_bytes(self) -> dict[str, int]:
        """The size of tables and indexes, by what they are for."""
        return {
            "ledger": _schema_bytes(self.catalogue_url, "ledger"),
            "pgstac": _schema_bytes(self.catalogue_url, "pgstac"),
            "dagster": _schema_bytes(self.dagster_url, "public"),
        }


def make_templates(cluster: EmbeddedPostgres) -> None:
    """Migrate the two databases that all others are copies of."""
    ensure_embedded_databases(cluster, catalogue=_CATALOGUE_TEMPLATE, dagster=_DAGSTER_TEMPLATE)
    schema = Database(database_url=cluster.url(_CATALOGUE_TEMPLATE)).schemas
    schema.install()
    schema.grant_roles()
    give_dagster_tables(cluster.url(_DAGSTER_TEMPLATE))
    create_dagster_tables(cluster.pipeline_url(_DAGSTER_TEMPLATE))


@contextmanager
def fresh_databases(cluster: EmbeddedPostgres) -> Iterator[Databases]:
    """A migrated, empty catalogue and a Dagster database, gone after the block.

    Both are set up as `geo_assets.postgres.databases.ensure_embedded_databases` sets up a user's own, and written to
    disk before the block, so that no run pays for another's checkpoint.
    """
    names = {template: f"run_{uuid.uuid4().hex}" for template in (_CATALOGUE_TEMPLATE, _DAGSTER_TEMPLATE)}
    with psycopg.connect(cluster.url("postgres"), autocommit=True) as connection:
        for template, name in names.items():
            _execute(connection, "CREATE DATABASE {} TEMPLATE {}", name, template)
        _execute(connection, "ALTER DATABASE {} SET synchronous_commit = off", names[_DAGSTER_TEMPLATE])
        _execute(connection, "GRANT CREATE ON DATABASE {} TO {}", names[_CATALOGUE_TEMPLATE], PIPELINE_LOGIN)
        connection.execute("CHECKPOINT")
        try:
            catalogue, dagster = names[_CATALOGUE_TEMPLATE], names[_DAGSTER_TEMPLATE]
            yield Databases(cluster.pipeline_url(catalogue), cluster.pipeline_url(dagster), cluster.url(catalogue))
        finally:
            for name in names.values():
                _execute(connection, "DROP DATABASE {} WITH (FORCE)", name)


def _execute(connection: "psycopg.Connection[tuple[object, ...]]", statement: LiteralString, *names: str) -> None:
    connection.execute(sql.SQL(statement).format(*(sql.Identifier(name) for name in names)))


def _schema_bytes(url: str, schema: str) -> int:
    return _number(
        url,
        "SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint FROM pg_class"
        " WHERE relkind IN ('r', 'm') AND relnamespace = %s::regnamespace",
        schema,
    )


def _number(url: str, statement: LiteralString, *values: str) -> int:
    return int(_row(url, statement, *values)[0])


def _row(url: str, statement: LiteralString, *values: str) -> tuple[Any, ...]:
    with psycopg.connect(url) as connection:
        row = connection.execute(statement, values).fetchone()
    assert row is not None
    return row
