"""Sidecars: which they are, that a raster's version includes them, and how they place it."""

import hashlib
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pyproj
import pytest

from geo_assets.errors import MissingCrs, MissingTransform
from geo_assets.models import BlobPage, BlobRef, GroundControl, Refusal
from geo_assets.raster.footprint import with_footprint
from geo_assets.raster.formats.reading import place, read_world_file
from geo_assets.sources.source import CollectionRule, Source
from geo_assets.storage.listing import SourceListing
from geo_assets.storage.related_blobs import is_sidecar, placing_names
from tests.unit.core.rasters import NORTH_UP, metadata

WORLD = b"10.0\n0.0\n0.0\n-10.0\n500005.0\n4999995.0\n"
UTM33_ESRI = pyproj.CRS("EPSG:32633").to_wkt("WKT1_ESRI").encode()


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("a/b.tif.ovr", True),
        ("b.tif.msk", True),
        ("b.tif.aux.xml", True),
        ("b.TFW", True),
        ("b.jgw", True),
        ("b.prj", True),
        ("b.wld", True),
        ("b.tif", False),
        ("b.xml", False),
        ("ovr", False),
        ("prj/b.png", False),
    ],
)
def test_a_sidecar_is_known_by_its_name(name: str, is_one: bool) -> None:
    assert is_sidecar(name) is is_one


def test_what_may_place_a_raster_lies_beside_it() -> None:
    assert placing_names("x/a.b.png")[::2] == ("x/a.b.pgw", "x/a.b.pngw", "x/a.b.wld", "x/a.b.prj")
    assert placing_names("a.TIFF")[:2] == ("a.tfw", "a.TFW")
    assert placing_names("x.y/name") == ()
    assert placing_names("name.") == ()


def blob(name: str, etag: str = "1") -> BlobRef:
    return BlobRef(name=name, etag=etag, size_bytes=1, last_modified=datetime(2024, 5, 6, tzinfo=UTC))


def listed(*pages: list[BlobRef], **fields: Any) -> tuple[dict[str, str], SourceListing]:
    collection = CollectionRule(id="c", description="d")
    source = Source(name="s", url="az://bronze", collection=collection, include=("**",), **fields)
    listing = SourceListing(source, [BlobPage(page) for page in pages])
    return {each.name: each.etag for page in listing for each in page}, listing


def test_sidecars_are_passed_over_and_counted() -> None:
    versions, listing = listed([blob("a.tif"), blob("a.tif.aux.xml"), blob("a.tif.ovr"), blob("b.png"), blob("c.msk")])
    assert versions == {"a.tif": "1", "b.png": "1"}
    assert (listing.sidecars, listing.ignored) == (3, 3)


def test_the_version_of_a_raster_changes_with_its_world_file_and_prj_only() -> None:
    plain, _ = listed([blob("a.png")])
    first, _ = listed([blob("a.pgw", "x"), blob("a.png"), blob("a.prj", "y"), blob("ab.png")])
    other, _ = listed([blob("a.pgw", "X"), blob("a.png"), blob("a.prj", "y"), blob("a.png.aux.xml"), blob("ab.png")])
    assert plain["a.png"] == "1"
    assert first["ab.png"] == other["ab.png"] == "1"
    assert len({plain["a.png"], first["a.png"], other["a.png"]}) == 3
    digest = hashlib.sha256(b"a.pgw\nx\na.prj\ny").hexdigest()[:12]
    assert first["a.png"] == f"1;sidecars={digest}"
    assert (blob("a", first["a.png"]).own_etag, blob("a", first["a.png"]).has_sidecars) == ("1", True)


def test_sidecars_on_the_pages_beside_count_as_well() -> None:
    together, _ = listed([blob("a.pgw"), blob("a.png"), blob("a.prj")])
    apart, listing = listed([blob("a.pgw")], [blob("a.png")], [blob("a.prj")])
    assert together == apart
    assert listing.complete


