"""What each login and role may do in the catalogue's database: as little as its part needs.

Here: granting it, checking it, and handing the tables of vector files to the pipeline. Not here: the schemas
(`schema`), nor making the logins (`geo_assets.postgres.logins`).

The API's logins are granted what they need directly and are members of nothing, so that SET ROLE leads them nowhere.
"""

from collections.abc import Mapping
from typing import LiteralString

from psycopg import sql

from geo_assets.ledger.database import Connection, read_sql
from geo_assets.names import safe_name
from geo_assets.postgres.logins import (
    FEATURES_LOGIN,
    JOBS_LOGIN,
    LOADER_ROLE,
    LOGINS,
    PIPELINE_LOGIN,
    READER_ROLE,
    STAC_LOGIN,
    TILES_LOGIN,
    TRANSACTIONS_LOGIN,
    ensure_logins,
)

_READ_CATALOGUE: tuple[LiteralString, ...] = (
    "GRANT USAGE ON SCHEMA pgstac TO {}",
    "GRANT SELECT ON ALL TABLES IN SCHEMA pgstac TO {}",
    "ALTER DEFAULT PRIVILEGES FOR ROLE pgstac_admin IN SCHEMA pgstac GRANT SELECT ON TABLES TO {}",  # its partitions
)
_READ_LEDGER: tuple[LiteralString, ...] = (
    "GRANT USAGE ON SCHEMA ledger TO {}",
    "GRANT SELECT ON ALL TABLES IN SCHEMA ledger TO {}",
)
_GRANTS: dict[str, tuple[LiteralString, ...]] = {
    LOADER_ROLE: (
        "GRANT pgstac_ingest TO {}",
        *_READ_LEDGER,
        "GRANT INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA ledger TO {}",
        "GRANT USAGE ON ALL SEQUENCES IN SCHEMA ledger TO {}",
    ),
    READER_ROLE: ("GRANT pgstac_read TO {}", *_READ_LEDGER),
    FEATURES_LOGIN: ("GRANT USAGE ON SCHEMA ledger TO {}", "GRANT SELECT ON ledger.vector_table TO {}"),
    STAC_LOGIN: _READ_CATALOGUE,
    TILES_LOGIN: (
        *_READ_CATALOGUE,
        "GRANT INSERT, UPDATE (lastused, usecount) ON pgstac.searches TO {}",
    ),
    TRANSACTIONS_LOGIN: (
        *_READ_CATALOGUE,
        "GRANT INSERT, UPDATE, DELETE ON pgstac.collections, pgstac.items, pgstac.items_staging, "
        "pgstac.items_staging_ignore, pgstac.items_staging_upsert, pgstac.base_items, pgstac.partition_stats TO {}",
        "GRANT DELETE ON pgstac.format_item_cache TO {}",
        "GRANT USAGE ON ALL SEQUENCES IN SCHEMA pgstac TO {}",
        "GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA pgstac TO {}",
        "GRANT USAGE ON SCHEMA ledger TO {}",
        "GRANT SELECT ON ledger.source TO {}",
        "GRANT SELECT (collection_id, source) ON ledger.item TO {}",
        "GRANT INSERT ON ledger.api_write TO {}",
    ),
    JOBS_LOGIN: (*_READ_CATALOGUE, *_READ_LEDGER, "GRANT INSERT, UPDATE ON ledger.api_job TO {}"),
    PIPELINE_LOGIN: (f"GRANT {LOADER_ROLE} TO {{}}",),
}
_ON_DATABASE: dict[str, LiteralString] = {
    **dict.fromkeys(LOGINS, "GRANT CONNECT ON DATABASE {} TO {}"),
    FEATURES_LOGIN: "GRANT CONNECT, TEMPORARY ON DATABASE {} TO {}",
    TILES_LOGIN: "GRANT CONNECT, TEMPORARY ON DATABASE {} TO {}",
    PIPELINE_LOGIN: "GRANT CONNECT, TEMPORARY, CREATE ON DATABASE {} TO {}",
}
# Anybody may make large objects, in a database that one can only read too; where we may, we shut that.
_LARGE_OBJECTS: LiteralString = (
    "REVOKE EXECUTE ON FUNCTION lo_creat(integer), lo_create(oid), lo_from_bytea(oid, bytea) FROM PUBLIC"
)


