"""A vector file beside the tables it has: staged as if it were loaded, measured by PostGIS, and rolled back.

Here: the transaction of that, in a process of its own. Not here: reading the file (`vectors.reading`), copying its rows
(`vectors.copy`), and putting into words what differs (`geo_assets.stac.agreement`). docs/decisions/0025 says why it is
staged.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from psycopg import sql

from geo_assets.errors import BlobChanged, GeoAssetsError
from geo_assets.ledger.database import read_sql
from geo_assets.names import BLOB, FID, GEOMETRY, table_names
from geo_assets.postgres.locks import Lock, try_to_share_until_end
from geo_assets.sources.vector_rules import TableRule
from geo_assets.stac.agreement import ComparedTable, TableFacts
from geo_assets.stac.table_item import DescribedTable
from geo_assets.vectors.copy import Connection, CopiedLayer, copy_layer
from geo_assets.vectors.handover import Layer
from geo_assets.vectors.load import (
    LoadTask,
    in_degrees,
    layer_keys,
    open_transaction,
    reserved_words,
    work_on_files,
)
from geo_assets.vectors.publish import drop_duplicates
from geo_assets.workers.pool import limit_cpu

_TEMPORARY = "pg_temp"
_ALL = sql.SQL("")
"""No condition: the rows of a table that are one file's alone."""


def compare_files(
    tasks: Sequence[LoadTask], start: Callable[[int], None]
) -> list[tuple[ComparedTable, ...] | GeoAssetsError | None]:
    """The work of a worker process: each task's layers beside their tables, or why its file cannot be compared."""
    return work_on_files(compare_file, tasks, start)


def compare_file(task: LoadTask) -> tuple[ComparedTable, ...]:
    """Stage every chosen layer of one file in temporary tables, and compare them with the tables that it has.

    Raises BlobChanged where the file is being loaded, or was loaded in another version, and what `load_file` raises of
    a file.
    """
    layers = task.handover.layers(assume_crs=task.source.assume_crs)
    with open_transaction(task) as connection, connection.transaction(force_rollback=True):
        return _compare(task, connection, layers)


def _compare(task: LoadTask, connection: Connection, layers: Sequence[Layer]) -> tuple[ComparedTable, ...]:
    assert task.source.tables is not None
    rule = task.source.tables.model_copy(update={"keep_originals": False})
    keys, renewed = layer_keys(layers), partial(limit_cpu, task.batch_seconds)
    reserved = reserved_words(connection)
    staged: dict[str, CopiedLayer] = {}
    for number, (key, layer) in enumerate(keys.items()):
        staged[key] = copy_layer(
            connection, layer, rule, schema=_TEMPORARY, table=f"layer_{number}", reserved=reserved, before_batch=renewed
        )
        if rule.duplicates == "drop":
            drop_duplicates(connection, staged[key])
    task.handover.wait_for_end()
    there = _tables(task, connection)
    names = table_names(task.source, task.blob.name, keys)
    return tuple(
        _compared(connection, copied, rule, key=key, table=there.get(key, (rule.schema_name, names[key])), task=task)
        for key, copied in staged.items()
    )


def _tables(task: LoadTask, connection: Connection) -> Mapping[str, tuple[str, str]]:
    """The (schema, table) of each layer of the file, which no process loads until the end of the transaction."""
    source, blob = task.source.name, task.blob
    is_still = try_to_share_until_end(connection, Lock.VECTOR_FILE, source, blob.name)
    bound: dict[str, Any] = {"source": source, "name": blob.name}
    rows = connection.execute(read_sql("select_tables_of_blob"), bound).fetchall()
    if not is_still or any(row[4] != blob.etag for row in rows):
        raise BlobChanged(f"{blob.name} was loaded again while it was compared.")
    return {row[0]: (row[1], row[2]) for row in rows}