def test_a_world_file_speaks_of_the_centre_of_its_first_pixel() -> None:
    assert read_world_file(WORLD, "a.pgw") == (10.0, 0.0, 500_000.0, 0.0, -10.0, 5_000_000.0)
    assert read_world_file(b"1 2 3 4 5 6".replace(b" ", b"\r\n"), "a.pgw") == (1.0, 3.0, 3.0, 2.0, 4.0, 3.0)


@pytest.mark.parametrize(
    "content", [b"", b"1\n2\n3", b"1\n0\n0\n-1\nnan\n0", b"a b c d e f", b"1" * 60_000, b"\xff" * 99]
)
def test_what_is_no_world_file_is_a_missing_transform_that_names_it(content: bytes) -> None:
    with pytest.raises(MissingTransform, match=r"a\.pgw beside it is no world file"):
        place(metadata(transform=None), sidecars={"x/a.pgw": content}, assume_crs=None)


def test_a_picture_is_placed_by_world_file_and_prj_and_says_so() -> None:
    placed = place(metadata(None, None), sidecars={"x/a.pgw": WORLD, "x/a.prj": UTM33_ESRI}, assume_crs="EPSG:4326")
    assert placed.transform == (10.0, 0.0, 500_000.0, 0.0, -10.0, 5_000_000.0)
    assert pyproj.CRS.from_wkt(str(placed.crs_wkt2)).utm_zone == "33N"
    assert placed.transform_source == "world file a.pgw beside it"
    assert placed.crs_source == "a.prj beside it"


def test_what_the_file_says_counts_before_its_sidecars() -> None:
    placed = place(metadata(), sidecars={"a.tfw": WORLD, "a.prj": UTM33_ESRI}, assume_crs="EPSG:3857")
    assert placed == metadata()
    assert placed.transform == tuple(NORTH_UP)[:6]


def test_a_crs_is_assumed_only_where_the_source_says_so() -> None:
    bare = with_footprint(place(metadata(None, NORTH_UP), sidecars={}, assume_crs=None))
    assert isinstance(bare.footprint, Refusal)
    assert bare.footprint.code == "missing_crs"
    assumed = place(metadata(None, NORTH_UP), sidecars={}, assume_crs="EPSG:4326")
    assert (assumed.crs_code, assumed.crs_source) == ("EPSG:4326", "assumed by the source: EPSG:4326")


def test_a_prj_that_is_none_is_a_missing_crs_that_names_it() -> None:
    with pytest.raises(MissingCrs, match=r"a\.prj beside it"):
        place(metadata(None), sidecars={"a.prj": b"/etc/passwd"}, assume_crs="EPSG:4326")


@pytest.mark.parametrize("parameter", ["nadgrids", "geoidgrids", "model"])
def test_a_crs_that_names_a_file_is_none_whoever_states_it(parameter: str) -> None:
    """PROJ would open it in whichever process works with the raster, and wait for ever if it is a pipe."""
    extension = f'EXTENSION["PROJ4","+proj=tmerc +lon_0=9 +ellps=bessel +{parameter}=/etc/passwd +wktext"]'
    hostile = pyproj.CRS(32632).to_wkt("WKT1_GDAL").removesuffix("]") + f",{extension}]"
    with pytest.raises(MissingCrs, match="names the file '/etc/passwd'"):
        place(metadata(None), sidecars={"a.prj": hostile.encode()}, assume_crs=None)
    with pytest.raises(MissingCrs, match="names the file '/etc/passwd'"):
        place(replace(metadata(), crs_wkt2=hostile), sidecars={}, assume_crs=None)
    control = GroundControl(hostile, ((0, 0, 1, 2),))
    with pytest.raises(MissingCrs, match="names the file '/etc/passwd'"):
        place(replace(metadata(None), ground_control=control), sidecars={}, assume_crs=None)
