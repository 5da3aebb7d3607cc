"""A database that lacks what migrations made is told of by every command, run and probe, and never taken for whole."""

from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner, Result

from geo_assets.cli.main import main
from geo_assets.errors import DatabaseIncomplete
from geo_assets.ledger.schema import SCHEMA_OBJECTS, check_schema
from geo_assets.postgres.embedded import SUPERUSER
from geo_assets.postgres.logins import PIPELINE_LOGIN
from geo_assets.resources.database import Database
from scripts.schema_objects import made_by_migrations
from tests.api_server import served, settings_of
from tests.pipeline import Pipeline, as_user, failure_text
from tests.rasters import write_raster

pytestmark = pytest.mark.alters_roles

# As a restore leaves it that was ended before it came to keys, triggers and indexes, and what people do by hand.
LOSSES = {
    "3 triggers": (
        "DROP TRIGGER items_after_insert_trigger ON pgstac.items",
        "DROP TRIGGER a_refuse_sources ON pgstac.items",
        "ALTER TABLE pgstac.collections DISABLE TRIGGER collections_trigger",
    ),
    "2 foreign keys": (
        "ALTER TABLE ledger.blob DROP CONSTRAINT blob_source_fkey",
        "ALTER TABLE pgstac.items DROP CONSTRAINT items_collections_fk",
    ),
    "1 constraint, 1 index": ("ALTER TABLE ledger.item DROP CONSTRAINT item_pkey CASCADE",),
    "2 indexes": ("DROP INDEX ledger.blob_without_item", "DROP INDEX pgstac.geometry_idx"),
    "1 function": ("DROP FUNCTION pgstac.all_collections",),
}


@pytest.fixture
def catalogued(pipeline: Pipeline, tmp_path: Path) -> Pipeline:
    """One raster with its item."""
    write_raster(tmp_path / "container" / "a.tif", value=1)
    pipeline.declare((tmp_path / "container").as_uri())
    assert pipeline.run().success
    return pipeline


def run(pipeline: Pipeline, *arguments: str) -> Result:
    """A command on this database."""
    environment = {
        "GEO_ASSETS_DATABASE_URL": as_user(pipeline.database_url, PIPELINE_LOGIN),
        "GEO_ASSETS_OWNER_DATABASE_URL": as_user(pipeline.database_url, SUPERUSER),
        "GEO_ASSETS_SOURCES": str(pipeline.sources_path),
    }
    return CliRunner().invoke(main, arguments, env=environment, catch_exceptions=False)


def test_the_list_of_what_migrations_make_is_what_they_make(database_url: str) -> None:
    Database(database_url=database_url).schemas.install()
    made = made_by_migrations(database_url)
    assert SCHEMA_OBJECTS.read_text("utf-8") == made, "run python -m scripts.schema_objects, and commit what it writes"


@pytest.mark.parametrize("lost", LOSSES)
def test_each_kind_of_loss_is_named(pipeline: Pipeline, lost: str) -> None:
    schema = pipeline.database.schemas
    assert schema.verify()["reader may not load items"] == "yes"
    for statement in LOSSES[lost]:
        pipeline.execute(statement)
    with pytest.raises(DatabaseIncomplete, match=f"lacks {lost}"):
        check_schema(schema.connections)
    with pytest.raises(DatabaseIncomplete, match="geo-assets db restore"):
        schema.verify()


def test_a_view_that_is_gone_is_made_again_by_the_next_migration(catalogued: Pipeline) -> None:
    catalogued.execute("DROP VIEW ledger.blob_state CASCADE")
    with pytest.raises(DatabaseIncomplete, match=r"lacks 2 views: .*\n?.*Run `geo-assets db migrate`"):
        check_schema(catalogued.database.connections)
    assert run(catalogued, "db", "migrate").exit_code == 0
    assert run(catalogued, "status").exit_code == 0


def test_partitions_come_and_go_and_nothing_is_missing_while_each_has_its_index(catalogued: Pipeline) -> None:
    check_schema(catalogued.database.connections)
    ((partition, index),) = catalogued.query(
        "SELECT i.inhrelid::regclass::text, x.indexrelid::regclass::text FROM pg_inherits AS i "
        "JOIN pg_index AS x ON x.indrelid = i.inhrelid JOIN pg_inherits AS p ON p.inhrelid = x.indexrelid "
        "WHERE i.inhparent = 'pgstac.items'::regclass AND p.inhparent = 'pgstac.datetime_idx'::regclass"
    )
    with psycopg.connect(catalogued.owner_url, autocommit=True) as connection:
        with pytest.raises(psycopg.errors.DependentObjectsStillExist):
            connection.execute(f"DROP INDEX {index}")
        connection.execute("DELETE FROM pgstac.items")
        connection.execute(f"DROP TABLE {partition}")
    check_schema(catalogued.database.connections)


