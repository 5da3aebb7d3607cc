"""The list of what `db migrate` makes, from a database that it made: `python -m scripts.schema_objects`.

Here: writing it again, after a migration or a view was added, or pypgstac changed. Not here: what it is for
(`geo_assets.ledger.schema`). A test fails where it lists something else than the migrations make.
"""

import tempfile
from pathlib import Path

from geo_assets.ledger.database import Connections
from geo_assets.ledger.schema import SCHEMA_OBJECTS, CatalogueSchema, read_objects
from geo_assets.postgres.embedded import EmbeddedPostgres

_DATABASE = "schema_objects"
_HEAD = "# What the migrations make. Written by `python -m scripts.schema_objects`: change them, not this file.\n"


def made_by_migrations(url: str) -> str:
    """The text of the file, for the database at ``url``, which was just migrated."""
    with Connections(url).connect() as connection:
        return _HEAD + "".join(f"{line}\n" for line in sorted(read_objects(connection)))


def main() -> None:
    """Migrate an empty database, and write what is there then."""
    with tempfile.TemporaryDirectory() as folder:
        cluster = EmbeddedPostgres(Path(folder), durable=False)
        try:
            cluster.start()
            cluster.ensure_databases(_DATABASE)
            CatalogueSchema(Connections(cluster.url(_DATABASE))).install()
            SCHEMA_OBJECTS.write_text(made_by_migrations(cluster.url(_DATABASE)), "utf-8")
        finally:
            cluster.destroy()


if __name__ == "__main__":
    main()
