"""geo-assets db: the database the catalogue lives in."""

from pathlib import Path

import click

from geo_assets.cli.console import clear_errors, console, shown
from geo_assets.cli.dagster_process import prepare_dagster_home
from geo_assets.errors import InvalidConfiguration
from geo_assets.postgres.databases import (
    catalogue_url,
    dagster_owner_url,
    dagster_url,
    databases_running,
    embedded_postgres,
    ensure_embedded_databases,
    is_pipelines,
    login_passwords,
    owner_url,
    uses_embedded,
)
from geo_assets.settings import Settings


@click.group("db")
def database_group() -> None:
    """Start, stop and migrate the database of the catalogue."""


@database_group.command()
def start() -> None:
    """Start the embedded PostgreSQL, make its databases, and migrate them."""
    settings = Settings()
    with clear_errors():
        _require_embedded(settings)
        cluster = embedded_postgres(settings)
        started = cluster.start()
        ensure_embedded_databases(cluster)
        migrate_databases(settings)
    console.print(f"PostgreSQL {'started' if started else 'is running already'} in {settings.state_folder}")
    console.print("Its address: geo-assets db url. To stop it: geo-assets db stop.")


@database_group.command()
def stop() -> None:
    """Stop the embedded PostgreSQL; the data stay."""
    settings = Settings()
    with clear_errors():
        _require_embedded(settings)
        stopped = embedded_postgres(settings).stop()
    console.print("PostgreSQL stopped." if stopped else "PostgreSQL was not running.")


@database_group.command()
@click.option("--owner", is_flag=True, help="Print the URL of the owner of the database")
def url(*, owner: bool) -> None:
    """Print the connection URL of the catalogue that runs and commands use."""
    with clear_errors():
        click.echo((owner_url if owner else catalogue_url)(Settings()))


@database_group.command()
def migrate() -> None:
    """Bring PgSTAC, the ledger, Dagster's tables and the logins to this release's version (idempotent)."""
    with clear_errors():
        versions = migrate_databases(Settings())
    console.print(", ".join(f"{name} {version}" for name, version in versions.items()))


@database_group.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
def backup(file: Path) -> None:
    """Write the catalogue, its ledger and its tables to FILE, as of this moment, while runs go on."""
    from geo_assets.ledger.backup import CatalogueBackup
    from geo_assets.ledger.database import Connections

    with clear_errors():
        contents = CatalogueBackup(Connections(owner_url(Settings()))).write(file)
    console.print(f"{shown(str(file))}: {file.stat().st_size:,} bytes; {_counts(contents)}.")


@database_group.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
def restore(file: Path) -> None:
    """Restore FILE into an empty database, and migrate it to this release (see docs/operate/backup.md)."""
    from geo_assets.ledger.backup import CatalogueBackup
    from geo_assets.ledger.database import Connections

    settings = Settings()
    with clear_errors(), databases_running(settings):
        catalogue = CatalogueBackup(Connections(owner_url(settings)))
        catalogue.restore(file)
        migrate_databases(settings)
        contents = catalogue.contents()
    console.print(f"{_counts(contents)}. Next: geo-assets census.")


@database_group.command()
def destroy() -> None:
    """Stop the embedded PostgreSQL and remove all its data."""
    settings = Settings()
    with clear_errors():
        embedded_postgres(settings).destroy()
    console.print("The embedded PostgreSQL is removed.")


def migrate_databases(settings: Settings) -> dict[str, str]:
    """Migrate the catalogue and Dagster's storage of ``settings``; the versions of the catalogue's schemas.

    Raises DatabaseIncomplete where the catalogue lacks what migrations made, and none makes again.
    """
    # Imported here: Dagster, alembic and pypgstac take two seconds, and `db url` needs none of them.
    from geo_assets.ledger.database import Connections
    from geo_assets.ledger.schema import CatalogueSchema, check_schema
    from geo_assets.postgres.dagster_storage import create_dagster_tables, give_dagster_tables

    if uses_embedded(settings):
        ensure_embedded_databases(embedded_postgres(settings))
    schema = CatalogueSchema(Connections(owner_url(settings)))
    versions = schema.install()
    check_schema(schema.connections)
    schema.grant_roles(login_passwords(settings))
    if is_pipelines(settings):
        schema.give_tables()
    if (dagster_owner := dagster_owner_url(settings)) is not None:
        give_dagster_tables(dagster_owner)
    create_dagster_tables(dagster_url(settings))
    prepare_dagster_home(settings)
    schema.finish_restore()
    return versions


def _counts(contents: dict[str, int]) -> str:
    return ", ".join(f"{number:,} {name}" for name, number in contents.items())


def _require_embedded(settings: Settings) -> None:
    if not uses_embedded(settings):
        raise InvalidConfiguration(
            "GEO_ASSETS_DATABASE_URL names a server of your own.",
            remedy="Start and stop that server itself, or unset the variable to use the embedded one.",
        )
