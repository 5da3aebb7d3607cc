"""cogs: a Cloud Optimized GeoTIFF of each raster of a source whose rule asks for them, or the reason why not.

Here: the stage, the check of its asset that compares the files in output locations with the ledger, and what that check
shares with `geo-assets cogs`. Not here: which rasters await a COG (`geo_assets.ledger.cogs`), making one
(`geo_assets.cogs`), what the UI shows (`reports`), the sweep of what the ledger knows (`CogLedger.sweep`).
"""

import threading
import time
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from dagster import AssetCheckExecutionContext, AssetCheckResult, AssetCheckSeverity, asset_check

from geo_assets.assets.engine import build_stage_asset
from geo_assets.assets.ops import SILVER, clear_failures, sources_partitions
from geo_assets.assets.reports import cogs_report, orphans_metadata, published_metadata, small_picture
from geo_assets.assets.stage import BatchReport, Metadata, Outcome, Plan, Scope, Stage, StageRun, outcome_of
from geo_assets.cogs.plan import (
    check_fit,
    cog_name,
    cut_batches,
    files_start,
    is_as_ruled,
    may_be_of_cog,
    scratch_bytes,
    thumbnail_name,
)
from geo_assets.cogs.writer import CogOutcome, CogTask, MadeCog, cog_pool, make_cogs
from geo_assets.display import one_line
from geo_assets.errors import BlobChanged, BlobMissing, CogsIncomplete, GeoAssetsError, Unforeseen
from geo_assets.ledger.cogs import PublishedCog, RasterToDo
from geo_assets.models import BlobRef, RasterMetadata, SilverFile
from geo_assets.resources.database import Database
from geo_assets.resources.sources_file import SourcesFile
from geo_assets.resources.stores import SilverStore
from geo_assets.stac.extensions import build_projection_fields
from geo_assets.storage.blob_store import BlobStore
from geo_assets.storage.scratch import open_scratch, used_bytes
from geo_assets.workers.pool import Work

GEOTIFF, PNG = "image/tiff", "image/png"
SECONDS_BETWEEN_WORDS = 10.0


@dataclass(frozen=True, slots=True)
class CogBatch:
    """The rasters of one step: one that is large, or several small ones side by side."""

    source: str
    rasters: tuple[RasterToDo, ...]

    @property
    def short_name(self) -> str:
        """Its raster, or how many."""
        return self.rasters[0].name if len(self.rasters) == 1 else f"{len(self.rasters)}_rasters"

    def __str__(self) -> str:
        return f"{self.rasters[0].name} .. {self.rasters[-1].name}"


@dataclass(frozen=True, slots=True)
class ReadyCog:
    """A COG to publish, ``made`` of a raster; without one, a raster that is its own COG, at ``href``.

    ``preview`` is a small PNG as base64.
    """

    blob: BlobRef
    metadata: RasterMetadata
    href: str = ""
    made: MadeCog | None = None
    preview: str | None = None


