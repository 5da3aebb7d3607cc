"""raster_metadata: what the header of each raster says, read by ranges and kept in the ledger."""

from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from geo_assets.assets.engine import build_stage_asset
from geo_assets.assets.ledger_stages import LedgerStage
from geo_assets.assets.ops import BRONZE
from geo_assets.assets.reports import raster_report
from geo_assets.assets.stage import BatchReport, Metadata, Outcome, Scope, StageRun, outcome_of
from geo_assets.errors import GeoAssetsError, InvalidConfiguration, StorageUnavailable
from geo_assets.ledger.blobs import Batch
from geo_assets.models import BlobRef, RasterMetadata
from geo_assets.raster.reader import read_headers
from geo_assets.sources.source import Source
from geo_assets.stac.scene import check_document_size, membership, read_document
from geo_assets.storage.blob_store import BlobStore
from geo_assets.workers.pool import prepare_workers

Document = Mapping[str, Any]
Described = RasterMetadata | Document
"""What was read of a blob: its header, or values of the JSON that it is."""


class RasterMetadataStage(LedgerStage[BlobRef, Described]):
    """Reads the headers of rasters, and the documents of scenes."""

    asset = "raster_metadata"
    after = ("container_listing",)
    ops = ("plan_raster_metadata", "describe_batch", "finish_raster_metadata")
    descriptions = (
        "Cut the blobs that have no metadata yet into batches.",
        "Read the headers of one batch; each blob gets its metadata or its reason.",
        "Ask the ledger whether every blob of the plan is described or quarantined, and report.",
    )
    description = "What each raster's header says: CRS, transform, shape, bands, tags. Never the pixels."
    group = BRONZE
    kinds = frozenset({"gdal", "postgres"})
    pool = "storage"
    state = "describe"
    step_size = 100

    def refusal(self, source: Source) -> GeoAssetsError | None:
        """Of sources of vectors the files are loaded, not described."""
        if source.tables is None:
            return None
        return InvalidConfiguration(f"{source.name} is a source of vectors.", remedy="Run load_vectors for it.")

    def prepare(self, run: StageRun, options: Any) -> int:  # noqa: ARG002
        """Have the workers started while the plan is made."""
        if run.database.blobs.outstanding(run.source.name).pending:
            prepare_workers()
        return 0

    def units(self, run: StageRun, batch: Batch) -> Sequence[BlobRef]:
        """The blobs of the batch that have no metadata yet."""
        return run.database.blobs.to_describe(batch)

    def blobs_of(self, unit: BlobRef) -> Sequence[BlobRef]:
        """The blob itself."""
        return (unit,)

    def work(self, run: StageRun, units: Sequence[BlobRef]) -> Generator[Outcome[BlobRef, Described], None, None]:
        """Read headers in worker processes, then documents here."""
        rasters, documents = _split(run.source, units)
        for reading in read_headers(
            run.source, rasters, access=partial(run.blob_stores.access, run.source), settings=run.settings
        ):
            yield Outcome(reading.blob, reading.result)
        if documents:
            yield from _read_documents(run, documents)

    def keep(self, run: StageRun, done: Sequence[tuple[BlobRef, Described]]) -> Sequence[Outcome[BlobRef, Described]]:
        """Store what was read, and mark these versions described."""
        rasters = [(blob, read) for blob, read in done if isinstance(read, RasterMetadata)]
        documents = [(blob, read) for blob, read in done if not isinstance(read, RasterMetadata)]
        run.database.blobs.record_described(run.source.name, rasters, run_id=run.run_id)
        run.database.scenes.record_documents(run.source.name, documents, run_id=run.run_id)
        return [Outcome(blob, read) for blob, read in done]

    def tally(self, outcome: Outcome[BlobRef, Described]) -> BatchReport:
        """Of a raster the bytes that were read, a document is read whole."""
        result = outcome.result
        if isinstance(result, GeoAssetsError):
            return BatchReport(failed=1)
        read = result.bytes_read if isinstance(result, RasterMetadata) else outcome.unit.size_bytes
        return BatchReport(done=1, bytes_read=read)

    def finish(self, run: StageRun, scope: Scope, report: BatchReport) -> Metadata:
        """Counts, bytes, rate, failures and a map."""
        return raster_report(scope, report, tags=run.context.run.tags, database=run.database)


raster_metadata = build_stage_asset(RasterMetadataStage())


def _split(source: Source, blobs: Sequence[BlobRef]) -> tuple[list[BlobRef], list[BlobRef]]:
    """The blobs whose header is read, and those of which values of their JSON are."""
    if not source.documents:
        return list(blobs), []
    kinds = [(blob, membership(source, blob.name)) for blob in blobs]
    documents = [blob for blob, each in kinds if each is not None and each.kind == "document"]
    return [blob for blob, each in kinds if each is None or each.kind != "document"], documents


def _read_documents(run: StageRun, blobs: Sequence[BlobRef]) -> Generator[Outcome[BlobRef, Described], None, None]:
    """The values of JSON members. Raises the store's error once it fails."""
    step = RasterMetadataStage.step_size

    def read(blob: BlobRef) -> Outcome[BlobRef, Described]:
        return outcome_of(blob, partial(_read_document, run.source, store, blob))

    with (
        run.blob_stores.open(run.source) as store,
        ThreadPoolExecutor(run.settings.read_concurrency, thread_name_prefix="document") as threads,
    ):
        for start in range(0, len(blobs), step):
            outcomes = list(threads.map(read, blobs[start : start + step]))
            for outcome in outcomes:
                if not isinstance(outcome.result, StorageUnavailable):
                    yield outcome
            for outcome in outcomes:
                if isinstance(outcome.result, StorageUnavailable):
                    raise outcome.result


def _read_document(source: Source, store: BlobStore, blob: BlobRef) -> Described:
    said = membership(source, blob.name)
    assert said is not None
    check_document_size(blob)
    content = store.read_range(blob, 0, blob.size_bytes) if blob.size_bytes else b""
    return read_document(content, source.documents[said.asset])
