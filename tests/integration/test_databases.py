"""Which database a process talks to, by its settings."""

import stat
from pathlib import Path

import psycopg
import pytest
from pydantic import SecretStr

from geo_assets.cli.local_services import migrate_databases
from geo_assets.errors import DatabaseUnavailable, InvalidConfiguration
from geo_assets.postgres.dagster_storage import create_dagster_tables
from geo_assets.postgres.databases import (
    api_url,
    catalogue_url,
    dagster_url,
    databases_running,
    embedded_postgres,
    owner_url,
    uses_embedded,
)
from geo_assets.postgres.embedded import EmbeddedPostgres
from geo_assets.postgres.logins import API_LOGINS, LOADER_ROLE, PIPELINE_LOGIN, STAC_LOGIN, password_of
from geo_assets.resources.database import Database
from geo_assets.settings import Settings
from tests.pipeline import Pipeline, as_user

pytestmark = pytest.mark.alters_roles

OWN = "postgresql://me:secret@db.example/catalogue"
_PLACES = (
    "INSERT INTO ledger.source (source, url, collection_id, rule_digest, reading_digest) VALUES ('a', '', 'a', '', '')",
    "INSERT INTO ledger.vector_table VALUES ('a', 'p.shp', 'places', 'vectors', 'places', 'replace', 'e', 0, 'geom', "
    "'{}', 4326, NULL, '[]', 'ESRI Shapefile', 'EPSG:4326', 0, 0, 0, '{}', '{}', 0, 1.0)",
)
OTHER = "postgresql://me:secret@db.example/dagster"


def test_without_urls_both_lie_in_the_embedded_cluster(own_cluster: EmbeddedPostgres) -> None:
    settings = Settings(state_folder=own_cluster.state_folder)
    assert uses_embedded(settings)
    assert catalogue_url(settings) == own_cluster.pipeline_url("geo_assets")
    assert owner_url(settings) == own_cluster.url("geo_assets")
    assert dagster_url(settings) == own_cluster.pipeline_url("dagster")


def test_a_server_of_the_users_own_holds_both(tmp_path: Path) -> None:
    settings = Settings(state_folder=tmp_path, database_url=SecretStr(OWN))
    assert not uses_embedded(settings)
    assert catalogue_url(settings) == dagster_url(settings) == OWN


def test_dagster_may_have_a_server_of_its_own(tmp_path: Path) -> None:
    settings = Settings(state_folder=tmp_path, database_url=SecretStr(OWN), dagster_database_url=SecretStr(OTHER))
    assert catalogue_url(settings) == OWN
    assert dagster_url(settings) == OTHER


def test_a_cluster_that_does_not_run_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnavailable, match="geo-assets db start"):
        catalogue_url(Settings(state_folder=tmp_path))


def test_the_databases_are_there_inside_the_block_and_stopped_after_it(tmp_path: Path) -> None:
    settings = Settings(state_folder=tmp_path / "state")
    try:
        with databases_running(settings):
            for url in (catalogue_url(settings), dagster_url(settings)):
                psycopg.connect(url).close()
        assert not embedded_postgres(settings).is_running()
    finally:
        embedded_postgres(settings).destroy()


def test_the_embedded_logins_are_made_and_a_database_of_the_release_before_is_handed_over(tmp_path: Path) -> None:
    settings = Settings(state_folder=tmp_path / "state", _env_file=None)
    cluster = embedded_postgres(settings)
    try:
        cluster.start()
        cluster.ensure_databases("geo_assets", "dagster")
        # As the release before left it: all of it the superuser's.
        create_dagster_tables(cluster.url("dagster"))
        Database(database_url=cluster.url("geo_assets")).schemas.install()
        execute(cluster.url("geo_assets"), "CREATE SCHEMA vectors", "CREATE TABLE vectors.places ()", *_PLACES)
        execute(cluster.url("geo_assets"), "CREATE TABLE vectors.of_a_person ()")
        (cluster.state_folder / "postgres.pipeline.password").unlink()

        for _ in range(2):
            migrate_databases(settings)
        assert stat.S_IMODE((cluster.state_folder / "postgres.pipeline.password").stat().st_mode) == 0o600
        execute(
            catalogue_url(settings), "DROP TABLE vectors.places", "CREATE TABLE vectors.places ()", "CREATE SCHEMA b"
        )
        execute(dagster_url(settings), "ALTER TABLE runs ADD COLUMN more int", "INSERT INTO kvs (key) VALUES ('a')")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            execute(catalogue_url(settings), "DROP TABLE vectors.of_a_person")
        for url in (catalogue_url(settings), *(api_url(settings, login) for login in API_LOGINS)):
            with psycopg.connect(url) as connection:
                row = connection.execute("SELECT rolsuper FROM pg_roles WHERE rolname = session_user").fetchone()
                assert row == (False,), url
        assert Database(database_url=owner_url(settings)).schemas.verify()["logins can take no other role"] == "yes"
    finally:
        cluster.destroy()


