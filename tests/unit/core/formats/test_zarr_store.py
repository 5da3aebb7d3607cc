"""Which blob stands for a Zarr store in a listing, and what its version changes with."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from geo_assets.models import STORE_MARK, BlobPage, BlobRef
from geo_assets.sources.source import CollectionRule, Source
from geo_assets.storage.listing import STORE_PARTS, SourceListing, build_matcher
from geo_assets.storage.related_blobs import asset_name, page_marker

COLLECTION = CollectionRule(id="c", description="d")
SOURCE = Source(name="s", url="az://bronze", collection=COLLECTION, include=("**/*.zarr", "**/*.tif", "**/*.TIF"))
SECOND = [f"b.zarr/{name}" for name in (".zattrs", ".zgroup", ".zmetadata", "t/.zarray", "t/0", "tas/.zarray")]
CHUNKS = [f"b.zarr/tas/{one}.{two}" for one in range(4) for two in range(4)]
THIRD = [f"c.zarr/{name}" for name in ("t/c/0", "t/zarr.json", "tas/c/0/0", "tas/c/0/1", "tas/zarr.json", "zarr.json")]
OWN = ["b.zarr/scene.tif", "b.zarr/u/scene.1.TIF"]
NAMES = ["a.tif", *SECOND[:3], OWN[0], *SECOND[3:], *CHUNKS, OWN[1], *THIRD, "d.tif"]


def blobs(names: Sequence[str], **etags: str) -> list[BlobRef]:
    moment = datetime(2024, 5, 6, tzinfo=UTC)
    return [BlobRef(name=name, etag=etags.get(name, "1"), size_bytes=1, last_modified=moment) for name in names]


def pages_of(found: Sequence[BlobRef], page_size: int) -> list[BlobPage]:
    starts = range(0, len(found), page_size)
    pages = [BlobPage(found[start : start + page_size], str(start + page_size)) for start in starts]
    return [*pages[:-1], replace(pages[-1], next_marker=None)]


def listed(found: Sequence[BlobRef], *, page_size: int = 1000) -> tuple[dict[str, str], SourceListing]:
    listing = SourceListing(SOURCE, pages_of(found, page_size))
    return {blob.name: blob.etag for page in listing for blob in page}, listing


def test_a_store_is_one_blob_whose_own_etag_stays_readable() -> None:
    versions, listing = listed(blobs(NAMES))
    assert set(versions) == {"a.tif", "b.zarr/.zgroup", *OWN, "c.zarr/zarr.json", "d.tif"}
    assert (versions["a.tif"], listing.complete) == ("1", True)
    assert versions["b.zarr/.zgroup"].startswith(f"1{STORE_MARK}")
    assert replace(blobs(["c.zarr/zarr.json"])[0], etag=versions["c.zarr/zarr.json"]).own_etag == "1"
    assert listing.ignored_by_extension[STORE_PARTS] == len(SECOND) + len(CHUNKS) + len(THIRD) - 2


@pytest.mark.parametrize("page_size", range(1, len(NAMES) + 1))
def test_the_version_is_the_same_however_the_pages_fall(page_size: int) -> None:
    versions, listing = listed(blobs(NAMES), page_size=page_size)
    assert versions == listed(blobs(NAMES))[0]
    assert listing.complete


@pytest.mark.parametrize("page_size", range(1, len(NAMES)))
def test_a_listing_that_goes_on_after_any_page_comes_to_the_same(page_size: int) -> None:
    """As after a crash, or in the next tick of a sensor: of each page only its blobs and its marker are kept."""
    found, versions, marker = blobs(NAMES), dict[str, str](), None
    while True:
        start = int(page_marker(marker) or 0)
        listing = SourceListing(SOURCE, pages_of(found[start:], page_size), marker=marker)
        page = next(iter(listing))
        versions |= {blob.name: blob.etag for blob in page}
        if page.next_marker is None:
            break
        own = int(page_marker(page.next_marker) or 0)
        marker = page.next_marker.removesuffix(str(own)) + str(start + own)
    assert versions == listed(found)[0]


@pytest.mark.parametrize("marker", ["2!76!MDAw", "\x1fodd", "x\ny.tif"])
def test_a_marker_is_given_back_to_the_store_as_it_came(marker: str) -> None:
    for name in ("a.tif", "a.zarr/zarr.json"):
        (page,) = SourceListing(SOURCE, [BlobPage(blobs([name]), marker)])
        assert page_marker(page.next_marker) == marker


@pytest.mark.parametrize(
    ("changed", "root"),
    [
        ("b.zarr/.zmetadata", "b.zarr/.zgroup"),
        ("b.zarr/t/0", "b.zarr/.zgroup"),
        ("b.zarr/tas/0.1", None),
        ("c.zarr/t/c/0", "c.zarr/zarr.json"),
        ("c.zarr/tas/zarr.json", "c.zarr/zarr.json"),
        ("c.zarr/tas/c/0/1", None),
    ],
)
def test_it_changes_with_metadata_and_coordinates_and_not_with_data(changed: str, root: str | None) -> None:
    before, after = listed(blobs(NAMES))[0], listed(blobs(NAMES, **{changed: "2"}))[0]
    assert {name for name in before if before[name] != after[name]} == ({root} if root else set())


def test_a_file_beside_the_arrays_is_no_part_of_the_store_and_no_change_of_it() -> None:
    before, after = listed(blobs(NAMES))[0], listed(blobs(NAMES, **{OWN[0]: "2"}))[0]
    assert {name for name in before if before[name] != after[name]} == {OWN[0]}
    without, _ = listed(blobs([name for name in NAMES if name not in OWN]))
    assert without == {name: etag for name, etag in before.items() if name not in OWN}


def test_a_coordinate_that_comes_or_goes_is_another_version() -> None:
    fewer = [name for name in NAMES if name != "b.zarr/t/0"]
    assert listed(blobs(NAMES))[0]["b.zarr/.zgroup"] != listed(blobs(fewer))[0]["b.zarr/.zgroup"]


@pytest.mark.parametrize(
    ("include", "exclude", "name", "matches"),
    [
        ("**/*.zarr", (), "x/a.zarr/zarr.json", True),
        ("**/*.zarr/zarr.json", (), "x/a.zarr/zarr.json", True),
        ("**", (), "a.zarr/.zgroup", True),
        ("**", ("old.zarr",), "old.zarr/.zgroup", False),
        ("**", ("**/.z*",), "old.zarr/.zgroup", False),
        ("**/*.tif", (), "a.zarr/zarr.json", False),
        ("**", (), "a.zarr/tas/zarr.json", False),
        ("**", (), "a.zarr/a.tif/zarr.json", False),
        ("**", (), "a.zarr/a.tif/c/0", False),
        ("**", (), "a.zarr/tas/c.0.0", False),
        ("**", (), "a.zarr/.zattrs", False),
        ("**", (), "a.zarr/scene.tif.aux.xml", False),
        ("**", (), "a.zarr/scene.tif", True),
        ("**", (), "a.zarr/tas/scene.tif", True),
        ("**", ("a.zarr/**",), "a.zarr/scene.tif", False),
        ("**/*.zarr", (), "a.zarr/scene.tif", False),
        ("**", (), "a.zarr/b.zarr/zarr.json", False),
    ],
)
def test_globs_may_name_the_store_or_what_stands_for_it(
    include: str, exclude: tuple[str, ...], name: str, matches: bool
) -> None:
    rule = Source(name="s", url="az://bronze", collection=COLLECTION, include=(include,), exclude=exclude)
    assert build_matcher(rule)(name) is matches


def test_a_folder_of_that_ending_alone_is_no_store() -> None:
    assert listed(blobs(["x/.zarr/a.tif", "x/.zarr/a.tif.ovr"]))[0] == {"x/.zarr/a.tif": "1"}


def test_an_item_points_to_the_folder_of_a_store() -> None:
    assert [asset_name(name) for name in ("x/a.zarr/zarr.json", "a.zarr/t/0", "a.tif")] == [
        "x/a.zarr", "a.zarr/t/0", "a.tif",
    ]  # fmt: skip