class CogsStage(Stage[CogBatch, RasterToDo, ReadyCog]):
    """Makes, checks and publishes COGs with their thumbnails."""

    asset = "cogs"
    after = ("raster_metadata",)
    ops = ("plan_cogs", "make_batch", "finish_cogs")
    descriptions = (
        "Cut the rasters that await their COG into steps: a large one has a step of its own.",
        "Make, check and publish the COG of each raster of one step; each has its COG or its reason.",
        "Remove the files that no raster's COG has, ask the ledger what is left to make, and report.",
    )
    description = "One checked Cloud Optimized GeoTIFF per raster, with a thumbnail, in the output location."
    group = SILVER
    kinds = frozenset({"gdal", "tiff"})
    resources = Stage.resources | {"silver_store"}
    pool = "cogs"
    batch_type = CogBatch
    store_is_down_after = 3
    passes_over = (BlobChanged, BlobMissing)
    tells_each = True

    def plan(self, run: StageRun, *, as_of: datetime) -> Plan[CogBatch]:  # noqa: ARG002
        """As many rasters as the rule allows one run."""
        source = run.source
        if source.cogs is None:
            return Plan([], 0, 0)
        run.silver_store.at(source.cogs.url).check_is_outside(source.url)
        rasters = run.database.cogs.to_make(source, most=source.cogs.max_per_run)
        batches = [CogBatch(source.name, tuple(batch)) for batch in cut_batches(rasters)]
        named = [
            (each.rasters[0].name if len(each.rasters) == 1 else f"{len(each.rasters)}_rasters", each)
            for each in batches
        ]
        return Plan(named, len(rasters), sum(raster.size_bytes for raster in rasters))

    def units(self, run: StageRun, batch: CogBatch) -> Sequence[RasterToDo]:
        """The rasters of the step; none where the rule asks for no COGs any more."""
        return batch.rasters if run.source.cogs else ()

    def work(self, run: StageRun, units: Sequence[RasterToDo]) -> Generator[Outcome[RasterToDo, ReadyCog], None, None]:
        """Tell rasters that are COGs and what can have none, then make the others in worker processes."""
        waiting: list[tuple[RasterToDo, ReadyCog]] = []
        with run.blob_stores.open(run.source) as store:
            for raster in units:
                outcome = outcome_of(raster, partial(_look, run, raster, store))
                if isinstance(outcome.result, GeoAssetsError) or outcome.result.href:
                    yield outcome
                else:
                    waiting.append((raster, outcome.result))
        if waiting:
            yield from _make(run, waiting)

    def keep(
        self, run: StageRun, done: Sequence[tuple[RasterToDo, ReadyCog]]
    ) -> Sequence[Outcome[RasterToDo, ReadyCog]]:
        """Publish the COG of a raster and record it, or that the raster is its own."""
        ((raster, ready),) = done
        if ready.made is None:
            facts = {"pixels": "its own", "bands": None, "all_bands": True, "grid": None, "kind": None}
            cog = PublishedCog(href=ready.href, is_linked=True, facts=facts)
            run.database.cogs.record(run.source, ready.blob, cog, run_id=run.run_id)
            return [Outcome(raster, ready)]
        assert run.source.cogs is not None
        _publish(run, ready.blob, ready.metadata, ready.made, run.silver_store.at(run.source.cogs.url))
        thumbnail = ready.made.thumbnail
        preview = small_picture(thumbnail.read_bytes()) if thumbnail is not None else None
        for path in ready.made.path.parent.iterdir():
            path.unlink()
        return [Outcome(raster, replace(ready, preview=preview))]

    def refuse(self, run: StageRun, refused: Sequence[Outcome[RasterToDo, ReadyCog]]) -> None:
        """Record why there is none."""
        for outcome in refused:
            assert isinstance(outcome.result, GeoAssetsError)
            run.database.cogs.record_failure(run.source, outcome.unit, outcome.result, run_id=run.run_id)

    def tally(self, outcome: Outcome[RasterToDo, ReadyCog]) -> BatchReport:
        """With a preview of what was made."""
        if isinstance(outcome.result, GeoAssetsError):
            return BatchReport(failed=1)
        preview = outcome.result.preview
        return BatchReport(done=1, previews=((outcome.unit.name, preview),) if preview else ())

    def finish(self, run: StageRun, scope: Scope, report: BatchReport) -> Metadata:
        """Remove files that no COG has; then previews, figures, and a row for each raster."""
        source, database = run.source, run.database
        removed = _forget_unspoken_for(run)
        swept = database.cogs.sweep(run.silver_store.remove, source=source.name)
        for place, error in swept.left.items():
            run.log.warning(one_line(f"{source.name}: files without a COG stay in {place}: {error}"))
        return cogs_report(
            source,
            database.cogs.counts(source),
            database.cogs.standing(source.name, most=200),
            report.previews,
            removed=removed,
            files_removed=len(swept.removed),
            rasters=scope.blobs,
            size_bytes=scope.size_bytes,
            seconds=max(time.time() - scope.started_at, 1e-3),
        )

    def check(self, run: StageRun, scope: Scope) -> None:
        """Raise where rasters have neither COG nor reason for good; more than a run may make wait for the next.

        Alerts report a raster's unforeseen errors, which fail no run: the next one tries it again.
        """
        standing = run.database.cogs.standing(scope.source)
        failing = [cog for cog in standing if cog.error_code not in (None, Unforeseen.code) and not cog.permanent]
        if failing:
            raise CogsIncomplete(
                f"{run.database.cogs.counts(run.source).to_make} rasters of {scope.source} still await their COG. "
                f"For example {failing[0].name}: {failing[0].error_message} ({failing[0].error_code})"
            )


