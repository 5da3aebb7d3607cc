"""Staged rows become a table that people read: constraints, indexes, comments, and the swap.

Here: statements on one table, in the transaction that is open. Not here: the order of things (`vectors.load`).
"""

from collections.abc import Mapping
from typing import Any, LiteralString

from psycopg import Cursor, sql
from psycopg.rows import TupleRow

from geo_assets.ledger.database import read_sql
from geo_assets.names import BLOB, FID, GEOMETRY, safe_name
from geo_assets.postgres.logins import FEATURES_LOGIN, READER_ROLE
from geo_assets.sources.vector_rules import TableRule
from geo_assets.vectors.copy import Connection, CopiedLayer
from geo_assets.vectors.errors import ColumnsDiffer, DuplicateKey, MissingKey

Executor = Connection | Cursor[TupleRow]


def finish_table(connection: Connection, copied: CopiedLayer, rule: TableRule, *, schema: str, staging: str) -> int:
    """Index and analyse the staged table, where it is to become the table itself; how many duplicates went.

    For append and upsert it is only checked: that every row has a key, and none the same.
    """
    names = {column.original: column.name for column in copied.columns}
    if rule.mode == "upsert":
        _check_keys(connection, copied, [names[each] for each in rule.key])
    if rule.mode != "replace":
        return 0
    duplicates = drop_duplicates(connection, copied) if rule.duplicates == "drop" else 0
    if rule.cluster_hilbert:
        _order_along_hilbert(connection, copied, schema=schema, staging=staging)
    _run(connection, "ALTER TABLE {} ADD PRIMARY KEY ({})", copied.table, sql.Identifier(FID))
    _run(connection, "CREATE INDEX ON {} USING gist ({})", copied.table, sql.Identifier(GEOMETRY))
    for original in rule.indexes:
        _run(connection, "CREATE INDEX ON {} ({})", copied.table, sql.Identifier(names[original]))
    _run(connection, "ANALYZE {}", copied.table)
    return duplicates


def replace_table(connection: Connection, copied: CopiedLayer, *, schema: str, table: str, comment: str) -> None:
    """Give the staged table its name, in place of the one that has it, with the same privileges."""
    identifier = sql.Identifier(schema, table)
    grants = connection.execute(read_sql("select_grants"), {"regclass": f'"{schema}"."{table}"'}).fetchall()
    _run(connection, "DROP TABLE IF EXISTS {}", identifier)
    _run(connection, "ALTER TABLE {} RENAME TO {}", copied.table, sql.Identifier(table))
    originals = sql.Identifier(schema, safe_name(f"{table}_originals"))
    _run(connection, "DROP TABLE IF EXISTS {}", originals)
    if copied.originals is not None:
        _run(
            connection, "ALTER TABLE {} RENAME TO {}", copied.originals, sql.Identifier(safe_name(f"{table}_originals"))
        )
    _name_indexes(connection, schema, table)
    _comment(connection, copied, identifier, comment)
    grant_readers(connection, "GRANT SELECT ON {} TO {}", identifier)
    for privilege, grantable, grantee in grants:
        to = sql.SQL("PUBLIC") if grantee is None else sql.SQL(grantee)
        option = sql.SQL(" WITH GRANT OPTION" if grantable else "")
        connection.execute(sql.SQL("GRANT {} ON {} TO {}{}").format(sql.SQL(privilege), identifier, to, option))


