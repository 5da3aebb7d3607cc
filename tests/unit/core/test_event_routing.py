"""Which sources an event concerns, and why it concerns none."""

from datetime import UTC, datetime

import pytest

from geo_assets.events.blob_events import BlobEvent, Dropped
from geo_assets.events.looks import EventRouter, Look
from geo_assets.sources.source import CollectionRule, Source


def source(name: str, url: str, **keys: object) -> Source:
    return Source.model_validate(
        {"name": name, "url": url, "collection": CollectionRule(id=name, description="d"), **keys}
    )


SOURCES = {
    each.name: each
    for each in (
        source("landsat", "az://bronze/landsat"),
        source("cogs", "az://bronze", include="**/*.cog.tif", exclude="tmp/**"),
        source("pictures", "az://pictures", include=["**/*.png", "**/zarr.json"]),
        source("few", "az://few", limit=10),
        source("folder", "file:///bronze"),
    )
}


def event(name: str, *, container: str = "bronze", account: str = "rasters") -> BlobEvent:
    return BlobEvent("created", account, container, name, "event-1", datetime(2024, 5, 6, tzinfo=UTC))


@pytest.mark.parametrize(
    ("name", "container", "sources"),
    [
        ("landsat/a.tif", "bronze", ["landsat"]),
        ("landsat/a.cog.tif", "bronze", ["landsat", "cogs"]),
        ("other/a.cog.tif", "bronze", ["cogs"]),
        ("landsat/a.tfw", "bronze", ["landsat", "cogs"]),
        ("a.PGW", "pictures", ["pictures"]),
        ("a.prj", "pictures", ["pictures"]),
        ("x.zarr/zarr.json", "pictures", ["pictures"]),
        ("x.zarr/0/c/0.png", "pictures", ["pictures"]),
    ],
)
def test_an_event_goes_to_every_source_that_holds_the_blob(name: str, container: str, sources: list[str]) -> None:
    routed = EventRouter(SOURCES, account="Rasters").route(event(name, container=container))
    assert routed == tuple(Look(each, name) for each in sources)


@pytest.mark.parametrize(
    ("dropped", "reason"),
    [
        (event("landsat/a.tif", account="others"), "wrong_account"),
        (event("landsat/a.tif", container="silver"), "wrong_container"),
        (event("landsat-2/a.txt", container="bronze"), "not_included"),
        (event("tmp/a.cog.tif"), "not_included"),
        (event("a.tif.ovr", container="pictures"), "sidecar"),
        (event("a.png.aux.xml", container="pictures"), "sidecar"),
        (event("x.zarr/0/c/0/0", container="pictures"), "in_store"),
        (event("a.tif", container="few"), "limited_source"),
        (event("a.txt", container="few"), "not_included"),
    ],
)
def test_an_event_of_no_source_is_dropped_for_the_nearest_reason(dropped: BlobEvent, reason: str) -> None:
    routed = EventRouter(SOURCES, account="rasters").route(dropped)
    assert isinstance(routed, Dropped)
    assert routed.reason == reason
    assert dropped.name in routed.detail


def test_a_blob_beside_the_prefix_is_told_from_one_below_it() -> None:
    router = EventRouter({"landsat": SOURCES["landsat"]}, account="rasters")
    routed = router.route(event("landsat-2/a.tif"))
    assert isinstance(routed, Dropped)
    assert routed.reason == "wrong_prefix"