cogs = build_stage_asset(CogsStage())


def _look(run: StageRun, raster: RasterToDo, store: BlobStore) -> ReadyCog:
    """What is known of a raster, with its address where it is a COG already. Raises why it can have none."""
    assert run.source.cogs is not None
    found = run.database.cogs.raster(run.source.name, raster.name, raster.etag)
    if found is None:
        raise BlobChanged(f"{raster.name} has another version by now.")
    blob, metadata = found
    check_fit(metadata, run.source.cogs)
    has_mask = store.head(f"{blob.name}.msk") is not None
    is_linked = is_as_ruled(metadata, run.source.cogs) and not has_mask
    return ReadyCog(blob, metadata, href=store.href(blob.name) if is_linked else "")


def _make(
    run: StageRun, waiting: Sequence[tuple[RasterToDo, ReadyCog]]
) -> Generator[Outcome[RasterToDo, ReadyCog], None, None]:
    source, settings, rule = run.source, run.settings, run.source.cogs
    assert rule is not None
    rasters = {raster.name: (raster, ready) for raster, ready in waiting}
    needed = sum(scratch_bytes(ready.metadata, size_bytes=ready.blob.size_bytes) for _, ready in waiting)
    with open_scratch(settings, needed_bytes=needed) as scratch, _words(run, scratch):
        tasks = []
        threads = max(1, settings.workers // len(waiting))
        for number, (_, ready) in enumerate(waiting):
            (folder := scratch / str(number)).mkdir()
            tasks.append(CogTask(ready.blob, ready.metadata, folder, threads))

        def work() -> Work[CogTask, CogOutcome]:
            return partial(make_cogs, rule, run.blob_stores.access(source))

        processes = min(settings.workers, len(tasks))
        access = run.blob_stores.access(source)
        with cog_pool(settings, processes=processes, scratch=scratch, access=access) as pool:
            for outcome in pool.map_renewed(work, tasks, chunk_size=1, lost=CogOutcome):
                raster, ready = rasters[outcome.task.blob.name]
                result = outcome.result
                yield Outcome(raster, result if isinstance(result, GeoAssetsError) else replace(ready, made=result))


def _publish(run: StageRun, blob: BlobRef, metadata: RasterMetadata, made: MadeCog, silver: SilverStore) -> None:
    """Put a COG and its thumbnail into the output location, and record it. Raises CogNameTaken."""
    name = cog_name(source=run.source.name, prefix=run.source.prefix, blob_name=blob.name)
    thumbnail, place = thumbnail_name(name) if made.thumbnail else None, silver.place
    names = [each for each in (thumbnail, name) if each]
    with run.database.cogs.publishing(run.source, blob, place=place, names_in_place=names, run_id=run.run_id):
        thumbnail_href = None
        if made.thumbnail is not None and thumbnail is not None:
            thumbnail_href = silver.publish(made.thumbnail, thumbnail, content_type=PNG)
        cog = PublishedCog(
            href=silver.publish(made.path, name, content_type=GEOTIFF),
            is_linked=False,
            facts=_facts(metadata, made),
            place=place,
            name_in_place=name,
            thumbnail_name=thumbnail,
            thumbnail_href=thumbnail_href,
            size_bytes=made.size_bytes,
            seconds=made.seconds,
        )
        run.database.cogs.record(run.source, blob, cog, run_id=run.run_id)


def _forget_unspoken_for(run: StageRun) -> int:
    keep = bool(run.source.cogs and run.source.cogs.keep)
    gone = run.database.cogs.to_remove(run.source)
    for cog in gone:
        run.database.cogs.forget(run.source.name, cog.name, keep_files=keep)
    return sum(cog.is_made for cog in gone)


@contextmanager
def _words(run: StageRun, folder: Path) -> Iterator[None]:
    """Say in the run's log every few seconds how much was fetched and written."""
    over = threading.Event()

    def speak() -> None:
        began = time.monotonic()
        while not over.wait(SECONDS_BETWEEN_WORDS):
            written = sum(used_bytes(each) for each in folder.iterdir() if each.is_dir())
            run.log.info(one_line(f"{written:,} bytes in scratch after {time.monotonic() - began:.0f} s"))

    speaker = threading.Thread(target=speak, daemon=True)
    speaker.start()
    try:
        yield
    finally:
        over.set()
        speaker.join()


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


UNRECORDED_STAYS = timedelta(days=1)
"""How old a file must be that the ledger does not know before it is removed, on request: a release from before the
ledger knew files may still be publishing."""


@dataclass(frozen=True, slots=True)
class FilesOfSource:
    """The files of a source in its output locations.

    ``found`` are those that are there, by place and name. ``orphans`` are in the ledger and no COG has them;
    ``unrecorded`` may be of COGs by their names, and the ledger does not know them.
    """

    found: Mapping[tuple[str, str], BlobRef]
    orphans: list[SilverFile]
    unrecorded: list[SilverFile]


def look_at_files(
    source: str, *, places: Iterable[str], database: Database, silver_store: SilverStore
) -> FilesOfSource:
    """List the files of ``source`` in these places and in all that the ledger knows of. Raises what listing raises."""
    recorded = {(file.place, file.name_in_place) for file in database.cogs.files(source)}
    found = {
        (place, blob.name): blob
        for place in {*places, *(place for place, _ in recorded)}
        for blob in silver_store.at(place).files(files_start(source))
    }
    unrecorded = [
        SilverFile(place, name, source, name, kept=False, announced_at=blob.last_modified)
        for (place, name), blob in found.items()
        if (place, name) not in recorded and may_be_of_cog(name)
    ]
    return FilesOfSource(found, database.cogs.orphans(source), unrecorded)


def remove_unrecorded(files: FilesOfSource, *, silver_store: SilverStore) -> list[SilverFile]:
    """Remove files that the ledger does not know and that are older than `UNRECORDED_STAYS`; those removed."""
    before = datetime.now(UTC) - UNRECORDED_STAYS
    old = [file for file in files.unrecorded if file.announced_at < before]
    for file in old:
        silver_store.remove(file)
    return old


@asset_check(
    asset="cogs",
    partitions_def=sources_partitions,
    description="Every recorded COG exists, has its recorded size and passed validation; no other file is there.",
)
def cogs_are_there(
    context: AssetCheckExecutionContext, sources_file: SourcesFile, database: Database, silver_store: SilverStore
) -> AssetCheckResult:
    """List the source's files; a row a COG, and the files that no COG has."""
    with clear_failures():
        source = sources_file.get(context.partition_key)
        standing = [cog for cog in database.cogs.standing(source.name) if cog.name_in_place]
        places = [silver_store.at(source.cogs.url).place] if source.cogs else []
        files = look_at_files(source.name, places=places, database=database, silver_store=silver_store)
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
