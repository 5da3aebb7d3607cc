"""A changed view needs no migration: each `db migrate` creates the views as their files say, and grants stay."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from geo_assets.errors import DatabaseIncomplete, DatabaseUnavailable
from geo_assets.ledger import schema
from geo_assets.ledger.schema import VIEWS, VIEWS_FOLDER, check_schema
from geo_assets.resources.database import Database
from tests.faults.killed_commands import PROGRAM, command_environment
from tests.next_release import VERSION, NextRelease, with_column
from tests.pipeline import Pipeline
from tests.rasters import write_raster

pytestmark = pytest.mark.alters_roles

BLOB_STATE = (VIEWS_FOLDER / "blob_state.sql").read_text()
OTHER_MEANING = BLOB_STATE.replace("THEN 'to_describe'", "THEN 'to_look_at'")
OTHER_COLUMNS = with_column(BLOB_STATE, "b.versions_seen")


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the views' folder, which is read instead of it."""
    folder = shutil.copytree(VIEWS_FOLDER, tmp_path / "views")
    with monkeypatch.context() as patch:
        patch.setattr(schema, "VIEWS_FOLDER", folder)
        yield folder
    schema.views_digest.cache_clear()


def change(files: Path, text: str) -> None:
    """Let the file of `blob_state` be ``text``."""
    (files / "blob_state.sql").write_text(text)
    schema.views_digest.cache_clear()


def states(url: str) -> dict[str, str]:
    with psycopg.connect(url) as connection:
        return dict(connection.execute("SELECT name, state FROM ledger.blob_state").fetchall())


def definitions(url: str) -> dict[str, str]:
    """The text of each view."""
    query = "SELECT viewname, definition FROM pg_views WHERE schemaname = 'ledger'"
    with psycopg.connect(url) as connection:
        return dict(connection.execute(query).fetchall())


def grants(url: str) -> set[tuple[str, ...]]:
    """What is granted on views: to whom, which privilege, on which one."""
    query = (
        "SELECT g.grantee, g.privilege_type, g.table_name FROM information_schema.role_table_grants AS g "
        "JOIN pg_views AS v ON v.viewname = g.table_name AND v.schemaname = g.table_schema "
        "WHERE v.schemaname = 'ledger'"
    )
    with psycopg.connect(url) as connection:
        return set(connection.execute(query).fetchall())


def test_each_file_is_one_of_the_list() -> None:
    assert {file.stem for file in VIEWS_FOLDER.iterdir()} == set(VIEWS)


def test_a_view_with_another_meaning_is_there_after_the_next_migration(pipeline: Pipeline, files: Path) -> None:
    write_raster(files.parent / "container" / "a.tif")
    pipeline.declare((files.parent / "container").as_uri())
    assert pipeline.run("list_container").success
    assert states(pipeline.owner_url) == {"a.tif": "to_describe"}
    change(files, OTHER_MEANING)
    schema = pipeline.database.schemas
    with pytest.raises(DatabaseUnavailable, match="The database is not migrated"):
        check_schema(schema.connections)
    versions = schema.install()
    assert check_schema(schema.connections) == versions
    schema.verify()
    assert states(pipeline.owner_url) == {"a.tif": "to_look_at"}
    assert schema.install() == versions


def test_a_view_with_other_columns_keeps_its_grants_and_what_builds_on_it(catalogue: str, files: Path) -> None:
    schema = Database(database_url=catalogue).schemas
    with psycopg.connect(catalogue, autocommit=True) as connection:
        connection.execute("GRANT SELECT ON ledger.withdrawal TO PUBLIC")
    before, granted = definitions(catalogue), grants(catalogue)
    change(files, OTHER_COLUMNS)
    schema.install()
    schema.verify()
    with psycopg.connect(catalogue) as connection:
        assert connection.execute("SELECT versions_seen FROM ledger.blob_state").fetchall() == []
    assert grants(catalogue) == granted
    change(files, BLOB_STATE)
    schema.install()
    assert (definitions(catalogue), grants(catalogue)) == (before, granted)


def test_the_release_before_works_on_when_only_views_have_changed(catalogue: str, files: Path) -> None:
    schema = Database(database_url=catalogue).schemas
    change(files, OTHER_MEANING)
    schema.install()
    change(files, BLOB_STATE)
    check_schema(schema.connections)


def test_somebody_elses_view_on_one_whose_columns_change_is_named_and_nothing_is_changed(
    catalogue: str, files: Path
) -> None:
    with psycopg.connect(catalogue, autocommit=True) as connection:
        connection.execute("CREATE VIEW public.report AS SELECT name FROM ledger.blob_state")
    before = definitions(catalogue)
    change(files, OTHER_COLUMNS)
    with pytest.raises(DatabaseIncomplete, match=r"view report depends on view ledger\.blob_state") as refused:
        Database(database_url=catalogue).schemas.install()
    assert "create it again" in refused.value.remedy
    assert definitions(catalogue) == before


def test_the_next_release_migrates_what_this_one_filled_and_this_one_works_on(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    write_raster(tmp_path / "container" / "a.tif")
    pipeline.declare((tmp_path / "container").as_uri())
    assert pipeline.run().success
    release = NextRelease(tmp_path / "next")
    release.make()
    env = command_environment(pipeline)
    refused = release.run(PROGRAM, "status", env=env)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "The database is not migrated" in refused.stderr
    migrated = release.run(PROGRAM, "db", "migrate", env=env)
    assert migrated.returncode == 0, migrated.stderr
    assert f"ledger {VERSION}" in migrated.stdout
    assert pipeline.query("SELECT name, name_length FROM ledger.blob_state") == [("a.tif", 5)]
    assert release.run(PROGRAM, "census", env=env).returncode == 0
    assert check_schema(pipeline.database.connections)["ledger"] == VERSION
    write_raster(tmp_path / "container" / "b.tif")
    assert pipeline.run().success
    assert set(pipeline.items()) == {"a.tif", "b.tif"}
