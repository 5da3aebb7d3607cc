"""stac_items: one STAC item for each described raster, or for each scene, in PgSTAC, or the reason why not."""

from collections.abc import Generator, Iterator, Sequence
from functools import partial

from geo_assets.assets.engine import build_stage_asset
from geo_assets.assets.ledger_stages import ItemStage
from geo_assets.assets.ops import CATALOGUE
from geo_assets.assets.reports import items_report
from geo_assets.assets.stage import (
    BatchReport,
    Metadata,
    Outcome,
    Scope,
    StageRun,
    outcome_of,
)
from geo_assets.catalogue.items import Built, Described, DescribedRaster, DescribedScene, build
from geo_assets.errors import GeoAssetsError
from geo_assets.ledger.blobs import Batch
from geo_assets.models import BlobRef
from geo_assets.stac.schemas import item_validator

LOAD_SIZE = 1000
"""Items go to PgSTAC in loads of this many: few and large, but bounded in memory."""


class ItemsStage(ItemStage[Described, Built]):
    """Builds, loads and reads back the items of rasters and scenes."""

    asset = "stac_items"
    after = ("raster_metadata", "cogs", "stac_collections")
    ops = ("plan_stac_items", "catalogue_batch", "finish_stac_items")
    descriptions = (
        "Remove the items of blobs that are gone or quarantined, and cut the rest of the work into batches.",
        "Build, load and read back the items of one batch; each blob gets its item or its reason.",
        "Ask the ledger whether every blob of the plan has its item or its reason, and report.",
    )
    description = "One STAC item per raster or scene, loaded into PgSTAC and verified by reading it back."
    group = CATALOGUE
    kinds = frozenset({"stac", "postgis"})
    pool = "pgstac"
    state = "catalogue"
    reads_store = False
    step_size = LOAD_SIZE

    def by_scene(self, run: StageRun) -> bool:
        """Where the source has scenes."""
        return run.source.group is not None

    def units(self, run: StageRun, batch: Batch) -> Sequence[Described]:
        """The rasters or scenes of the batch that await their item."""
        if run.source.group is None:
            return [DescribedRaster(*each) for each in run.database.blobs.to_catalogue(batch)]
        first, last = batch.first, batch.last
        scenes = run.database.scenes.to_catalogue(run.source.name, first=first, last=last, as_of=batch.as_of)
        return [DescribedScene(scene) for scene in scenes]

    def blobs_of(self, unit: Described) -> Sequence[BlobRef]:
        """Each blob of a scene that cannot be an item gets the reason."""
        return (*unit.blobs, *unit.surplus)

    def work(self, run: StageRun, units: Sequence[Described]) -> Generator[Outcome[Described, Built], None, None]:
        """Build the items and check them."""
        validator = item_validator(run.settings.schemas_folder)
        with run.blob_stores.open(run.source) as store:
            for portion in _portions(units):
                names = [blob.name for unit in portion for blob in unit.blobs]
                remarks = run.database.scenes.remarks(run.source.name, names)
                for unit in portion:
                    own = {blob.name: remarks[blob.name] for blob in unit.blobs if blob.name in remarks}
                    work = partial(build, unit, run.source, href=store.href, remarks=own, validator=validator)
                    yield outcome_of(unit, work)

    def keep(self, run: StageRun, done: Sequence[tuple[Described, Built]]) -> Sequence[Outcome[Described, Built]]:
        """Claim the ids, load the items of those that have theirs, read them back, and mark their versions."""
        taken = run.database.catalogue.enter(run.source, done, run_id=run.run_id)
        return [Outcome(unit, taken.get(unit.name, built)) for unit, built in done]

    def tally(self, outcome: Outcome[Described, Built]) -> BatchReport:
        """By blobs."""
        blobs, surplus = len(outcome.unit.blobs), len(outcome.unit.surplus)
        if isinstance(outcome.result, GeoAssetsError):
            return BatchReport(failed=blobs + surplus)
        return BatchReport(done=blobs, failed=surplus)

    def figures(self, run: StageRun, scope: Scope, report: BatchReport) -> Metadata:
        """Counts, rate, failures, scenes that wait, and a map."""
        return items_report(
            scope,
            report,
            source=run.source,
            tags=run.context.run.tags,
            database=run.database,
        )


stac_items = build_stage_asset(ItemsStage())


def _portions(units: Sequence[Described]) -> Iterator[Sequence[Described]]:
    for start in range(0, len(units), LOAD_SIZE):
        yield units[start : start + LOAD_SIZE]
