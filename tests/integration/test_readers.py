"""What others make of our items: validators and readers of the field, on real items, without a warning or a network.

Here: acceptance of items by stac-validator, pystac, pystac-client, odc-stac and titiler's reader (rio-tiler).
Not here: whether the facts in them are right (`tests.unit.core`).
"""

import json
import threading
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import odc.stac
import psycopg
import pystac
import pystac.validation
import pystac_client
import pytest
import rasterio
from psycopg import sql
from pystac.validation.stac_validator import JsonSchemaSTACValidator
from rasterio.errors import NodataShadowWarning
from rasterio.transform import Affine, from_origin
from rio_tiler.errors import NoOverviewWarning
from rio_tiler.io import STACReader
from stac_validator.validate import StacValidate

from geo_assets.postgres.embedded import EmbeddedPostgres
from geo_assets.settings import Settings
from tests.conftest import SAMPLES
from tests.pipeline import SOURCE, Pipeline, open_pipeline
from tests.rasters import write_raster
from tests.unit.core import schemas

Item = dict[str, Any]


@pytest.fixture(scope="module")
def world(
    postgres_cluster: EmbeddedPostgres, migrated_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pipeline]:
    """Synthetic rasters, and the samples where they are there, catalogued once for the tests of this module."""
    name = f"readers_{uuid.uuid4().hex}"
    folder = tmp_path_factory.mktemp("readers")
    with psycopg.connect(postgres_cluster.url("postgres"), autocommit=True) as connection:
        copy = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
        connection.execute(copy.format(sql.Identifier(name), sql.Identifier(migrated_template)))
    with pytest.MonkeyPatch.context() as patch, open_pipeline(postgres_cluster.url(name), folder) as pipeline:
        patch.setitem(Settings.model_config, "env_file", None)
        write_synthetic(folder / "synthetic")
        pipeline.declare((folder / "synthetic").as_uri(), statistics=True)
        assert pipeline.run().success
        if SAMPLES:
            pipeline.declare(Path(SAMPLES).as_uri(), name="samples", item_id="{slug}")
            assert pipeline.run(source="samples").success
        yield pipeline


@pytest.fixture(scope="module")
def items(world: Pipeline) -> list[Item]:
    """Every item of the catalogue."""
    samples = list(world.items("samples").values()) if SAMPLES else []
    assert len(samples) > 25 or not SAMPLES
    return [*world.items().values(), *samples]


@pytest.fixture(scope="module")
def synthetic(world: Pipeline) -> dict[str, Item]:
    """The items of the synthetic rasters by the name of their file."""
    return world.items()


def write_synthetic(folder: Path) -> None:
    """Rasters whose items differ in all that readers look at."""
    write_raster(folder / "utm.tif")
    write_raster(folder / "cog.tif", driver="COG", size=1024, blocksize=256)
    write_raster(folder / "nan.tif", dtype="float32", nodata=float("nan"))
    write_raster(folder / "lowest.tif", dtype="float32", nodata=-3.4028234663852886e38)
    write_raster(folder / "bands.tif", dtype="uint8", nodata=0, count=4)
    write_raster(folder / "empty.tif", nodata=1)
    write_raster(folder / "geographic.tif", crs="EPSG:4326", transform=from_origin(10, 50, 0.01, 0.01))
    write_raster(folder / "date_line.tif", crs="EPSG:4326", transform=from_origin(179.9, 10, 0.0125, 0.0125))
    write_raster(folder / "pole.tif", crs="EPSG:3031", transform=from_origin(-8000, 8000, 1000, 1000))
    write_raster(folder / "no_code.tif", crs="+proj=laea +lat_0=50 +lon_0=10 +ellps=WGS84")
    turned = Affine.translation(500_000, 5_000_000) @ Affine.rotation(30) @ Affine.scale(30, -30)
    write_raster(folder / "turned.tif", transform=turned)
    path = write_raster(folder / "gradient.tif", dtype="int16", nodata=-1)
    with rasterio.open(path, "r+") as dataset:
        dataset.write(np.arange(256, dtype="int16").reshape(16, 16), 1)