def make_roles(connection: Connection, passwords: Mapping[str, str]) -> None:
    """Make the roles and logins that are missing, and set these passwords."""
    for role in (LOADER_ROLE, READER_ROLE):
        if connection.execute("SELECT FROM pg_roles WHERE rolname = %s", (role,)).fetchone() is None:
            _run(connection, "CREATE ROLE {} NOLOGIN", role)
    ensure_logins(connection, passwords)


def grant_all(connection: Connection, passwords: Mapping[str, str]) -> list[str]:
    """Make roles and logins, with these passwords, and grant each what it needs; their names. Idempotent."""
    make_roles(connection, passwords)
    for role, statements in _GRANTS.items():
        for statement in statements:
            _run(connection, statement, role)
    for login, statement in _ON_DATABASE.items():
        _run(connection, statement, connection.info.dbname, login)
    if _is_superuser(connection):
        connection.execute(_LARGE_OBJECTS)
    else:  # who is no superuser hands over only what the other may have too
        for role in (LOADER_ROLE, READER_ROLE, PIPELINE_LOGIN):
            _run(connection, "GRANT {} TO CURRENT_USER", role)
    for row in connection.execute(read_sql("select_made_tables")).fetchall():
        if not row["is_ours"]:
            continue
        _run(connection, "GRANT USAGE ON SCHEMA {} TO {}", row["table_schema"], FEATURES_LOGIN)
        table = sql.Identifier(row["table_schema"], row["table_name"])
        connection.execute(sql.SQL("GRANT SELECT ON {} TO {}").format(table, sql.Identifier(FEATURES_LOGIN)))
    return [LOADER_ROLE, READER_ROLE, *LOGINS]


def give_tables(connection: Connection) -> int:
    """Make the pipeline's login the owner of those tables of vector files that are ours; how many."""
    made = connection.execute(read_sql("select_made_tables")).fetchall()
    names = [(row["table_schema"], row["table_name"]) for row in made]
    names += [(schema, safe_name(f"{table}_originals")) for schema, table in names]
    bound = {"schemas": [schema for schema, _ in names], "names": [name for _, name in names]}
    owned = connection.execute(read_sql("select_tables_to_give"), bound).fetchall()
    for schema in sorted({row["schema"] for row in owned}):
        _run(connection, "GRANT USAGE, CREATE ON SCHEMA {} TO {}", schema, PIPELINE_LOGIN)
    for row in owned:
        statement = sql.SQL("ALTER TABLE {} OWNER TO {}")
        table = sql.Identifier(row["schema"], row["name"])
        connection.execute(statement.format(table, sql.Identifier(PIPELINE_LOGIN)))
    return len(owned)


def login_checks(connection: Connection) -> dict[str, bool]:
    """Whether the logins are what they should be: no superusers, and members of nothing but their one role."""
    rows = connection.execute(read_sql("select_memberships"), {"logins": list(LOGINS)}).fetchall()
    expected = {login: [LOADER_ROLE] if login == PIPELINE_LOGIN else [] for login in LOGINS}
    return {
        "logins are there": {row["login"] for row in rows} == set(LOGINS),
        "logins can take no other role": all(
            not row["is_strong"] and row["roles"] == expected[row["login"]] for row in rows
        ),
    }


def _is_superuser(connection: Connection) -> bool:
    row = connection.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user").fetchone()
    return bool(row and row["rolsuper"])


def _run(connection: Connection, statement: LiteralString, *names: str) -> None:
    connection.execute(sql.SQL(statement).format(*(sql.Identifier(name) for name in names)))
