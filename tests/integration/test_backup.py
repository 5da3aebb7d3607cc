"""A catalogue that was lost comes back: from its backup, and, as the last resort, from its containers."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner, Result
from psycopg import sql

from geo_assets.cli.main import main
from geo_assets.postgres.embedded import SUPERUSER, EmbeddedPostgres
from geo_assets.postgres.logins import PIPELINE_LOGIN
from geo_assets.resources.database import Database
from tests.api_server import served, settings_of
from tests.faults.killed_commands import PROGRAM
from tests.ledgers import blob, listed
from tests.next_release import VERSION, NextRelease
from tests.pipeline import SOURCE, Pipeline, as_user, open_pipeline
from tests.rasters import write_raster
from tests.services import own_environment
from tests.vectors import write_shapefile

pytestmark = pytest.mark.alters_roles

VECTORS = "vectors"
REMEMBERED = ("version", "geo_assets:previous_etag")


@pytest.fixture
def catalogued(pipeline: Pipeline, tmp_path: Path) -> Pipeline:
    """Good and bad rasters of two years, of which one was deleted and one replaced since, and a table."""
    folder = tmp_path / "container"
    for number in range(4):
        write_raster(folder / f"scene_2019010{number + 1}.tif", value=number)
    write_raster(folder / "scene_20230601.tif", value=9)
    (folder / "bad_20200101.tif").write_text("no raster")
    rule = [{"name": r"_(?P<date>\d{8})", "format": "%Y%m%d"}]
    pipeline.declare(folder.as_uri(), datetime=rule, deletions={"max_share": 1.0})
    assert pipeline.run().success
    (folder / "scene_20190101.tif").unlink()
    write_raster(folder / "scene_20190102.tif", value=77)
    assert pipeline.run().success
    write_shapefile(tmp_path / "layers" / "places.shp")
    pipeline.declare((tmp_path / "layers").as_uri(), name=VECTORS, tables={})
    assert pipeline.run("load_vectors", source=VECTORS).success
    return pipeline


def db(url: str, *arguments: str) -> Result:
    """Run `geo-assets db` on a database of which runs have the pipeline's login."""
    return CliRunner().invoke(main, ["db", *arguments], env=owner_variables(url), catch_exceptions=False)


def owner_variables(url: str) -> dict[str, str]:
    return {
        "GEO_ASSETS_DATABASE_URL": as_user(url, PIPELINE_LOGIN),
        "GEO_ASSETS_OWNER_DATABASE_URL": as_user(url, SUPERUSER),
    }


def rows(pipeline: Pipeline) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of the ledger and of the tables that vector files became, by table."""
    query = "SELECT schemaname, tablename FROM pg_tables WHERE schemaname IN ('ledger', 'vectors') ORDER BY 1, 2"
    names = [sql.Identifier(*name) for name in pipeline.query(query)]
    with psycopg.connect(pipeline.database_url) as connection:
        return {
            name.as_string(): connection.execute(
                sql.SQL("SELECT row_to_json(t)::text FROM {} AS t ORDER BY 1").format(name)
            ).fetchall()
            for name in names
        }


def test_a_backup_brings_back_items_ledger_tables_and_roles(
    catalogued: Pipeline, own_cluster: EmbeddedPostgres, tmp_path: Path
) -> None:
    url, file = catalogued.database_url, tmp_path / "catalogue.dump"
    made = db(url, "backup", str(file))
    assert made.exit_code == 0, made.output
    assert "5 items, 2 collections, 7 blobs" in made.stdout
    assert file.stat().st_mode & 0o077 == 0
    assert [path.name for path in tmp_path.iterdir() if "catalogue.dump" in path.name] == ["catalogue.dump"]
    items, kept = catalogued.items(), rows(catalogued)
    with psycopg.connect(own_cluster.url("postgres"), autocommit=True) as connection:
        lost = sql.Identifier(str(psycopg.conninfo.conninfo_to_dict(url)["dbname"]))
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(lost))
        connection.execute(sql.SQL("CREATE DATABASE {}").format(lost))

    restored = db(url, "restore", str(file))
    assert restored.exit_code == 0, restored.output
    assert "5 items, 2 collections, 7 blobs" in restored.stdout
    assert catalogued.items() == items
    assert rows(catalogued) == kept
    assert catalogued.database.census.take(SOURCE).green
    assert catalogued.database.census.take(VECTORS).green
    assert Database(database_url=url).schemas.verify()["reader may not load items"] == "yes"

    folder = tmp_path / "container"
    write_raster(folder / "scene_20240101.tif", value=5)
    (folder / "scene_20190103.tif").unlink()
    assert catalogued.run().success
    assert set(catalogued.items()) == set(items) - {"scene_20190103.tif"} | {"scene_20240101.tif"}
    assert catalogued.database.census.take(SOURCE).green
    with served(settings_of(url, catalogued.sources_path)) as client:
        search = {"collections": [SOURCE], "datetime": "2023-01-01T00:00:00Z/.."}
        found = client.post("/stac/search", json=search).json()["features"]
        assert {each["properties"]["geo_assets:blob"] for each in found} == {
            "scene_20230601.tif",
            "scene_20240101.tif",
        }
        assert len(client.get("/features/collections/vectors.places/items").json()["features"]) == 10


def test_a_catalogue_is_made_anew_from_its_containers(catalogued: Pipeline, database_url: str, tmp_path: Path) -> None:
    assert db(database_url, "migrate").exit_code == 0
    with open_pipeline(database_url, tmp_path) as anew:
        assert anew.run().success
        assert anew.run("load_vectors", source=VECTORS).success
        assert comparable(anew.items()) == comparable(catalogued.items())
        assert comparable(anew.items(VECTORS)) == comparable(catalogued.items(VECTORS))
        assert anew.query("SELECT * FROM vectors.places ORDER BY 1") == catalogued.query(
            "SELECT * FROM vectors.places ORDER BY 1"
        )
        assert {name: each.code for name, each in anew.failures().items()} == {"bad_20200101.tif": "not_a_raster"}
        assert anew.database.census.take(SOURCE).green
        assert anew.database.census.take(VECTORS).green
        collections = "SELECT id, content FROM pgstac.collections ORDER BY id"
        assert anew.query(collections) == catalogued.query(collections)


def comparable(items: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The items without what only a ledger remembers: that a blob had an earlier version."""
    return {
        name: {
            **item,
            "properties": {key: value for key, value in item["properties"].items() if key not in REMEMBERED},
            "stac_extensions": [url for url in item["stac_extensions"] if "/version/" not in url],
        }
        for name, item in items.items()
    }


