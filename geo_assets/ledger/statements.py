"""The SQL files.

Here: what processes need that load no Dagster, for it takes 100 MB. Not here: connections of resources (`database`),
and what PostgreSQL says of them (`geo_assets.postgres.errors`).
"""

from functools import cache
from pathlib import Path
from typing import Any, LiteralString, cast

SQL_FOLDER = Path(__file__).resolve().parent / "sql"


@cache
def read_sql(name: str) -> LiteralString:
    """The statement in `sql/<name>.sql`."""
    statement: Any = (SQL_FOLDER / f"{name}.sql").read_text("utf-8")
    return cast(LiteralString, statement)
