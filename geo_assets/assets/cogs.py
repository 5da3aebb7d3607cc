"""cogs: a Cloud Optimized GeoTIFF of each raster of a source whose rule asks for them, or the reason why not."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from dagster import (
    AssetCheckExecutionContext,
    AssetCheckResult,
    AssetCheckSeverity,
    AssetIn,
    DynamicOut,
    DynamicOutput,
    In,
    Nothing,
    OpExecutionContext,
    Out,
    Output,
    asset_check,
    graph_asset,
    op,
)

from geo_assets.assets.cog_files import look_at_files
from geo_assets.assets.cog_report import cogs_report, orphans_metadata, published_metadata, small_picture
from geo_assets.assets.failing import clear_failures
from geo_assets.assets.labels import OWNERS, SILVER
from geo_assets.assets.partitions import register_partitions, sources_partitions
from geo_assets.cogs.batches import cut_batches, mapping_key
from geo_assets.cogs.plan import check_fit, cog_name, is_as_ruled, scratch_bytes, thumbnail_name
from geo_assets.cogs.writer import CogOutcome, CogTask, MadeCog, cog_pool, make_cogs
from geo_assets.display import one_line
from geo_assets.errors import (
    BlobChanged,
    BlobMissing,
    CogNameTaken,
    CogsIncomplete,
    GeoAssetsError,
    StorageUnavailable,
    Unauthorized,
)
from geo_assets.ledger.cogs import CogLedger, PublishedCog, RasterToDo
from geo_assets.ledger.schema_check import check_schema
from geo_assets.models import BlobRef, RasterMetadata
from geo_assets.resources.sources_file import SourcesFile
from geo_assets.settings import Settings
from geo_assets.sources.source import Source
from geo_assets.stac.extensions import build_projection_fields
from geo_assets.storage.blob_store import BlobStore
from geo_assets.storage.blob_stores import BlobStores, store_access
from geo_assets.storage.scratch import open_scratch, used_bytes
from geo_assets.storage.silver_store import SilverStore
from geo_assets.workers.pool import Work

GEOTIFF, PNG = "image/tiff", "image/png"
MOST_PREVIEWS = 24
SECONDS_BETWEEN_WORDS = 10.0
STORE_IS_DOWN_AFTER = 3


@dataclass(frozen=True, slots=True)
class CogBatch:
    """The rasters of one step: one that is large, or several small ones side by side."""

    source: str
    rasters: tuple[RasterToDo, ...]


@dataclass(frozen=True, slots=True)
class CogScope:
    """What a run has set out to do, in rasters and bytes, and when."""

    source: str
    rasters: int
    size_bytes: int
    started_at: float


@dataclass(slots=True)
class CogReport:
    """What a step did; ``previews`` are (blob name, PNG as base64), for values between steps are JSON."""

    made: int = 0
    linked: int = 0
    failed: int = 0
    passed_over: int = 0
    previews: list[tuple[str, str]] = field(default_factory=list)

    def __str__(self) -> str:
        passed_over = f", {self.passed_over} overwritten or gone meanwhile" if self.passed_over else ""
        return f"{self.made} made, {self.linked} linked, {self.failed} failed{passed_over}"


@op(
    ins={"raster_metadata": In(Nothing)},
    out={"batches": DynamicOut(CogBatch), "scope": Out(CogScope)},
    description="Cut the rasters that await their COG into steps: a large one has a step of its own.",
)
def plan_cogs(
    context: OpExecutionContext, sources_file: SourcesFile, cog_ledger: CogLedger, silver_store: SilverStore
) -> Iterator[DynamicOutput[CogBatch] | Output[CogScope]]:
    """The steps of this run, as many rasters as the rule allows one run."""
    with clear_failures():
        source = sources_file.get(context.partition_key)
        register_partitions(context.instance, [source.name])
        check_schema(cog_ledger)
        rasters = cog_ledger.to_make(source, most=source.cogs.most_a_run) if source.cogs else []
        if source.cogs:
            silver_store.at(source.cogs.url).check_is_outside(source.url)
    size_bytes = sum(raster.size_bytes for raster in rasters)
    context.log.info(one_line(f"{source.name}: {len(rasters)} COGs to make of {size_bytes:,} bytes"))
    yield Output(CogScope(source.name, len(rasters), size_bytes, time.time()), "scope")
    for index, batch in enumerate(cut_batches(rasters)):
        key = mapping_key(index, [raster.name for raster in batch])
        yield DynamicOutput(CogBatch(source.name, tuple(batch)), mapping_key=key, output_name="batches")


@op(
    pool="cogs",
    description="Make, check and publish the COG of each raster of one step; each has its COG or its reason.",
)
def make_batch(
    context: OpExecutionContext,
    batch: CogBatch,
    sources_file: SourcesFile,
    blob_stores: BlobStores,
    cog_ledger: CogLedger,
    silver_store: SilverStore,
) -> CogReport:
    """Make what of the step is not made yet; what is done is recorded raster by raster."""
    with clear_failures():
        source = sources_file.get(batch.source)
        if source.cogs is None:
            return CogReport()
        publisher = _Publisher(context, source, cog_ledger, silver_store.at(source.cogs.url))
        with blob_stores.open(source) as store:
            waiting = _link_or_refuse(source, batch, store, cog_ledger, publisher)
        if waiting:
            _make(context, source, waiting, publisher)
    context.log.info(one_line(f"{batch.rasters[0].name} .. {batch.rasters[-1].name}: {publisher.report}"))
    return publisher.report


@op(description="Remove the files that no raster's COG has, ask the ledger what is left to make, and report.")
def finish_cogs(
    context: OpExecutionContext,
    scope: CogScope,
    reports: list[CogReport],
    sources_file: SourcesFile,
    cog_ledger: CogLedger,
    silver_store: SilverStore,
) -> None:
    """Fail where rasters of this run have neither COG nor reason for good; more may wait for the next run."""
    with clear_failures():
        source = sources_file.get(scope.source)
        removed = _forget_unspoken_for(source, cog_ledger)
        swept = cog_ledger.sweep(silver_store.remove, source=source.name)
        for place, error in swept.left.items():
            context.log.warning(one_line(f"{source.name}: files without a COG stay in {place}: {error}"))
        previews = [preview for report in reports for preview in report.previews][:MOST_PREVIEWS]
        counts = cog_ledger.counts(source)
        context.add_output_metadata(
            cogs_report(
                source,
                counts,
                cog_ledger.standing(source.name, most=200),
                previews,
                removed=removed,
                files_removed=len(swept.removed),
                rasters=scope.rasters,
                size_bytes=scope.size_bytes,
                seconds=max(time.time() - scope.started_at, 1e-3),
            )
        )
        failing = [cog for cog in cog_ledger.standing(source.name) if cog.error_code and not cog.permanent]
        if failing:
            raise CogsIncomplete(
                f"{counts.to_make} rasters of {source.name} still await their COG. For example {failing[0].name}: "
                f"{failing[0].error_message} ({failing[0].error_code})"
            )


@graph_asset(
    ins={"raster_metadata": AssetIn(dagster_type=Nothing)},
    partitions_def=sources_partitions,
    description="A checked Cloud Optimized GeoTIFF of each raster, with a thumbnail, in the silver place.",
    group_name=SILVER,
    kinds={"gdal", "tiff"},
    owners=OWNERS,
)
def cogs(raster_metadata: Any) -> Any:
    """plan -> make each step's -> finish."""
    batches, scope = plan_cogs(raster_metadata)
    return finish_cogs(scope, batches.map(make_batch).collect())