def append_rows(connection: Connection, copied: CopiedLayer, rule: TableRule, *, table: str, blob: str) -> int:
    """Put the staged rows in the place of those the file had in the table, or beside those with other keys; how many.

    Raises ColumnsDiffer.
    """
    identifier = sql.Identifier(rule.schema_name, table)
    names = {column.original: column.name for column in copied.columns}
    key = [names[each] for each in rule.key]
    there = connection.execute("SELECT to_regclass(%s)", (f'"{rule.schema_name}"."{table}"',)).fetchone()
    if there is None or there[0] is None:
        _create_shared(connection, copied, rule, identifier, key)
    else:
        _check_columns(connection, copied, rule.schema_name, table)
    columns = sql.SQL(", ").join(map(sql.Identifier, [GEOMETRY, *(each.name for each in copied.columns)]))
    if rule.mode == "append":
        _run(connection, "DELETE FROM {} WHERE {} = {}", identifier, sql.Identifier(BLOB), sql.Literal(blob))
    statement = sql.SQL("INSERT INTO {} ({}, {}) SELECT {}, {} FROM {}").format(
        identifier, columns, sql.Identifier(BLOB), columns, sql.Literal(blob), copied.table
    )
    if key:
        updates = [GEOMETRY, BLOB, *(each.name for each in copied.columns if each.name not in key)]
        sets = sql.SQL(", ").join(
            sql.SQL("{} = EXCLUDED.{}").format(sql.Identifier(each), sql.Identifier(each)) for each in updates
        )
        conflict = sql.SQL(" ON CONFLICT ({}) DO UPDATE SET {}")
        statement += conflict.format(sql.SQL(", ").join(map(sql.Identifier, key)), sets)
    rows = connection.execute(statement).rowcount
    for each in (copied.table, copied.originals):
        if each is not None:
            _run(connection, "DROP TABLE {}", each)
    _run(connection, "ANALYZE {}", identifier)
    return rows


def forget_rows(connection: Executor, schema: str, table: str, mode: str, bound: Mapping[str, Any]) -> None:
    """Drop a table that its file has left, or take the file's rows out of one that others have rows in too."""
    identifier = sql.Identifier(schema, table)
    owners = connection.execute(
        read_sql("select_table_owners"), {**bound, "table_schema": schema, "table_name": table}
    ).fetchall()
    if owners and mode != "replace":
        _run(connection, "DELETE FROM {} WHERE {} = {}", identifier, sql.Identifier(BLOB), sql.Literal(bound["name"]))
        return
    _run(connection, "DROP TABLE IF EXISTS {}", identifier)
    if mode == "replace":
        _run(connection, "DROP TABLE IF EXISTS {}", sql.Identifier(schema, safe_name(f"{table}_originals")))


def grant_readers(connection: Connection, statement: LiteralString, what: sql.Composable) -> None:
    """Let the read-only role of geo_assets and the login of /features read it, where the database has them."""
    readers = "SELECT rolname FROM pg_roles WHERE rolname = ANY(%s)"
    for (reader,) in connection.execute(readers, ([READER_ROLE, FEATURES_LOGIN],)).fetchall():
        _run(connection, statement, what, sql.Identifier(reader))


def _create_shared(
    connection: Connection, copied: CopiedLayer, rule: TableRule, identifier: sql.Identifier, key: list[str]
) -> None:
    _run(connection, "CREATE TABLE {} (LIKE {})", identifier, copied.table)
    _run(connection, "ALTER TABLE {} ALTER COLUMN {} ADD GENERATED ALWAYS AS IDENTITY", identifier, sql.Identifier(FID))
    _run(connection, "ALTER TABLE {} ADD PRIMARY KEY ({})", identifier, sql.Identifier(FID))
    _run(connection, "ALTER TABLE {} ADD COLUMN {} text NOT NULL", identifier, sql.Identifier(BLOB))
    _run(connection, "CREATE INDEX ON {} ({})", identifier, sql.Identifier(BLOB))
    _run(connection, "CREATE INDEX ON {} USING gist ({})", identifier, sql.Identifier(GEOMETRY))
    if key:
        _run(connection, "CREATE UNIQUE INDEX ON {} ({})", identifier, sql.SQL(", ").join(map(sql.Identifier, key)))
    names = {column.original: column.name for column in copied.columns}
    for original in rule.indexes:
        _run(connection, "CREATE INDEX ON {} ({})", identifier, sql.Identifier(names[original]))
    _comment(connection, copied, identifier, f"Rows of many files ({BLOB} says which), made by geo_assets.")
    grant_readers(connection, "GRANT SELECT ON {} TO {}", identifier)


def _check_columns(connection: Connection, copied: CopiedLayer, schema: str, table: str) -> None:
    rows = connection.execute(
        "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute"
        " WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped AND attname <> ALL(%s)",
        (f'"{schema}"."{table}"', [FID, BLOB]),
    ).fetchall()
    staged = connection.execute(
        "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute"
        " WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped AND attname <> ALL(%s)",
        (copied.table.as_string(connection), [FID, BLOB]),
    ).fetchall()
    wanted: dict[str, str] = dict(staged)
    there: dict[str, str] = dict(rows)
    if wanted != there:
        differing = sorted({name for name, _ in set(wanted.items()) ^ set(there.items())})
        said = ", ".join(
            f"{name} ({wanted.get(name, 'absent')}, not {there.get(name, 'absent')})" for name in differing
        )
        raise ColumnsDiffer(f"The file's columns are not those of {schema}.{table}: {said}.")