@contextmanager
def no_warnings() -> Iterator[None]:
    """A warning is an error in here, but for what one library tells another's authors (of affine 3, of shapely 2.2).

    And for two about a file, not its item: it has nodata and an alpha band, or no overviews.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        warnings.simplefilter("ignore", NodataShadowWarning)
        warnings.simplefilter("ignore", NoOverviewWarning)
        yield


def path_of(item: Item) -> str:
    """The file the item describes."""
    href: str = item["assets"]["data"]["href"]
    return href


def test_stac_validator_finds_every_item_valid(items: list[Item]) -> None:
    where = {address: str(path) for address, path in schemas.all_files().items()}
    for item in items:
        validator = StacValidate(schema_map=dict(where))
        with no_warnings():
            assert validator.validate_dict(item), (item["id"], validator.message)


def test_pystac_reads_and_validates_every_item(items: list[Item]) -> None:
    validator = JsonSchemaSTACValidator()
    validator.schema_cache |= {address: json.loads(path.read_text()) for address, path in schemas.all_files().items()}
    for item in items:
        with no_warnings():
            read = pystac.Item.from_dict(item, preserve_dict=True)
            read.validate(validator=validator)
            assert read.to_dict(include_self_link=False, transform_hrefs=False) == item


@pytest.fixture
def stac_api(items: list[Item]) -> Iterator[str]:
    """The address of a STAC API on this machine that answers a search with all items, three a page."""
    page = 3

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(landing_page(self._root()))

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            wanted = [item for item in items if item["collection"] in body.get("collections", [item["collection"]])]
            start = int(body.get("token", 0))
            following = {**body, "token": str(start + page)}
            link = {"rel": "next", "method": "POST", "href": f"{self._root()}/search", "body": following}
            self._answer(
                {
                    "type": "FeatureCollection",
                    "features": wanted[start : start + page],
                    "links": [link] if start + page < len(wanted) else [],
                }
            )

        def _root(self) -> str:
            return f"http://{self.headers['host']}"

        def _answer(self, document: Item) -> None:
            content = json.dumps(document).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def landing_page(root: str) -> Item:
    """A landing page that says there is a search."""
    return {
        "type": "Catalog",
        "stac_version": "1.1.0",
        "id": "test",
        "description": "All items of a test.",
        "conformsTo": ["https://api.stacspec.org/v1.0.0/core", "https://api.stacspec.org/v1.0.0/item-search"],
        "links": [
            {"rel": "root", "href": root, "type": "application/json"},
            {"rel": "self", "href": root, "type": "application/json"},
            {"rel": "search", "href": f"{root}/search", "type": "application/geo+json", "method": "POST"},
        ],
    }


def test_pystac_client_searches_and_pages_through_the_items(stac_api: str, items: list[Item]) -> None:
    with no_warnings():
        client = pystac_client.Client.open(stac_api)
        found = client.search(max_items=None).item_collection()
        ours = list(client.search(collections=[SOURCE], max_items=5).items())
    assert sorted(item.id for item in found) == sorted(item["id"] for item in items)
    assert {item.id: item.geometry for item in found} == {item["id"]: item["geometry"] for item in items}
    assert len(ours) == 5
    assert all(isinstance(item, pystac.Item) and item.datetime for item in ours)


@pytest.mark.parametrize("name", ["utm.tif", "cog.tif", "gradient.tif", "geographic.tif", "bands.tif", "nan.tif"])
def test_odc_stac_loads_the_pixels_rasterio_reads(synthetic: dict[str, Item], name: str) -> None:
    item = synthetic[name]
    with no_warnings():
        loaded = odc.stac.load([pystac.Item.from_dict(item)])
    with rasterio.open(path_of(item)) as dataset:
        expected = dataset.read()
        assert tuple(loaded.odc.geobox.affine) == pytest.approx(tuple(dataset.transform))
        assert loaded.odc.crs.to_epsg() == dataset.crs.to_epsg()
    assert len(loaded.data_vars) == dataset.count
    for band, values in zip(loaded.data_vars.values(), expected, strict=True):
        assert band.dtype == values.dtype
        np.testing.assert_array_equal(band.isel(time=0).values, values)


def test_odc_stac_knows_every_item_without_opening_its_file(items: list[Item]) -> None:
    for item in items:
        with no_warnings():
            parsed = odc.stac.parse_item(pystac.Item.from_dict(item))
        assert len(parsed.bands) == len(item["assets"]["data"]["bands"]), item["id"]


def test_titilers_reader_reads_every_item(items: list[Item]) -> None:
    """It warns of a band without least and greatest value, so of every item without statistics; and of no other."""
    for item in items:
        with (
            no_warnings(),
            STACReader(None, item=pystac.Item.from_dict(item)) as reader,
            warnings.catch_warnings(record=True) as said,
        ):
            warnings.filterwarnings("always", message="Some statistics data in STAC are invalid")
            assert reader.bounds == pytest.approx(item["properties"].get("proj:bbox", item["bbox"])), item["id"]
            image = reader.preview(assets=["data"], max_size=64)
        known = [band.get("statistics", {}) for band in item["assets"]["data"]["bands"]]
        assert bool(said) == (not all({"minimum", "maximum"} <= each.keys() for each in known)), item["id"]
        with rasterio.open(path_of(item)) as dataset:
            assert image.count == sum(interpretation.name != "alpha" for interpretation in dataset.colorinterp)


def test_statistics_lack_a_figure_only_where_no_pixel_is_valid(synthetic: dict[str, Item]) -> None:
    """Then the share of valid pixels, 0, is a fact that stays: without it readers warn just the same."""
    complete = {"valid_percent", "minimum", "maximum", "mean", "stddev"}
    for name, item in synthetic.items():
        for band in item["assets"]["data"]["bands"]:
            if name == "empty.tif":
                assert band["statistics"] == {"valid_percent": 0.0}
            else:
                assert band["statistics"].keys() == complete, name


def test_titilers_reader_cuts_a_tile_with_the_files_pixels(synthetic: dict[str, Item]) -> None:
    item = synthetic["gradient.tif"]
    with no_warnings(), STACReader(None, item=pystac.Item.from_dict(item)) as reader:
        whole = reader.part(item["bbox"], assets=["data"], dst_crs="EPSG:32633", bounds_crs="EPSG:4326")
        west, south, east, north = item["bbox"]
        longitude, latitude = (west + east) / 2, (south + north) / 2
        point = reader.point(longitude, latitude, assets=["data"])
        tile = next(iter(reader.tms.tiles(longitude, latitude, longitude, latitude, [14])))
        image = reader.tile(tile.x, tile.y, tile.z, assets=["data"])
    seen = image.array.compressed()
    assert seen.size > 0
    assert set(seen.tolist()) <= set(range(256))
    with rasterio.open(path_of(item)) as dataset:
        xs, ys = rasterio.warp.transform("EPSG:4326", dataset.crs, [longitude], [latitude])
        assert point.data[0] == next(dataset.sample([(xs[0], ys[0])]))[0]
    assert whole.count == 1