@asset_check(
    asset="cogs",
    partitions_def=sources_partitions,
    description="Every recorded COG exists, has its recorded size and passed validation; no other file is there.",
)
def cogs_are_there(
    context: AssetCheckExecutionContext, sources_file: SourcesFile, cog_ledger: CogLedger, silver_store: SilverStore
) -> AssetCheckResult:
    """List the source's files; a row a COG, and the files that no COG has."""
    with clear_failures():
        source = sources_file.get(context.partition_key)
        standing = [cog for cog in cog_ledger.standing(source.name) if cog.name_in_place]
        places = [silver_store.at(source.cogs.url).place] if source.cogs else []
        files = look_at_files(source.name, places=places, cog_ledger=cog_ledger, silver_store=silver_store)
    rows, wrong = published_metadata(standing, files.found)
    without_cog = [*files.orphans, *files.unrecorded]
    return AssetCheckResult(
        passed=not wrong and not without_cog,
        severity=AssetCheckSeverity.ERROR if wrong else AssetCheckSeverity.WARN,
        metadata={
            "source": source.name,
            "cogs": len(standing),
            "wrong": wrong,
            **rows,
            **orphans_metadata(files.orphans, files.unrecorded),
        },
    )


def _link_or_refuse(
    source: Source, batch: CogBatch, store: BlobStore, cog_ledger: CogLedger, publisher: "_Publisher"
) -> list[tuple[BlobRef, RasterMetadata]]:
    """Those of the step that a COG must be made of: not what is one already, and not what can have none."""
    assert source.cogs is not None
    waiting = []
    for raster in batch.rasters:
        found = cog_ledger.raster(source.name, raster.name, raster.etag)
        if found is None:
            publisher.report.passed_over += 1
            continue
        blob, metadata = found
        try:
            check_fit(metadata, source.cogs)
            has_mask = store.head(f"{blob.name}.msk") is not None
        except GeoAssetsError as error:
            publisher.refuse(blob, error)
            continue
        if is_as_ruled(metadata, source.cogs) and not has_mask:
            publisher.link(blob, store.href(blob.name))
        else:
            waiting.append((blob, metadata))
    return waiting


