"""raster_metadata: what the header of each raster says, read by ranges and kept in the ledger."""

from functools import partial
from typing import Any

from dagster import AssetIn, DynamicOut, In, Nothing, OpExecutionContext, Out, graph_asset, op

from geo_assets.assets.batches import BatchReport, PlannedStage, Scope, check_complete, plan_stage, total
from geo_assets.assets.failing import clear_failures
from geo_assets.assets.labels import BRONZE, OWNERS
from geo_assets.assets.partitions import register_partitions, sources_partitions
from geo_assets.assets.repair import repairs
from geo_assets.assets.reports import raster_report
from geo_assets.assets.scenes import describe_documents, split_documents
from geo_assets.display import one_line
from geo_assets.errors import GeoAssetsError, InvalidConfiguration
from geo_assets.ledger.blobs import Batch, Ledger
from geo_assets.ledger.schema_check import check_schema
from geo_assets.models import BlobRef, Failure, RasterMetadata
from geo_assets.raster.reader import Reading, read_headers
from geo_assets.resources.sources_file import SourcesFile
from geo_assets.settings import Settings
from geo_assets.sources.source import Source
from geo_assets.storage.blob_stores import BlobStores
from geo_assets.storage.circuit_breaker import circuit_breaker
from geo_assets.workers.pool import prepare_workers

# Results are committed in steps of this many blobs, so that a killed worker loses no more.
COMMIT_EVERY = 100
MOST_CORRELATION_IDS = 10
"""How many correlation ids a run names, of the events behind its work."""


@op(
    ins={"container_listing": In(Nothing)},
    out={"batches": DynamicOut(Batch), "scope": Out(Scope, is_required=False)},
    description="Cut the blobs that have no metadata yet into batches.",
)
def plan_raster_metadata(context: OpExecutionContext, sources_file: SourcesFile, ledger: Ledger) -> PlannedStage:
    """The batches to describe, and the scope they make up."""
    with clear_failures():
        source = sources_file.get(context.partition_key)
        if source.tables is not None:
            if repairs(context.run):
                return
            raise InvalidConfiguration(f"{source.name} is a source of vectors.", remedy="Run load_vectors for it.")
        register_partitions(context.instance, [source.name])
        check_schema(ledger)
        ledger.register_source(source)
        if ledger.outstanding(source.name).pending:
            prepare_workers()
        ledger.group_blobs(source, run_id=context.run_id)
        if ids := ledger.correlation_ids(source.name, most=MOST_CORRELATION_IDS):
            context.log.info(one_line(f"{source.name}: correlation ids {', '.join(ids)}"))
        yield from plan_stage(context, source.name, stage="describe", ledger=ledger)


@op(pool="storage", description="Read the headers of one batch; each blob gets its metadata or its reason.")
def describe_batch(
    context: OpExecutionContext, batch: Batch, sources_file: SourcesFile, blob_stores: BlobStores, ledger: Ledger
) -> BatchReport:
    """Describe the blobs of one batch, and record what was learnt even where the store fails half-way.

    A store that was down in the batch before is asked once, and the batch fails at once where it still is.
    """
    with clear_failures():
        source = sources_file.get(batch.source)
        settings = Settings()
        rasters, documents = split_documents(source, ledger.blobs_to_describe(batch))
        recorder = _Recorder(source, ledger, context.run_id)
        probe = partial(blob_stores.probe, source)
        with recorder, circuit_breaker.guard(source.name, probe=probe, report=context.log.warning):
            for reading in read_headers(source, rasters, settings=settings):
                recorder.add(reading)
        report = recorder.report + describe_documents(
            source, documents, settings=settings, ledger=ledger, run_id=context.run_id
        )
    context.log.info(one_line(f"{batch.first} .. {batch.last}: {report}"))
    return report


@op(description="Ask the ledger whether every blob of the plan is described or quarantined, and report.")
def finish_raster_metadata(
    context: OpExecutionContext, scope: Scope, reports: list[BatchReport], ledger: Ledger
) -> None:
    """Fail where blobs of the scope still wait; otherwise show counts, bytes, rate, failures and a map."""
    with clear_failures():
        context.add_output_metadata(raster_report(scope, total(reports), tags=context.run.tags, ledger=ledger))
        check_complete(scope, stage="describe", ledger=ledger)


@graph_asset(
    ins={"container_listing": AssetIn(dagster_type=Nothing)},
    partitions_def=sources_partitions,
    description="What each raster's header says: CRS, transform, shape, bands, tags. Never the pixels.",
    group_name=BRONZE,
    kinds={"gdal", "postgres"},
    owners=OWNERS,
)
def raster_metadata(container_listing: Any) -> Any:
    """plan -> describe each batch -> finish."""
    batches, scope = plan_raster_metadata(container_listing)
    return finish_raster_metadata(scope, batches.map(describe_batch).collect())


class _Recorder:
    """Collects readings and commits them in steps; leaving it commits the rest, whatever happened."""

    def __init__(self, source: Source, ledger: Ledger, run_id: str) -> None:
        self._source, self._ledger, self._run_id = source, ledger, run_id
        self._described: list[tuple[BlobRef, RasterMetadata]] = []
        self._failures: list[Failure] = []
        self.report = BatchReport(done=0, failed=0)

    def __enter__(self) -> "_Recorder":
        return self

    def __exit__(self, *_: object) -> None:
        self._commit()

    def add(self, reading: Reading) -> None:
        """Take one reading."""
        if isinstance(reading.result, GeoAssetsError):
            self._failures.append(Failure.of(reading.blob, reading.result))
        else:
            self._described.append((reading.blob, reading.result))
        if len(self._described) + len(self._failures) >= COMMIT_EVERY:
            self._commit()

    def _commit(self) -> None:
        self._ledger.record_described(self._source.name, self._described, run_id=self._run_id)
        self._ledger.record_failures(self._source, self._failures, stage="describe", run_id=self._run_id)
        self.report += BatchReport(
            done=len(self._described),
            failed=len(self._failures),
            bytes_read=sum(metadata.bytes_read for _, metadata in self._described),
        )
        self._described, self._failures = [], []
