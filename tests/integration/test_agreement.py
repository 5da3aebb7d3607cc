"""Do files, tables and items agree: one source of each kind, in a container and in a folder, sound and damaged.

Here: what census, repair and the job reconcile find in each kind of source, and that they leave alone what is sound.
Not here: damage to claims and the ledger, which all kinds have in common (`test_census`).
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
import shapely
from azure.storage.blob import BlobServiceClient, ContainerClient
from click.testing import CliRunner, Result
from dagster import ExecuteInProcessResult

from geo_assets.assets import census
from geo_assets.cli.main import main
from geo_assets.postgres.locks import Lock, take
from geo_assets.sensors.alerts import find_troubles
from tests.pipeline import Pipeline, failure_text
from tests.rasters import write_raster
from tests.services import Azurite
from tests.unit.core.formats.files import gdal_netcdf_bytes
from tests.unit.core.formats.zarr_files import write_cube
from tests.vectors import POINTS, write_geoparquet, write_shapefile, write_vector

VECTOR_SOURCES = ("vectors", "appended", "upserted")
JOBS = {
    **dict.fromkeys(("rasters", "scenes", "cubes"), "ingest_rasters"), **dict.fromkeys(VECTOR_SOURCES, "load_vectors")
}  # fmt: skip
NOT_OF_TABLES = ("header", "raster", "xclude")
CHECKS = (
    "blobs_have_items", "header_agreement", "items_are_claimed", "items_are_current", "items_are_unique",
    "items_have_blobs", "items_have_sources",
)  # fmt: skip
ITEM = "(content -> 'properties' ->> 'geo_assets:blob') = '{}'"
GONE = f"DELETE FROM pgstac.items WHERE {ITEM}"
TWIN = (
    "INSERT INTO pgstac.items SELECT id || '-twin', geometry, collection, datetime, end_datetime, content, private "
    f"FROM pgstac.items WHERE {ITEM}"
)
MOVED = f"UPDATE pgstac.items SET geometry = ST_Translate(geometry, 0.0001, 0) WHERE {ITEM}"


def changed(path: str, value: str) -> str:
    """The statement that has an item state another value; its blob is still to be filled in."""
    return f"UPDATE pgstac.items SET content = jsonb_set(content, '{{{{{path}}}}}', '{value}') WHERE {ITEM}"


# blob: (what damages it, its table or its item, what the census calls that, what is said when the blob is opened again)
Damage = dict[str, tuple[str, str | None, str | None]]
# Of a file with a layer for each damage, so that it is read once: (what damages the table, what is said of it).
LAYERS = {
    "deleted": ("DELETE FROM {} WHERE fid = 3", "1 row of the file is not in table {}"),
    "added": ("INSERT INTO {} (fid, number) VALUES (99, 99)", "1 row of table {} is not in the file"),
    "edited": ("UPDATE {} SET number = -1 WHERE fid IN (1, 2)", "2 rows of the file are not in table {}"),
    "moved": ("UPDATE {} SET geom = ST_Translate(geom, 0.5, 0)", "the extent of table {} is [0.5, 0, 19.5, 9.5]"),
    "narrow": ("ALTER TABLE {} DROP COLUMN number", "table {} has no column number (bigint)"),
    "wide": ("ALTER TABLE {} ADD COLUMN more integer", "table {} has a column more (integer), and the file has none"),
    "typed": (
        "ALTER TABLE {} ALTER COLUMN number TYPE text", "column number of table {} is text, and bigint in the file"
    ),
    "placeless": ("ALTER TABLE {} DROP COLUMN geom", "table {} has no column geom (geometry(Point,4326))"),
    "gone": ("DROP TABLE {}", "there is no table {}"),
    "unlisted": (
        "DELETE FROM pgstac.items WHERE content -> 'properties' ->> 'geo_assets:layer' = 'unlisted'",
        "layer unlisted has no item",
    ),
    "sound": ("SELECT 1", ""),
}  # fmt: skip
VECTORS: Damage = {
    "vectors/layers.gpkg": (
        "; ".join(damage.format(f"vectors.layers_{layer}") for layer, (damage, _) in LAYERS.items()),
        "missing",
        "; ".join(said.format(f"vectors.layers_{layer}") for layer, (_, said) in LAYERS.items() if said),
    ),
    "vectors/untabled.shp": ("DROP TABLE vectors.untabled", "missing", "there is no table vectors.untabled"),
    "vectors/miscounted.csv": (
        changed("properties,table:row_count", "19"), None, "table:row_count of the item is 19, and the file has 20 rows"
    ),
    "vectors/misplaced.parquet": (changed("bbox,0", "-3"), None, "bbox of the item is [-3,"),
    "vectors/misdescribed.fgb": (
        changed("properties,table:columns,2,type", '"text"'), None, "table:columns of the item has number (text)"
    ),
    "vectors/miscast.geojson": (
        changed("properties,proj:code", '"EPSG:25832"'), None, "proj:code of the item is EPSG:25832"
    ),
    "vectors/itemless.geojsonl": (GONE, "missing", None),
    "vectors/twice.kml": (TWIN, "duplicate", None),
}  # fmt: skip
RASTERS: Damage = {
    "rasters/recast.tif": (changed("properties,proj:code", '"EPSG:4326"'), None, "proj:code is EPSG:4326"),
    "rasters/reshaped.tif": (changed("properties,proj:shape", "[1, 2]"), None, "proj:shape is [1, 2]"),
    "rasters/shifted.tif": (changed("properties,proj:transform,2", "7"), None, "proj:transform is ["),
    "rasters/moved.tif": (MOVED, None, "the geometry and the header's footprint share"),
    "rasters/boxed.tif": (changed("bbox,0", "-3"), None, "bbox of the item is [-3,"),
    "rasters/altered.nc": (changed("properties,proj:code", '"EPSG:4326"'), None, "proj:code is EPSG:4326"),
    "rasters/itemless.tif": (GONE, "missing", None),
    "rasters/twice.tif": (TWIN, "duplicate", None),
}
CUBES: Damage = {
    "altered.zarr/zarr.json": (changed("properties,proj:shape", "[1, 2]"), None, "proj:shape is [1, 2]"),
    "itemless.zarr/.zgroup": (GONE, "missing", None),
    "twice.zarr/zarr.json": (TWIN, "duplicate", None),
}
# By scene: the blob that tells is not what the item is called after.
SCENES: dict[str, tuple[str, str | None, str | None]] = {
    "moved": (MOVED, None, "the geometry and the header's footprint share"),  # that of red, which gives it
    "altered": (changed("assets,pan,proj:shape", "[3, 3]"), None, "proj:shape is [3, 3]"),
    "unbanded": (f"UPDATE pgstac.items SET content = content #- '{{{{assets,pan}}}}' WHERE {ITEM}", None, "no asset"),
    "untold": (
        f"UPDATE pgstac.items SET content = content #- '{{{{assets,MTL.json}}}}' WHERE {ITEM}",
        None,
        "no asset",
    ),
    "unpictured": (
        f"UPDATE pgstac.items SET content = content #- '{{{{assets,thumb}}}}' WHERE {ITEM}",
        None,
        "no asset",
    ),
    "resized": (changed("assets,thumb,file:size", "1"), None, "file:size is 1"),
    "itemless": (GONE, "missing", None),
    "twice": (TWIN, "duplicate", None),
}
TELLS = {
    "moved": "moved_red.tif", "altered": "altered_pan.tif", "unbanded": "unbanded_pan.tif", "untold": "untold_MTL.json",
    "unpictured": "unpictured_thumb.txt", "resized": "resized_thumb.txt",
}  # fmt: skip
# Two files with a table in common.
APPENDED: Damage = {
    "a.gpkg": (
        "DELETE FROM vectors.together WHERE source_blob = '{}' AND number = 3",
        None, "1 row of the file is not in table vectors.together",
    ),
    "b.gpkg": (
        "INSERT INTO vectors.together (number, source_blob) VALUES (99, '{}')",
        None, "1 row of table vectors.together is not in the file",
    ),
}  # fmt: skip
# The rows of key 3 and on are of both, and are the second's.
UPSERTED: Damage = {
    "a.gpkg": (
        "DELETE FROM vectors.merged WHERE source_blob = '{}' AND number = 1",
        None, "1 row of the file is not in table vectors.merged",
    ),
}  # fmt: skip
PLANTED: dict[str, Damage] = {
    "vectors": VECTORS, "appended": APPENDED, "upserted": UPSERTED, "rasters": RASTERS, "cubes": CUBES,
    "scenes": SCENES,
}  # fmt: skip


def write_vectors(folder: Path) -> None:
    """A file of twenty points for each damage, each in a format of its own; and a sound one."""
    for layer in LAYERS:
        path = folder / "layers.gpkg"
        write_vector(path, list(POINTS), driver="GPKG", layer=layer, append=path.exists())
    write_shapefile(folder / "untabled.shp")
    write_geoparquet(folder / "misplaced.parquet", POINTS, number=list(range(len(POINTS))))
    write_vector(folder / "misdescribed.fgb", list(POINTS), driver="FlatGeobuf")
    write_vector(folder / "miscast.geojson", list(POINTS), driver="GeoJSON")
    write_vector(folder / "itemless.geojsonl", list(POINTS), driver="GeoJSONSeq")
    write_vector(folder / "twice.kml", list(POINTS), driver="LIBKML")
    lines = [f"{number},{point.y},{point.x}" for number, point in enumerate(POINTS)]
    (folder / "miscounted.csv").write_text("\n".join(["number,lat,lon", *lines]))
    # Of which the table is not as the file is: reprojected, repaired, cut, a row left out.
    bow = shapely.Polygon([(0, 0), (9e3, 9e3), (9e3, 0), (0, 9e3), (0, 0)])
    shapes = [bow, None, shapely.box(2e7, 0, 2.01e7, 1e4)]
    write_vector(folder / "sound.gpkg", shapes, driver="GPKG", geometry_type="Polygon", crs="EPSG:3857")


def write_scenes(folder: Path) -> None:
    """Scenes of two rasters on grids of their own, a JSON member and a file that is neither."""
    for scene in (*SCENES, "sound"):
        write_raster(folder / f"{scene}_red.tif")
        write_raster(folder / f"{scene}_pan.tif", size=20)
        (folder / f"{scene}_MTL.json").write_text(json.dumps({"cover": 12.5}))
        (folder / f"{scene}_thumb.txt").write_text("no raster")


# What loading a file again may change: numbers of rows in tables of many files, and whose row one of a key is.
LEFT_OUT = {"replace": "''", "append": "'fid'", "upsert": "'fid' - 'source_blob'"}
NUMBERS: dict[str, list[Any]] = {"number": list(range(3, 9))}
SCENE_RULE = {
    "name": r"(?P<item>[a-z]+)_(?P<asset>[^/]+?)(\.tif|\.txt)?$",
    "required": ["red", "MTL.json"],
    "properties": {"eo:cloud_cover": {"json": "MTL.json", "path": "/cover", "type": "number"}},
}


@dataclass(frozen=True)
class World:
    """Sources of each kind, all catalogued."""

    pipeline: Pipeline
    connection_string: str

    def run(self, source: str) -> dict[str, bool]:
        """Run the source's own job; whether each check passed."""
        return self._passed(self.pipeline.run(JOBS[source], source=source))

    def reconcile(self, source: str) -> dict[str, bool]:
        """Reconcile all blobs of the source; whether each check passed."""
        checks = ("stac_items_header_agreement", "vector_tables_header_agreement")
        ops = {"container_listing": {"config": {"sample": 100}}, **{key: {"config": {"blobs": 100}} for key in checks}}
        return self._passed(self.pipeline.run("reconcile", source=source, run_config={"ops": ops}))

    def _passed(self, result: ExecuteInProcessResult) -> dict[str, bool]:
        assert result.success, failure_text(result)
        return {each.check_name: each.passed for each in result.get_asset_check_evaluations()}

    def plant(self, source: str) -> None:
        """Damage the source in every way that its kind can be."""
        for blob, (statement, _, _) in PLANTED[source].items():
            self.pipeline.execute(statement.format(blob))

    def state(self) -> list[Any]:
        """All that repair could change: rows of the ledger and the catalogue, and tables by their own identity."""
        rows = ("ledger.blob", "ledger.item", "ledger.vector_table", "ledger.raster_metadata", "pgstac.items")
        digests = [
            self.pipeline.query(f"SELECT md5(string_agg(t::text, ' ' ORDER BY t::text)) FROM {table} AS t")
            for table in rows
        ]
        classes = "SELECT oid, relfilenode, relname FROM pg_class WHERE relnamespace = 'vectors'::regnamespace"
        return [*digests, self.pipeline.query(f"{classes} ORDER BY oid")]

    def contents(self, source: str) -> dict[str, Any]:
        """The items of the source by their ids, and the rows of its tables."""
        items = self.pipeline.query(
            "SELECT id, content::text, ST_AsText(geometry) FROM pgstac.items "
            f"WHERE collection = '{source}' ORDER BY id, content::text"
        )
        made = "SELECT DISTINCT table_name, mode FROM ledger.vector_table WHERE source = '{}'"
        rows = {
            table: self.pipeline.query(f"SELECT to_jsonb(t) - {LEFT_OUT[mode]} FROM vectors.{table} AS t ORDER BY 1")
            for table, mode in self.pipeline.query(made.format(source))
        }
        return {"items": items, **rows}