def _make(
    context: OpExecutionContext,
    source: Source,
    waiting: Sequence[tuple[BlobRef, RasterMetadata]],
    publisher: "_Publisher",
) -> None:
    settings = Settings()
    needed = sum(scratch_bytes(metadata, size_bytes=blob.size_bytes) for blob, metadata in waiting)
    try:
        with open_scratch(settings, needed_bytes=needed) as scratch, _words(context, scratch):
            tasks = []
            threads = max(1, settings.workers // len(waiting))
            for number, (blob, metadata) in enumerate(waiting):
                (folder := scratch / str(number)).mkdir()
                tasks.append(CogTask(blob, metadata, folder, threads))
            rule, access = source.cogs, store_access(source, settings)
            assert rule is not None

            def work() -> Work[CogTask, CogOutcome]:
                return partial(make_cogs, rule, store_access(source, settings))

            processes = min(settings.workers, len(tasks))
            with cog_pool(settings, processes=processes, scratch=scratch, access=access) as pool:
                for outcome in pool.map_renewed(work, tasks, chunk_size=1, lost=CogOutcome):
                    publisher.take(outcome)
    except GeoAssetsError as error:
        for blob, _ in waiting:
            publisher.refuse_where_open(blob, error)
        raise


def _forget_unspoken_for(source: Source, cog_ledger: CogLedger) -> int:
    keep = bool(source.cogs and source.cogs.keep)
    gone = cog_ledger.to_remove(source)
    for cog in gone:
        cog_ledger.forget(source.name, cog.name, keep_files=keep)
    return sum(cog.is_made for cog in gone)


@contextmanager
def _words(context: OpExecutionContext, folder: Any) -> Iterator[None]:
    """Say in the run's log every few seconds how much was fetched and written."""
    over = threading.Event()

    def speak() -> None:
        began = time.monotonic()
        while not over.wait(SECONDS_BETWEEN_WORDS):
            written = sum(used_bytes(each) for each in folder.iterdir() if each.is_dir())
            context.log.info(one_line(f"{written:,} bytes in scratch after {time.monotonic() - began:.0f} s"))

    speaker = threading.Thread(target=speak, daemon=True)
    speaker.start()
    try:
        yield
    finally:
        over.set()
        speaker.join()


class _Publisher:
    """Publishes and records outcomes one by one, and counts them."""

    def __init__(
        self, context: OpExecutionContext, source: Source, cog_ledger: CogLedger, silver_store: SilverStore
    ) -> None:
        self._context, self._source, self._ledger, self._silver = context, source, cog_ledger, silver_store
        self._run_id = context.run_id
        self._settled: set[str] = set()
        self._down = 0
        self.report = CogReport()

    def take(self, outcome: CogOutcome) -> None:
        """Publish a COG that was made, or record why not. Raises what says that the store itself is down."""
        blob, result = outcome.task.blob, outcome.result
        if not isinstance(result, GeoAssetsError):
            self._publish(blob, outcome.task.metadata, result)
            return
        if isinstance(result, BlobChanged | BlobMissing):  # the next listing brings what there is now
            self.report.passed_over += 1
            self._settled.add(blob.name)
            self._context.log.info(one_line(str(result)))
            return
        self.refuse(blob, result)
        self._down = self._down + 1 if isinstance(result, StorageUnavailable) else 0
        if isinstance(result, Unauthorized) or self._down >= STORE_IS_DOWN_AFTER:
            raise result

    def link(self, blob: BlobRef, href: str) -> None:
        """Record that the raster is its own COG."""
        facts = {"pixels": "its own", "bands": None, "all_bands": True, "grid": None, "kind": None}
        self._ledger.record(
            self._source, blob, PublishedCog(href=href, is_linked=True, facts=facts), run_id=self._run_id
        )
        self._settled.add(blob.name)
        self.report.linked += 1

    def refuse(self, blob: BlobRef, error: GeoAssetsError) -> None:
        """Record why there is none."""
        self._ledger.record_failure(self._source, blob, error, run_id=self._run_id)
        self._settled.add(blob.name)
        self.report.failed += 1
        self._context.log.warning(one_line(f"{blob.name}: {error}"))

    def refuse_where_open(self, blob: BlobRef, error: GeoAssetsError) -> None:
        """Record the error for a raster that nothing was recorded for yet."""
        if blob.name not in self._settled:
            self.refuse(blob, error)

    def _publish(self, blob: BlobRef, metadata: RasterMetadata, made: MadeCog) -> None:
        name = cog_name(source=self._source.name, prefix=self._source.prefix, blob_name=blob.name)
        thumbnail, place, run_id = thumbnail_name(name) if made.thumbnail else None, self._silver.place, self._run_id
        names = [each for each in (thumbnail, name) if each]
        try:
            with self._ledger.publishing(self._source, blob, place=place, names_in_place=names, run_id=run_id):
                thumbnail_href = None
                if made.thumbnail is not None and thumbnail is not None:
                    thumbnail_href = self._silver.publish(made.thumbnail, thumbnail, content_type=PNG)
                cog = PublishedCog(
                    href=self._silver.publish(made.path, name, content_type=GEOTIFF),
                    is_linked=False,
                    facts=_facts(metadata, made),
                    place=place,
                    name_in_place=name,
                    thumbnail_name=thumbnail,
                    thumbnail_href=thumbnail_href,
                    size_bytes=made.size_bytes,
                    seconds=made.seconds,
                )
                self._ledger.record(self._source, blob, cog, run_id=run_id)
                self._settled.add(blob.name)
        except CogNameTaken as error:
            self.refuse(blob, error)
            return
        if made.thumbnail is not None and len(self.report.previews) < MOST_PREVIEWS:
            self.report.previews.append((blob.name, small_picture(made.thumbnail.read_bytes())))
        self.report.made += 1
        for path in made.path.parent.iterdir():
            path.unlink()


def _facts(metadata: RasterMetadata, made: MadeCog) -> dict[str, Any]:
    """What is said of a COG in the ledger; ``grid`` are the projection fields of one with pixels of its own."""
    is_same = made.shape == metadata.shape and made.crs_code == metadata.crs_code
    grid = (
        None
        if is_same and made.transform == metadata.transform
        else build_projection_fields(made.as_metadata(metadata))
    )
    return {
        "kind": made.guess.kind,
        "kind_because": made.guess.reason,
        "remark": made.remark,
        "layout": made.checks.layout,
        "pixels": made.checks.pixels,
        "largest_error": made.checks.largest_error,
        "bands": list(made.band_numbers),
        "all_bands": made.band_numbers == tuple(range(1, len(metadata.bands) + 1)),
        "grid": grid,
        "converting_seconds": round(made.converting_seconds, 3),
    }
