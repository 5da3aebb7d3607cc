"""Snapshots and exports of a real catalogue: every field of every item comes back, in every reader."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import geopandas
import psycopg
import pyarrow.parquet as pq
import pystac
import pytest
import stac_geoparquet.arrow
from azure.storage.blob import ContainerClient
from click.testing import CliRunner
from dagster import DagsterInstance, build_schedule_context

from geo_assets.assets.jobs import snapshot_schedule
from geo_assets.catalogue import export as catalogue_reading
from geo_assets.catalogue.export import read_catalogue, write_geoparquet
from geo_assets.cli.main import main
from geo_assets.definitions import build_definitions
from geo_assets.resources.sources_file import SourcesFile
from tests.pipeline import SOURCE, Pipeline, failure_text
from tests.rasters import raster_bytes, write_raster
from tests.services import Azurite


@pytest.fixture
def varied(pipeline: Pipeline, folder: Path) -> Pipeline:
    """A catalogue whose items differ in the fields they have and in their types, from batch to batch."""
    write_raster(folder / "a_nan.tif", dtype="float32", nodata=float("nan"))
    write_raster(folder / "b_low.tif", dtype="float32", nodata=-3.4028234663852886e38)
    write_raster(folder / "c_half.tif", dtype="float64", nodata=0.5, count=3)
    write_raster(folder / "d_byte.tif", dtype="uint8", nodata=255)
    write_raster(folder / "e_own_crs.tif", crs="+proj=laea +lat_0=50 +lon_0=10 +datum=WGS84")
    write_raster(folder / "deep/er/f_geographic.tif", crs="EPSG:3035")
    pipeline.declare(folder.as_uri(), statistics=True)
    assert pipeline.run().success
    assert len(pipeline.items()) == 9
    return pipeline


def stated(value: Any) -> Any:
    """``value`` without what says nothing in a table: nulls, and with instants whatever their spelling."""
    if isinstance(value, dict):
        parts = {key: stated(part) for key, part in value.items()}
        return {key: part for key, part in parts.items() if part not in (None, [], {})}
    if isinstance(value, list | tuple):
        return [stated(part) for part in value]
    if isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", value):
        return datetime.fromisoformat(value)
    return value


def items_of(path: Path) -> dict[str, Any]:
    """The items of a stac-geoparquet file by id, as JSON has them."""
    with pq.ParquetFile(path) as file:
        items = list(stac_geoparquet.arrow.stac_table_to_items(file.read()))
    return {item["id"]: as_json(item) for item in items}


def as_json(item: dict[str, Any]) -> dict[str, Any]:
    """Undo what is documented: NaN is "nan" in JSON, and objects of no fixed shape are text in a column."""
    for band in (band for asset in item["assets"].values() for band in asset.get("bands") or []):
        if band.get("nodata") != band.get("nodata"):
            band["nodata"] = "nan"
    if projjson := item["properties"].get("proj:projjson"):
        item["properties"]["proj:projjson"] = json.loads(projjson)
    return {key: stated(value) for key, value in item.items()}


def test_a_snapshot_holds_every_field_of_every_item(
    varied: Pipeline, silver: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue_reading, "BATCH_SIZE", 2)
    result = varied.run("snapshot")
    assert result.success, failure_text(result)
    path = silver / "snapshots" / f"{SOURCE}.parquet"
    wanted = {item["id"]: stated(item) for item in varied.items().values()}
    found = items_of(path)
    assert set(found) == set(wanted)
    for item_id, item in wanted.items():
        assert found[item_id] == item, item_id
    with pq.ParquetFile(path) as file:
        assert file.num_row_groups == 5
        collections = json.loads(file.schema_arrow.metadata[b"stac-geoparquet"])["collections"]
    assert collections[SOURCE]["extent"] == varied.query("SELECT content FROM pgstac.collections")[0][0]["extent"]


def test_geopandas_and_duckdb_read_a_snapshot(varied: Pipeline, silver: Path) -> None:
    assert varied.run("snapshot").success
    path = silver / "snapshots" / f"{SOURCE}.parquet"
    items = {item["id"]: item for item in varied.items().values()}
    frame = geopandas.read_parquet(path)
    assert frame.crs.to_epsg() == 4326 or frame.crs.to_authority() == ("OGC", "CRS84")
    assert frame.geometry.is_valid.all()
    for row in frame.itertuples():
        assert row.geometry.bounds == pytest.approx(items[row.id]["bbox"], abs=1e-6)
    bbox = next(iter(items.values()))["bbox"]
    assert len(geopandas.read_parquet(path, bbox=tuple(bbox))) >= 1
    query = 'SELECT id, datetime, "proj:code", assets.data.href, bbox.xmin FROM read_parquet(?) ORDER BY id'
    for item_id, moment, code, href, west in duckdb.sql(query, params=[str(path)]).fetchall():
        item = items[item_id]
        assert moment.isoformat().startswith("2020-01-01")
        assert code == item["properties"].get("proj:code")
        assert (href, west) == (item["assets"]["data"]["href"], item["bbox"][0])


def test_the_ui_shows_what_a_snapshot_holds(pipeline: Pipeline, folder: Path, silver: Path) -> None:
    pipeline.run()
    result = pipeline.run("snapshot")
    [event] = result.asset_materializations_for_node("catalog_snapshot")
    path = silver / "snapshots" / f"{SOURCE}.parquet"
    metadata: dict[str, Any] = {key: entry.value for key, entry in event.metadata.items()}
    assert metadata["items"] == 3
    assert metadata["bytes"] == path.stat().st_size
    assert metadata["href"] == path.as_uri()
    assert {record.data["id"] for record in metadata["preview"].records} == {"scene_0", "scene_1", "scene_2"}
    assert "image/png" in metadata["footprints"]


def test_a_collection_without_items_gives_a_file_without_rows(pipeline: Pipeline, tmp_path: Path, silver: Path) -> None:
    (tmp_path / "empty").mkdir()
    pipeline.declare((tmp_path / "empty").as_uri())
    pipeline.run()
    result = pipeline.run("snapshot")
    assert result.success, failure_text(result)
    assert len(geopandas.read_parquet(silver / "snapshots" / f"{SOURCE}.parquet")) == 0


def test_a_source_that_was_never_ingested_has_no_snapshot(pipeline: Pipeline, folder: Path, silver: Path) -> None:
    result = pipeline.run("snapshot")
    assert not result.success
    assert "no collection 'rasters'" in failure_text(result)
    assert not silver.exists()


def test_a_snapshot_replaces_the_older_one_in_one_stroke(pipeline: Pipeline, folder: Path, silver: Path) -> None:
    pipeline.run()
    pipeline.run("snapshot")
    path = silver / "snapshots" / f"{SOURCE}.parquet"
    with path.open("rb") as reader:
        before = path.read_bytes()
        write_raster(folder / "scene_9.tif", value=9)
        pipeline.run()
        assert pipeline.run("snapshot").success
        assert reader.read() == before
    assert len(items_of(path)) == 4
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_a_snapshot_goes_to_a_container(
    pipeline: Pipeline, folder: Path, azurite: Azurite, container: ContainerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", azurite.connection_string)
    monkeypatch.setenv("GEO_ASSETS_SILVER", f"az://{container.container_name}/lake/silver")
    pipeline.run()
    result = pipeline.run("snapshot")
    assert result.success, failure_text(result)
    [blob] = container.list_blobs()
    assert blob.name == f"lake/silver/snapshots/{SOURCE}.parquet"
    assert blob.content_settings.content_type == "application/vnd.apache.parquet"
    copy = folder / "copy.parquet"
    copy.write_bytes(container.download_blob(blob.name).readall())
    assert len(items_of(copy)) == 3


def test_a_silver_place_that_is_not_there_fails_with_its_remedy(
    pipeline: Pipeline, folder: Path, azurite: Azurite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", azurite.connection_string)
    pipeline.run()
    for place, words in {"az://no-such-container": "does not exist", "silver": "GEO_ASSETS_SILVER` is neither"}.items():
        monkeypatch.setenv("GEO_ASSETS_SILVER", place)
        result = pipeline.run("snapshot")
        assert not result.success
        assert words in failure_text(result)


def test_a_reading_is_of_one_moment(pipeline: Pipeline, folder: Path, tmp_path: Path) -> None:
    pipeline.run()
    with read_catalogue(pipeline.database.connections) as reading:
        with psycopg.connect(pipeline.database_url) as other:
            other.execute("DELETE FROM pgstac.items")
        assert write_geoparquet(reading, tmp_path / "items.parquet") == 3


def test_a_static_catalogue_says_what_pgstac_says(varied: Pipeline, tmp_path: Path, cli: "Cli") -> None:
    target = tmp_path / "static"
    result = cli("export", "stac", str(target))
    assert "9 items in 1 collections" in result
    catalog = pystac.Catalog.from_file(str(target / "catalog.json"))
    moved = target.rename(tmp_path / "moved")
    catalog = pystac.Catalog.from_file(str(moved / "catalog.json"))
    [collection] = catalog.get_children()
    assert collection.id == SOURCE
    found = {item.id: item for item in catalog.get_items(recursive=True)}
    wanted = {item["id"]: item for item in varied.items().values()}
    assert set(found) == set(wanted)
    for item_id, item in found.items():
        written = json.loads(Path(item.self_href).read_text())
        assert {**written, "links": None} == {**wanted[item_id], "links": None}
        assert item.get_root() is catalog
        assert item.collection_id == SOURCE
        assert item.get_collection() is collection
        assert not any("://" in link["href"] for link in written["links"])


def test_an_export_never_mixes_with_what_is_there(varied: Pipeline, tmp_path: Path, cli: "Cli") -> None:
    target = tmp_path / "full"
    target.mkdir()
    (target / "thesis.txt").write_text("mine")
    assert "is not empty" in cli("export", "stac", str(target), status=1)
    assert [path.name for path in target.iterdir()] == ["thesis.txt"]


def test_an_export_can_be_of_one_collection(varied: Pipeline, tmp_path: Path, cli: "Cli") -> None:
    write_raster(tmp_path / "other" / "x.tif")
    varied.declare((tmp_path / "other").as_uri(), name="other")
    varied.run(source="other")
    assert "1 items of 1 collections" in cli(
        "export", "geoparquet", str(tmp_path / "o.parquet"), "--collection", "other"
    )
    assert list(items_of(tmp_path / "o.parquet")) == ["x"]
    assert "10 items of 2 collections" in cli("export", "geoparquet", str(tmp_path / "all.parquet"))
    assert len(items_of(tmp_path / "all.parquet")) == 10
    assert "no collection 'none'" in cli(
        "export", "geoparquet", str(tmp_path / "n.parquet"), "--collection", "none", status=1
    )
    assert not (tmp_path / "n.parquet").exists()


def test_an_id_that_no_path_may_hold_gets_a_file_of_its_own(
    varied: Pipeline, folder: Path, tmp_path: Path, cli: "Cli"
) -> None:
    (folder / "ÿ ä#?.tif").write_bytes(raster_bytes(value=3))
    varied.declare(folder.as_uri(), item_id="{path}")
    assert varied.run().success
    cli("export", "stac", str(tmp_path / "static"))
    catalog = pystac.Catalog.from_file(str(tmp_path / "static" / "catalog.json"))
    found = {item.id for item in catalog.get_items(recursive=True)}
    assert found == {item["id"] for item in varied.items().values()}


def test_the_schedule_asks_for_each_source(pipeline: Pipeline, folder: Path, tmp_path: Path) -> None:
    pipeline.declare(tmp_path.as_uri(), name="second")
    with DagsterInstance.local_temp(str(tmp_path)) as instance:
        context = build_schedule_context(
            instance,
            scheduled_execution_time=datetime(2030, 1, 1, 4, 41, tzinfo=UTC),
            repository_def=build_definitions(pipeline.resources()).get_repository_def(),
            resources={"sources_file": SourcesFile(path=str(pipeline.sources_path))},
        )
        requests = snapshot_schedule.evaluate_tick(context).run_requests
    assert [request.partition_key for request in requests or []] == [SOURCE, "second"]


class Cli:
    """Runs `geo-assets` on a pipeline's database."""

    def __call__(self, *arguments: str, status: int = 0) -> str:
        """What it prints; it must end with ``status``."""
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == status, result.output
        return result.output.replace("\n", "")


@pytest.fixture
def cli(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """`geo-assets` on the test's database."""
    monkeypatch.setenv("GEO_ASSETS_DATABASE_URL", pipeline.database_url)
    return Cli()
