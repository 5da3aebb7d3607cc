"""Blobs, listings and failures as tests write them into a ledger.

Here: what all tests of the ledger share. Not here: the database (`tests.conftest`).
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from geo_assets.ledger.blobs import Batch, StageName, mark_catalogued
from geo_assets.ledger.scenes import NO_REMARKS, mark_scenes_catalogued
from geo_assets.models import BandMetadata, BlobPage, BlobRef, Failure, RasterMetadata
from geo_assets.resources.database import Database
from geo_assets.sources.source import CollectionRule, Source
from geo_assets.stac.remarks import Remarks
from geo_assets.stac.scene import Scene

SOURCE = Source(name="landsat", url="az://bronze", collection=CollectionRule(id="landsat", description="d"))
OTHER_RULE = SOURCE.model_copy(update={"item_id": "v2-{slug}"})
METADATA = RasterMetadata(
    driver="GTiff",
    shape=(10, 20),
    bands=(BandMetadata(data_type="uint8", nodata="nan", name="red"),),
    crs_code="EPSG:4326",
    crs_wkt2="GEOGCRS[...]",
    transform=(1.0, 0.0, 0.0, 0.0, -1.0, 0.0),
    block_shape=(10, 20),
    overview_factors=(2, 4),
    tags={"": {"TIFFTAG_SOFTWARE": "π"}},
)


def blob(name: str, etag: str = "1", *, size_bytes: int = 1000) -> BlobRef:
    moment = datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)
    return BlobRef(name, etag, size_bytes, moment, content_type="image/tiff", md5="00ff")


def listed(
    database: Database, *pages: Sequence[BlobRef], complete: bool = True, source: Source = SOURCE
) -> tuple[int, int, int, int]:
    """List these pages; (new, changed, deleted, unchanged)."""
    with database.listings.open_listing(source, run_id="run") as writer:
        for page in pages:
            writer.add_page(BlobPage(page))
        diff = writer.finish(complete=complete)
    assert diff.complete == complete
    return diff.new, diff.changed, diff.deleted, diff.unchanged


def everything(database: Database, stage: StageName = "describe", *, source: str = SOURCE.name) -> Batch:
    """All that awaits a stage, as one batch."""
    (batch,) = database.blobs.plan_batches(source, stage, as_of=database.now(), batch_size=10_000)
    return batch


def describe(database: Database, *blobs: BlobRef) -> None:
    """Record metadata of these versions."""
    database.blobs.record_described(SOURCE.name, [(blob, METADATA) for blob in blobs], run_id="run")


def mark(
    database: Database,
    source: Source,
    blobs: Sequence[BlobRef],
    *,
    run_id: str | None,
    remarks: Mapping[str, Remarks] = NO_REMARKS,
) -> None:
    """Mark these versions catalogued."""
    with database.connections.borrow() as connection:
        mark_catalogued(connection, source, blobs, run_id=run_id, remarks=remarks)


def mark_scenes(database: Database, source: Source, scenes: Sequence[Scene], *, run_id: str | None) -> None:
    """Mark the members of these scenes catalogued."""
    with database.connections.borrow() as connection:
        mark_scenes_catalogued(connection, source, scenes, run_id=run_id)


def fail(
    database: Database, failed: BlobRef, *, stage: StageName = "describe", permanent: bool = True, code: str = "bad"
) -> None:
    failure = Failure(failed.name, failed.etag, code, f"{code} happened", permanent)
    database.blobs.record_failures(SOURCE, [failure], stage=stage, run_id="run")


def counts(database: Database, source: str = SOURCE.name) -> dict[str, int]:
    """The counts that are not zero, after a check that they add up."""
    status = database.blobs.status(source)
    assert status.blobs == status.catalogued + status.pending + status.quarantined
    names = ("blobs", "described", "catalogued", "pending", "quarantined", "deleted")
    return {name: count for name in names if (count := getattr(status, name))}
