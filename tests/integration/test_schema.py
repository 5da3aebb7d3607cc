"""The schemas on a real database: installed once by whoever comes, granted, verified, migrated by later releases."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
import sqlalchemy
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from pypgstac.db import PgstacDB
from pypgstac.migrate import Migrate

from geo_assets.errors import DatabaseUnavailable
from geo_assets.ledger.database import SQL_FOLDER, read_sql
from geo_assets.ledger.schema import MIGRATIONS_FOLDER, CatalogueSchema
from geo_assets.postgres.logins import LOADER_ROLE, LOGINS, READER_ROLE
from geo_assets.resources.database import Database
from tests.ledgers import blob, listed
from tests.next_release import NextRelease
from tests.pipeline import Pipeline
from tests.rasters import write_raster

pytestmark = pytest.mark.alters_roles


@pytest.fixture
def schema(catalogue: str) -> CatalogueSchema:
    """The schema of a migrated database."""
    return Database(database_url=catalogue).schemas


def execute(url: str, statement: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement)


def alembic(url: str, to: str, folder: Path = MIGRATIONS_FOLDER) -> None:
    """Migrate the ledger by alembic itself, to ``to``, without views."""
    config = Config()
    config.set_main_option("script_location", str(folder))
    config.set_main_option("path_separator", "os")
    engine = sqlalchemy.create_engine(sqlalchemy.make_url(url).set(drivername="postgresql+psycopg"))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, to)
    engine.dispose()


def test_installing_again_changes_nothing(schema: CatalogueSchema, catalogue: str) -> None:
    listed(Database(database_url=catalogue), [blob("kept.tif")])
    first = schema.install()
    assert schema.install() == first
    assert re.fullmatch(r"\d+\.\d+\.\d+", first["pgstac"])
    assert first["ledger"] == ScriptDirectory(str(MIGRATIONS_FOLDER)).get_current_head()
    with psycopg.connect(catalogue) as connection:
        assert connection.execute("SELECT name FROM ledger.blob").fetchall() == [("kept.tif",)]


def test_two_may_install_an_empty_database_at_once(database_url: str) -> None:
    schema = Database(database_url=database_url).schemas
    with ThreadPoolExecutor(2) as threads:
        one, other = threads.map(lambda _: schema.install(), range(2))
    assert one == other
    schema.grant_roles()
    assert schema.verify()["pgstac"] == one["pgstac"]


def test_granting_again_changes_nothing(schema: CatalogueSchema) -> None:
    assert schema.grant_roles() == schema.grant_roles() == [LOADER_ROLE, READER_ROLE, *LOGINS]


def test_a_verified_schema_tells_its_versions(schema: CatalogueSchema) -> None:
    seen = schema.verify()
    assert {"pgstac", "postgis", "postgresql"} <= set(seen)
    assert seen["loader may load items"] == "yes"
    assert seen["reader may not write the ledger"] == "yes"


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("REVOKE INSERT ON pgstac.items FROM pgstac_ingest", "loader may load items"),
        (f"REVOKE UPDATE ON ledger.blob FROM {LOADER_ROLE}", "loader may write the ledger"),
        (f"REVOKE INSERT ON ledger.failed_attempt FROM {LOADER_ROLE}", "loader may write the ledger"),
        (f"REVOKE USAGE ON SCHEMA ledger FROM {LOADER_ROLE}", "loader may write the ledger"),
        (f"REVOKE SELECT ON ledger.blob_state FROM {READER_ROLE}", "reader may read the ledger"),
        ("REVOKE SELECT ON pgstac.items FROM pgstac_read", "reader may read items"),
        (f"GRANT INSERT ON pgstac.items TO {READER_ROLE}", "reader may not load items"),
        (f"GRANT DELETE ON ledger.listing TO {READER_ROLE}", "reader may not write the ledger"),
    ],
)
def test_a_privilege_that_is_wrong_is_named(
    schema: CatalogueSchema, catalogue: str, statement: str, named: str
) -> None:
    execute(catalogue, statement)
    with pytest.raises(DatabaseUnavailable, match=named):
        schema.verify()


def test_a_database_without_the_schemas_says_how_to_get_them(database_url: str) -> None:
    with pytest.raises(DatabaseUnavailable, match="geo-assets db migrate"):
        Database(database_url=database_url).schemas.verify()


def test_the_job_installs_grants_and_verifies_an_empty_database(database_url: str, pipeline: Pipeline) -> None:
    empty = Pipeline(database_url, pipeline.sources_path, pipeline.instance)
    result = empty.run("stac_setup")
    assert result.success
    order = [event.step_key for event in result.all_events if event.is_step_success]
    assert [str(key).rpartition(".")[2] for key in order] == ["install_schema", "grant_roles", "verify_schema"]
    assert empty.run("stac_setup").success


def test_the_revisions_are_one_line_from_nothing_to_the_newest() -> None:
    scripts = ScriptDirectory(str(MIGRATIONS_FOLDER))
    assert len(scripts.get_heads()) == 1
    assert len(scripts.get_bases()) == 1


def test_every_statement_is_one_and_is_used() -> None:
    package = SQL_FOLDER.parents[1]
    code = "".join(path.read_text("utf-8") for path in package.rglob("*.py"))
    for path in SQL_FOLDER.glob("*.sql"):
        assert f'"{path.stem}"' in code, f"nobody reads {path.name}"
        assert ";" not in re.sub(r"^--.*$", "", read_sql(path.stem), flags=re.MULTILINE)


@pytest.fixture
def login(catalogue: str) -> Iterator[dict[str, str]]:
    """URLs of two users who have nothing but a role of ours each, by the role."""
    parts, urls = urlsplit(catalogue), {}
    place = parts.netloc.rpartition("@")[2]
    for role in (LOADER_ROLE, READER_ROLE):
        user = f"test_user_of_{role}"
        execute(catalogue, f"CREATE ROLE {user} LOGIN PASSWORD 'secret' IN ROLE {role}")
        urls[role] = urlunsplit(parts._replace(netloc=f"{user}:secret@{place}"))
    yield urls
    for role in urls:
        execute(catalogue, f"DROP ROLE test_user_of_{role}")


def test_the_loader_role_is_enough_for_the_main_job(login: dict[str, str], pipeline: Pipeline, tmp_path: Path) -> None:
    folder = tmp_path / "container"
    write_raster(folder / "a.tif", value=1)
    write_raster(folder / "b.tif", value=2)
    (folder / "bad.tif").write_text("no raster")
    pipeline.declare(folder.as_uri())
    loader = Pipeline(login[LOADER_ROLE], pipeline.sources_path, pipeline.instance)
    assert loader.run().success
    assert (loader.status().catalogued, loader.status().quarantined) == (2, 1)
    (folder / "a.tif").unlink()
    assert loader.run().success
    assert set(loader.items()) == {"b.tif"}


def test_the_reader_role_reads_both_schemas_and_writes_neither(login: dict[str, str], pipeline: Pipeline) -> None:
    reader = Pipeline(login[READER_ROLE], pipeline.sources_path, pipeline.instance)
    assert reader.status().blobs == 0
    assert reader.items() == {}
    for statement in ("DELETE FROM ledger.blob", "DELETE FROM pgstac.items", "CREATE TABLE ledger.mine ()"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            execute(login[READER_ROLE], statement)


@pytest.mark.parametrize("is_next", [False, True], ids=["this release", "the next"])
def test_a_migration_takes_away_no_column_so_the_release_before_works_on(
    database_url: str, tmp_path: Path, is_next: bool
) -> None:
    folder = MIGRATIONS_FOLDER
    if is_next:
        release = NextRelease(tmp_path)
        release.make()
        folder = release.migrations
    install_pgstac(database_url)
    query = "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'ledger'"
    earlier: set[tuple[str, str]] = set()
    revisions = list(ScriptDirectory(str(folder)).walk_revisions())
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA ledger")
        for revision in reversed(revisions):
            alembic(database_url, revision.revision, folder)
            later = {(table, column) for table, column in connection.execute(query).fetchall()}
            assert earlier < later, revision.revision
            earlier = later
    assert ("blob", "name_length") in earlier or not is_next


def test_a_remedy_that_followed_its_message_gets_a_column_of_its_own(database_url: str) -> None:
    install_pgstac(database_url)
    execute(database_url, "CREATE SCHEMA ledger")
    alembic(database_url, "0017", MIGRATIONS_FOLDER)
    said = {"a": "It ends early. Remedy: Upload it again. Remedy: or not.", "b": "No remedy."}
    columns = "source, name, etag, stage, error_code, error_message, permanent, run_id"
    for name, message in said.items():
        values = f"'s', '{name}', '1', 'describe', 'corrupt', '{message}', true, 'run'"
        execute(database_url, f"INSERT INTO ledger.failed_attempt ({columns}) VALUES ({values})")
    alembic(database_url, "0018", MIGRATIONS_FOLDER)
    with psycopg.connect(database_url) as connection:
        rows = connection.execute("SELECT error_message, error_remedy FROM ledger.failed_attempt ORDER BY name")
        assert rows.fetchall() == [("It ends early.", "Upload it again. Remedy: or not."), ("No remedy.", None)]


def install_pgstac(url: str, version: str | None = None) -> None:
    """Install PgSTAC alone, of this version or the newest."""
    database = PgstacDB(dsn=url)
    Migrate(database).run_migration(version)
    database.disconnect()
    database.close()