@pytest.mark.parametrize("is_named", [False, True])
def test_an_own_server_has_its_owner_migrate_and_the_pipeline_run(
    database_url: str, pipeline: Pipeline, tmp_path: Path, is_named: bool
) -> None:
    run_url = as_user(database_url, PIPELINE_LOGIN)
    settings = Settings(
        state_folder=tmp_path,
        database_url=SecretStr(run_url),
        owner_database_url=SecretStr(database_url),
        dagster_database_url=SecretStr(run_url) if is_named else None,
        _env_file=None,
    )
    create_dagster_tables(database_url)  # by the release before
    for _ in range(2):
        migrate_databases(settings)
    with psycopg.connect(dagster_url(settings)) as connection:
        owners = connection.execute(
            "SELECT DISTINCT tableowner FROM pg_tables WHERE tablename IN ('runs', 'event_logs')"
        )
        assert owners.fetchall() == [(PIPELINE_LOGIN,)]
    assert Pipeline(run_url, tmp_path / "sources.yaml", pipeline.instance).status().blobs == 0


def test_an_owner_that_is_no_superuser_migrates_too(database_url: str, tmp_path: Path) -> None:
    place = database_url.rpartition("@")[2]
    name = place.rpartition("/")[2]
    extensions = [f"CREATE EXTENSION {each}" for each in ("postgis", "btree_gist", "unaccent")]
    execute(database_url, "CREATE ROLE dba LOGIN CREATEROLE ", f"ALTER DATABASE {name} OWNER TO dba")
    execute(database_url, "GRANT pgstac_admin, pgstac_ingest, pgstac_read TO dba", *extensions)
    try:
        settings = Settings(_env_file=None, state_folder=tmp_path, database_url=SecretStr(as_user(database_url, "dba")))
        execute(database_url, f"ALTER ROLE dba PASSWORD '{password_of(database_url)}'")
        for _ in range(2):
            migrate_databases(settings)
        assert Database(database_url=owner_url(settings)).schemas.verify()["logins can take no other role"] == "yes"
        with psycopg.connect(api_url(settings, STAC_LOGIN)) as connection:
            connection.execute("SELECT pgstac.get_version()")
    finally:
        execute(database_url, "REASSIGN OWNED BY dba TO geo_assets", "DROP OWNED BY dba", "DROP ROLE dba")


def test_a_url_of_the_api_alone_is_no_reason_to_start_a_cluster(tmp_path: Path) -> None:
    settings = Settings(state_folder=tmp_path, api_database_url=SecretStr(OWN), _env_file=None)
    assert not uses_embedded(settings)
    assert api_url(settings, STAC_LOGIN).startswith(f"postgresql://{STAC_LOGIN}:")
    with pytest.raises(InvalidConfiguration, match="GEO_ASSETS_DATABASE_URL is not set"):
        catalogue_url(settings)


def test_a_login_that_is_more_than_it_should_be_is_named(catalogue: str) -> None:
    schema = Database(database_url=catalogue).schemas
    execute(catalogue, f"GRANT {LOADER_ROLE} TO {STAC_LOGIN}")
    try:
        with pytest.raises(DatabaseUnavailable, match="logins can take no other role"):
            schema.verify()
    finally:
        execute(catalogue, f"REVOKE {LOADER_ROLE} FROM {STAC_LOGIN}")
    schema.verify()


def execute(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def test_a_server_of_the_users_own_is_left_alone(tmp_path: Path) -> None:
    with databases_running(Settings(state_folder=tmp_path / "state", database_url=SecretStr(OWN))):
        assert not (tmp_path / "state").exists()