def test_commands_runs_and_the_probe_of_the_api_say_what_is_missing_and_what_to_do(catalogued: Pipeline) -> None:
    assert run(catalogued, "db", "migrate").exit_code == 0
    for statement in LOSSES["3 triggers"]:
        catalogued.execute(statement)
    for command in (["db", "migrate"], ["status"], ["status", "rasters", "--json"], ["census"], ["repair"]):
        result = run(catalogued, *command)
        assert result.exit_code == 1, command
        assert "database_incomplete The database lacks 3 triggers" in result.stderr, command
        assert "geo-assets db restore" in result.stderr
    for job in ("ingest_rasters", "ingest_observed", "make_cogs", "list_container", "stac_setup"):
        failed = catalogued.run(job)
        assert not failed.success, job
        assert "database_incomplete: The database lacks 3 triggers" in failure_text(failed), job
    with served(settings_of(catalogued.database_url, catalogued.sources_path)) as client:
        answer = client.get("/readyz")
        health = client.get("/api/health").json()["components"]["database"]
    assert answer.status_code == 503
    assert answer.json()["code"] == "database_incomplete"
    assert "lacks 3 triggers" in answer.json()["detail"]
    assert "geo-assets db restore" in answer.json()["remedy"]
    assert health["status"] == "unhealthy"


def test_a_database_without_its_versions_is_not_taken_for_whole(catalogued: Pipeline) -> None:
    catalogued.execute("DELETE FROM ledger.alembic_version")
    with served(settings_of(catalogued.database_url, catalogued.sources_path)) as client:
        answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["code"]) == (503, "database_incomplete")
    migrated = run(catalogued, "db", "migrate")
    assert migrated.exit_code == 1
    assert "database_incomplete The database cannot be migrated: relation" in migrated.stderr


def test_a_schema_of_a_newer_release_may_lack_what_this_one_has(catalogued: Pipeline) -> None:
    catalogued.execute("UPDATE ledger.alembic_version SET version_num = '9999'")
    catalogued.execute(LOSSES["2 indexes"][0])
    assert check_schema(catalogued.database.connections)["ledger"] == "9999"


def test_a_database_of_before_the_first_release_says_to_make_another(catalogued: Pipeline) -> None:
    catalogued.execute("UPDATE ledger.alembic_version SET version_num = '0016'")
    for command in (["status"], ["db", "migrate"]):
        refused = run(catalogued, *command)
        assert refused.exit_code == 1, command
        assert "database_incomplete The database was made before the first release" in refused.stderr, command
        assert "make the catalogue again from its containers" in " ".join(refused.stderr.split()), command


def test_a_database_that_the_migrations_before_the_baseline_made_is_taken_for_one_of_it(catalogued: Pipeline) -> None:
    catalogued.execute("COMMENT ON SCHEMA ledger IS NULL")  # they knew no files of views
    assert "The database is not migrated" in run(catalogued, "status").stderr
    assert run(catalogued, "db", "migrate").exit_code == 0
    assert run(catalogued, "status").exit_code == 0


def test_a_release_does_not_migrate_what_a_newer_one_has_migrated(catalogued: Pipeline) -> None:
    catalogued.execute("UPDATE ledger.alembic_version SET version_num = '9999'")
    refused = run(catalogued, "db", "migrate")
    assert refused.exit_code == 1
    assert "database_incomplete The database is of a newer release" in refused.stderr
    assert run(catalogued, "status").exit_code == 0


def test_a_login_without_its_grants_is_told_how_to_get_them(catalogued: Pipeline) -> None:
    catalogued.execute("REVOKE SELECT ON ledger.source FROM geo_assets_loader")
    refused = run(catalogued, "status")
    assert refused.exit_code == 1
    assert "database_forbids" in refused.stderr
    assert "geo-assets db migrate" in refused.stderr
    assert run(catalogued, "db", "migrate").exit_code == 0
    assert run(catalogued, "status").exit_code == 0