def _compared(
    connection: Connection, copied: CopiedLayer, rule: TableRule, *, key: str, table: tuple[str, str], task: LoadTask
) -> ComparedTable:
    staged, identifier = copied.table, sql.Identifier(*table)
    whose: sql.Composable = _ALL
    if rule.mode != "replace":
        whose = sql.SQL("WHERE {} = {}").format(sql.Identifier(BLOB), sql.Literal(task.blob.name))
    file = _facts(connection, staged, _columns(connection, staged), where=_ALL)
    described = DescribedTable(
        layer=key,
        table=".".join(table),
        rows=file.rows,
        columns=[{"name": each.name, "original": each.original, "type": each.type} for each in copied.columns],
        geometry_types=sorted(copied.tally.types),
        srid=copied.geometry.srid,
        bbox=in_degrees(copied.tally.bounds, copied.geometry.srid),
        driver=copied.layer.driver,
    )
    columns = _columns(connection, identifier)
    if not columns:
        return ComparedTable(described, file, None)
    if rule.mode != "replace" and columns.pop(BLOB, None) is None:
        return ComparedTable(described, file, TableFacts(0, None, columns), shared=True)
    if columns != file.columns:
        facts = _facts(connection, identifier, columns, where=whose)
        return ComparedTable(described, file, facts, shared=rule.mode != "replace")
    if rule.mode == "upsert":
        # Rows of a key are the table's, whichever file brought them last; those of former versions stay.
        names = {column.original: column.name for column in copied.columns}
        lost = _count_keys_lost(connection, staged, identifier, [names[each] for each in rule.key])
        return ComparedTable(described, file, file, lost=lost)
    told = [each for each in columns if each != GEOMETRY and (rule.mode == "replace" or each != FID)]
    return ComparedTable(
        described,
        file,
        _facts(connection, identifier, columns, where=whose),
        lost=_count_beyond(connection, told, (staged, _ALL), (identifier, whose)),
        surplus=_count_beyond(connection, told, (identifier, whose), (staged, _ALL)),
    )


def _columns(connection: Connection, table: sql.Identifier) -> dict[str, str]:
    """The types of a table's columns by name; none where there is no such table."""
    rows = connection.execute(
        "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute"
        " WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
        (table.as_string(connection),),
    ).fetchall()
    return dict(rows)


def _facts(
    connection: Connection, table: sql.Identifier, columns: Mapping[str, str], *, where: sql.Composable
) -> TableFacts:
    extent: sql.Composable = sql.SQL("NULL, NULL, NULL, NULL")
    if columns.get(GEOMETRY, "").startswith("geometry"):
        extent = sql.SQL("min(ST_XMin({0})), min(ST_YMin({0})), max(ST_XMax({0})), max(ST_YMax({0}))").format(
            sql.Identifier(GEOMETRY)
        )
    row = connection.execute(sql.SQL("SELECT count(*), {} FROM {} {}").format(extent, table, where)).fetchone()
    assert row is not None
    rows, west, south, east, north = row
    return TableFacts(rows, None if west is None else (west, south, east, north), columns)


def _count_beyond(
    connection: Connection,
    columns: Sequence[str],
    of: tuple[sql.Identifier, sql.Composable],
    beside: tuple[sql.Identifier, sql.Composable],
) -> int:
    """How many rows of one table have no equal in the other, by these columns; duplicates count each."""
    if not columns:
        return 0
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    rows = [sql.SQL("SELECT {} FROM {} {}").format(names, *each) for each in (of, beside)]
    statement = sql.SQL("SELECT count(*) FROM ({} EXCEPT ALL {}) AS beyond").format(*rows)
    row = connection.execute(statement).fetchone()
    return int(row[0]) if row else 0


def _count_keys_lost(connection: Connection, staged: sql.Identifier, table: sql.Identifier, key: Sequence[str]) -> int:
    same = sql.SQL(" AND ").join(sql.SQL("t.{0} = s.{0}").format(sql.Identifier(each)) for each in key)
    statement = sql.SQL("SELECT count(*) FROM {} AS s WHERE NOT EXISTS (SELECT FROM {} AS t WHERE {})")
    row = connection.execute(statement.format(staged, table, same)).fetchone()
    return int(row[0]) if row else 0