def test_a_database_with_a_catalogue_and_a_file_that_is_no_backup_are_refused(
    catalogue: str, database_url: str, tmp_path: Path
) -> None:
    file = tmp_path / "catalogue.dump"
    assert db(catalogue, "backup", str(file)).exit_code == 0
    refused = db(catalogue, "restore", str(file))
    assert refused.exit_code == 1
    assert "invalid_configuration" in refused.stderr
    (tmp_path / "cut.dump").write_bytes(file.read_bytes()[:100])
    (tmp_path / "none.dump").write_text("no backup")
    for name in ("cut.dump", "none.dump"):
        refused = db(database_url, "restore", str(tmp_path / name))
        assert refused.exit_code == 1
        assert "pg_restore ended with status 1" in refused.stderr
    assert db(database_url, "restore", str(file)).exit_code == 0


def test_a_backup_of_an_older_release_is_migrated(catalogue: str, database_url: str, tmp_path: Path) -> None:
    listed(Database(database_url=catalogue), [blob("kept.tif")])
    file = tmp_path / "catalogue.dump"
    Database(database_url=catalogue).backup.write(file)
    release = NextRelease(tmp_path / "next")
    release.make()
    restored = release.run(PROGRAM, "db", "restore", str(file), env=own_environment(**owner_variables(database_url)))
    assert restored.returncode == 0, restored.stderr
    with psycopg.connect(as_user(database_url, PIPELINE_LOGIN)) as connection:
        assert connection.execute("SELECT name, name_length FROM ledger.blob_state").fetchall() == [("kept.tif", 8)]
        assert connection.execute("SELECT version_num FROM ledger.alembic_version").fetchall() == [(VERSION,)]
    assert Database(database_url=database_url).schemas.verify()["loader may write the ledger"] == "yes"


def test_a_backup_that_fails_leaves_the_file_of_before(database_url: str, tmp_path: Path) -> None:
    file = tmp_path / "catalogue.dump"
    file.write_text("yesterday's")
    failed = db(database_url, "backup", str(file))
    assert failed.exit_code == 1
    assert "not migrated" in failed.stderr
    assert file.read_text() == "yesterday's"
    assert list(tmp_path.iterdir()) == [file]


def test_no_password_is_on_a_command_line(catalogue: str, tmp_path: Path) -> None:
    password = str(psycopg.conninfo.conninfo_to_dict(catalogue)["password"])
    with ThreadPoolExecutor(1) as threads, psycopg.connect(catalogue) as connection:
        connection.execute("LOCK TABLE ledger.source")  # which pg_dump waits for
        backup = threads.submit(Database(database_url=catalogue).backup.write, tmp_path / "catalogue.dump")
        line = _command_line("pg_dump", connection.info.dbname)
    assert backup.result()["items"] == 0
    assert password not in line


def _command_line(program: str, argument: str) -> str:
    """The command line of the process of ``program`` with this in an argument, which is to come within a minute."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for place in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                line = place.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if program in line and argument in line:
                return line
        time.sleep(0.05)
    raise AssertionError(f"{program} does not run")