@pytest.fixture(scope="module")
def world(module_pipeline: Pipeline, azurite: Azurite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Rasters and vectors in a container, scenes and Zarr stores in folders, all catalogued once."""
    folder = tmp_path_factory.mktemp("agreement")
    for blob in (*RASTERS, "rasters/sound.tif"):
        if blob.endswith(".nc"):
            (folder / blob).write_bytes(gdal_netcdf_bytes())
        else:
            write_raster(folder / blob)
    write_vectors(folder / "vectors")
    write_scenes(folder / "scenes")
    for store in (*CUBES, "sound.zarr/zarr.json"):
        write_cube(folder / "cubes" / store.partition("/")[0], zarr_format=2 if store.endswith(".zgroup") else 3)
    declare, most = module_pipeline.declare, {"max_share": 1}
    name = "test-agreement"
    with (
        pytest.MonkeyPatch.context() as patch,
        BlobServiceClient.from_connection_string(azurite.connection_string) as service,
        service.create_container(name) as container,
    ):
        patch.setenv("AZURE_STORAGE_CONNECTION_STRING", azurite.connection_string)
        patch.setenv("GEO_ASSETS_WORKERS", "1")
        upload(container, folder, "rasters")
        upload(container, folder, "vectors")
        declare(f"az://{name}/rasters", name="rasters", include=["**/*.tif", "**/*.nc"], deletions=most)
        declare(f"az://{name}/vectors", name="vectors", tables={"null_geometry": "drop"}, deletions=most)
        for source, tables in (
            ("appended", {"name": "together", "mode": "append"}),
            ("upserted", {"name": "merged", "mode": "upsert", "key": ["number"]}),
        ):
            write_vector(folder / source / "a.gpkg", list(POINTS[:5]), driver="GPKG")
            write_vector(folder / source / "b.gpkg", list(POINTS[3:9]), driver="GPKG", fields=NUMBERS)
            declare((folder / source).as_uri(), name=source, tables=tables)
        declare((folder / "scenes").as_uri(), name="scenes", include=["**"], group=SCENE_RULE, deletions=most)
        declare((folder / "cubes").as_uri(), name="cubes", include=["**/*.zarr"], deletions=most)
        made = World(module_pipeline, azurite.connection_string)
        for source in JOBS:
            made.run(source)
            assert made.pipeline.failures(source) == {}
            assert made.pipeline.status(source).pending == 0
        yield made
        service.delete_container(name)


def upload(container: ContainerClient, folder: Path, part: str) -> None:
    for path in sorted((folder / part).rglob("*")):
        if path.is_file():
            container.upload_blob(path.relative_to(folder).as_posix(), path.read_bytes())


@pytest.fixture(autouse=True)
def _environment(world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", world.connection_string)
    monkeypatch.setenv("GEO_ASSETS_DATABASE_URL", world.pipeline.database_url)
    monkeypatch.setenv("GEO_ASSETS_SOURCES", str(world.pipeline.sources_path))
    monkeypatch.setenv("GEO_ASSETS_SCRATCH", str(tmp_path / "scratch"))
    monkeypatch.setenv("GEO_ASSETS_WORKERS", "1")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, [*arguments, "--sample", "100"], catch_exceptions=False)


def answers(*arguments: str, status: int) -> dict[str, Any]:
    """What the command says of each source, by its name."""
    result = run(*arguments, "--json")
    assert result.exit_code == status, result.output
    return {each["source"]: each for each in json.loads(result.stdout)}


def counted(answer: dict[str, Any]) -> dict[str, int]:
    return {kind: number for kind, number in answer["counts"].items() if number}


def check_found(source: str, answer: dict[str, Any]) -> None:
    """Each planted damage is found, is called by its name, and nothing else is found."""
    planted = PLANTED[source]
    kinds = [kind for _, kind, _ in planted.values() if kind]
    assert counted(answer) == {kind: kinds.count(kind) for kind in set(kinds)}
    said = {TELLS.get(blob, blob): said for blob, (_, _, said) in planted.items() if said}
    found = {name: "; ".join(each) for name, each in answer["headers"]["disagreements"].items()}
    assert found.keys() == said.keys(), found
    if source in VECTOR_SOURCES:
        assert [word for word in NOT_OF_TABLES if word in " ".join(found.values())] == []
    assert [words for name, each in said.items() for words in each.split("; ") if words not in found[name]] == []


def test_sound_sources_of_each_kind_are_green_and_repair_leaves_them_as_they_are(world: World, tmp_path: Path) -> None:
    before = world.state()
    green = answers("census", status=0)
    assert {name: (counted(each), each["headers"]["disagreements"]) for name, each in green.items()} == dict.fromkeys(
        JOBS, ({}, {})
    )
    compared = {name: (each["headers"]["compared"], each["headers"]["not_compared"]) for name, each in green.items()}
    assert compared == {name: (world.pipeline.status(name).blobs, 0) for name in JOBS}
    repaired = answers("repair", status=0)
    assert all(not any(each["mended"].values()) for each in repaired.values())
    assert world.state() == before
    assert list((tmp_path / "scratch").iterdir()) == []


@pytest.mark.parametrize("source", PLANTED)
def test_each_disagreement_is_found_and_repaired_by_command(world: World, source: str) -> None:
    before = world.contents(source)
    world.plant(source)
    check_found(source, answers("census", source, status=1)[source])
    check_found(source, answers("repair", source, status=0)[source])
    world.run(source)
    assert world.contents(source) == before
    assert world.pipeline.database.census.take(source).green


@pytest.mark.parametrize("source", ["vectors", "rasters", "cubes", "scenes"])
def test_each_disagreement_is_repaired_by_the_job_reconcile(world: World, source: str) -> None:
    before = world.contents(source)
    world.plant(source)
    assert world.reconcile(source) == dict.fromkeys(CHECKS, True)
    assert world.contents(source) == before
    assert world.pipeline.database.census.take(source).green


def test_a_shared_table_with_other_columns_is_told_and_no_file_pays_for_it(world: World) -> None:
    world.pipeline.execute("ALTER TABLE vectors.together ADD COLUMN more integer")
    before = world.state()
    repaired = answers("repair", "appended", status=0)["appended"]
    assert repaired["headers"]["not_mended"] == ["a.gpkg", "b.gpkg"]
    assert not any(repaired["mended"].values())
    assert world.state() == before
    said = " ".join(run("census", "appended").output.split())
    assert "b.gpkg: table vectors.together has a column more (integer), and the file has none" in said
    assert "drop it with `geo-assets tables drop` for each of its files" in said
    assert [word for word in NOT_OF_TABLES if word in said] == []

    assert world.reconcile("appended") == {**dict.fromkeys(CHECKS, True), "header_agreement": False}
    resources, instance = world.pipeline.resources(), world.pipeline.instance
    troubles = find_troubles(instance, sources_file=resources["sources_file"], database=world.pipeline.database)
    (told,) = [each for each in troubles.findings if each.kind == "census"]
    assert (told.what, told.count) == ("Checks of vector_tables that failed: header_agreement (2)", 2)
    assert told.link == "assets/vector_tables?view=checks&partition=appended"
    world.pipeline.execute("ALTER TABLE vectors.together DROP COLUMN more")
    assert world.reconcile("appended")["header_agreement"]


def test_a_file_that_is_loaded_meanwhile_or_is_too_much_is_not_compared(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with psycopg.connect(world.pipeline.owner_url) as loading:
        take(loading, Lock.VECTOR_FILE, "appended", "a.gpkg")
        headers = answers("census", "appended", status=0)["appended"]["headers"]
        assert (headers["compared"], headers["not_compared"], headers["disagreements"]) == (1, 1, {})
    monkeypatch.setattr(census, "MOST_VECTOR_BYTES", 1)
    headers = answers("census", "appended", status=0)["appended"]["headers"]
    assert (headers["compared"], headers["not_compared"]) == (1, 1)
    assert "appended: not compared: 1" in run("census", "appended").output


def test_repair_draws_again_until_no_blob_of_a_sample_disagrees(world: World) -> None:
    world.plant("appended")
    arguments = ["repair", "appended", "--sample", "1", "--json"]
    (repaired,) = json.loads(CliRunner().invoke(main, arguments, catch_exceptions=False).stdout)
    assert set(repaired["headers"]["disagreements"]) == {"a.gpkg", "b.gpkg"}
    assert repaired["mended"]["to_describe"] == 2
    world.run("appended")