def _check_keys(connection: Connection, copied: CopiedLayer, key: list[str]) -> None:
    columns = sql.SQL(", ").join(map(sql.Identifier, key))
    nulls = sql.SQL(" OR ").join(sql.SQL("{} IS NULL").format(sql.Identifier(each)) for each in key)
    row = connection.execute(sql.SQL("SELECT count(*) FROM {} WHERE {}").format(copied.table, nulls)).fetchone()
    if row is not None and row[0]:
        raise MissingKey(f"{row[0]:,} rows have no value in {', '.join(key)}.")
    double = connection.execute(
        sql.SQL("SELECT {} FROM {} GROUP BY {} HAVING count(*) > 1 LIMIT 1").format(columns, copied.table, columns)
    ).fetchone()
    if double is not None:
        raise DuplicateKey(
            f"The key {', '.join(key)} is there more than once, for example {', '.join(map(str, double))}."
        )


def drop_duplicates(connection: Connection, copied: CopiedLayer) -> int:
    """Delete rows that another row of the file equals in everything but its number."""
    statement = sql.SQL(
        "DELETE FROM {table} WHERE ctid IN (SELECT ctid FROM (SELECT ctid, row_number() OVER"
        " (PARTITION BY md5((to_jsonb(t.*) - {fid} - {name})::text || coalesce(t.{geometry}::text, ''))"
        " ORDER BY {fid_column}) AS nth"
        " FROM {table} AS t) AS numbered WHERE nth > 1)"
    ).format(
        table=copied.table,
        fid=sql.Literal(FID),
        name=sql.Literal(GEOMETRY),
        fid_column=sql.Identifier(FID),
        geometry=sql.Identifier(GEOMETRY),
    )
    return connection.execute(statement).rowcount


def _order_along_hilbert(connection: Connection, copied: CopiedLayer, *, schema: str, staging: str) -> None:
    """Write the rows in the order in which PostGIS sorts geometries, which is along a Hilbert curve."""
    ordered = sql.Identifier(schema, f"{staging}_h")
    _run(connection, "CREATE TABLE {} (LIKE {} INCLUDING ALL)", ordered, copied.table)
    _run(connection, "INSERT INTO {} SELECT * FROM {} ORDER BY {}", ordered, copied.table, sql.Identifier(GEOMETRY))
    _run(connection, "DROP TABLE {}", copied.table)
    _run(connection, "ALTER TABLE {} RENAME TO {}", ordered, sql.Identifier(staging))


def _name_indexes(connection: Connection, schema: str, table: str) -> None:
    """Indexes are named after the staged table; the table's own name says more."""
    rows = connection.execute(
        "SELECT c.relname, coalesce(string_agg(a.attname, '_' ORDER BY a.attnum), ''), i.indisprimary"
        " FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid JOIN pg_attribute AS a ON a.attrelid = c.oid"
        " WHERE i.indrelid = to_regclass(%s) GROUP BY c.relname, i.indisprimary",
        (f'"{schema}"."{table}"',),
    ).fetchall()
    for name, columns, is_primary in rows:
        better = safe_name(f"{table}_{'pkey' if is_primary else f'{columns}_idx'}")
        there = connection.execute("SELECT to_regclass(%s)", (f'"{schema}"."{better}"',)).fetchone()
        if there is None or there[0] is None:
            _run(connection, "ALTER INDEX {} RENAME TO {}", sql.Identifier(schema, name), sql.Identifier(better))


def _comment(connection: Connection, copied: CopiedLayer, identifier: sql.Identifier, comment: str) -> None:
    _run(connection, "COMMENT ON TABLE {} IS {}", identifier, sql.Literal(comment))
    for column in copied.columns:
        if column.name != column.original:
            target = sql.SQL("{}.{}").format(identifier, sql.Identifier(column.name))
            _run(connection, "COMMENT ON COLUMN {} IS {}", target, sql.Literal(f"In the file: {column.original}"))


def _run(connection: Executor, statement: LiteralString, *parts: sql.Composable) -> None:
    connection.execute(sql.SQL(statement).format(*parts))
