"""stac_items: one STAC item for each described raster, or for each scene, in PgSTAC, or the reason why not."""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from geo_assets.assets.engine import build_stage_asset
from geo_assets.assets.labels import CATALOGUE
from geo_assets.assets.ledger_stages import ItemStage
from geo_assets.assets.reports import items_report
from geo_assets.assets.stage import (
    BatchReport,
    Metadata,
    Outcome,
    Scope,
    StageRun,
    outcome_of,
)
from geo_assets.catalogue.items import Item, id_taken
from geo_assets.errors import DuplicateItem, GeoAssetsError
from geo_assets.ledger.blobs import Batch
from geo_assets.models import BlobRef, RasterMetadata
from geo_assets.sources.source import Source
from geo_assets.stac.item import build_item
from geo_assets.stac.remarks import NOTHING, Remarks, check_item, scene_with_remarks, with_remarks
from geo_assets.stac.scene import Scene, build_scene_item
from geo_assets.stac.schemas import ItemValidator, item_validator
from geo_assets.storage.related_blobs import asset_name

LOAD_SIZE = 1000
"""Items go to PgSTAC in loads of this many: few and large, but bounded in memory."""

Href = Callable[[str], str]
Owner = tuple[str, str]
"""A source and the blob, or the scene, that owns an item id."""


class Described(Protocol):
    """What becomes one item: a raster, or a scene."""

    @property
    def name(self) -> str:
        """The blob's name, or the scene's id: who owns the item."""
        ...

    @property
    def version(self) -> BlobRef:
        """Of which version the item is."""
        ...

    @property
    def blobs(self) -> Sequence[BlobRef]:
        """The blobs that the item is of."""
        ...

    @property
    def surplus(self) -> Sequence[BlobRef]:
        """Blobs beside them that have no place in it."""
        ...

    def build(self, source: Source, href: Href, remarks: Mapping[str, Remarks]) -> Item:
        """The item, with what is known of its blobs."""
        ...

    def id_taken(self, item: Item, owner: Owner) -> DuplicateItem:
        """Why it has no item: another one owns the id."""
        ...


@dataclass(frozen=True, slots=True)
class DescribedRaster:
    """A raster and what its header says."""

    version: BlobRef
    metadata: RasterMetadata
    surplus: tuple[BlobRef, ...] = ()

    @property
    def name(self) -> str:
        """The blob's."""
        return self.version.name

    @property
    def blobs(self) -> Sequence[BlobRef]:
        """The one blob."""
        return (self.version,)

    def build(self, source: Source, href: Href, remarks: Mapping[str, Remarks]) -> Item:
        """The item of the blob."""
        address = href(asset_name(self.name))
        item = build_item(source=source, blob=self.version, metadata=self.metadata, href=address)
        return with_remarks(item, remarks.get(self.name, NOTHING))

    def id_taken(self, item: Item, owner: Owner) -> DuplicateItem:
        """Another blob owns the id."""
        return id_taken(item, self.version, owner)


@dataclass(frozen=True, slots=True)
class DescribedScene:
    """A scene that has all that it requires."""

    scene: Scene

    @property
    def name(self) -> str:
        """The scene's id."""
        return self.scene.id

    @property
    def version(self) -> BlobRef:
        """The scene as if it were one blob."""
        return self.scene.version

    @property
    def blobs(self) -> Sequence[BlobRef]:
        """Its members."""
        return [member.blob for member in self.scene.members]

    @property
    def surplus(self) -> Sequence[BlobRef]:
        """Blobs whose asset another member is already."""
        return [member.blob for member in self.scene.surplus]

    def build(self, source: Source, href: Href, remarks: Mapping[str, Remarks]) -> Item:
        """The item of all members."""
        return scene_with_remarks(build_scene_item(source=source, scene=self.scene, href=href), remarks)

    def id_taken(self, item: Item, owner: Owner) -> DuplicateItem:
        """Another blob or scene owns the id."""
        return DuplicateItem(
            f"Item id {item['id']!r} of scene {self.name} belongs to {owner[1]} of source {owner[0]}.",
            remedy="Make the regular expression's group `item` in sources.yaml unique.",
            item_id=item["id"],
        )


@dataclass(frozen=True, slots=True)
class Built:
    """A valid item, and what was known of its blobs when it was built."""

    item: Item
    remarks: Mapping[str, Remarks]


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
                    yield outcome_of(unit, partial(_build, unit, run.source, store.href, own, validator))

    def keep(self, run: StageRun, done: Sequence[tuple[Described, Built]]) -> Sequence[Outcome[Described, Built]]:
        """Claim the ids, load the items of those that have theirs, read them back, and mark their versions."""
        owners = run.database.catalogue.claim(run.source, [(unit.version, built.item) for unit, built in done])
        own = [(unit, built) for unit, built in done if built.item["id"] not in owners]
        run.database.catalogue.load(run.source, [(unit.version, built.item) for unit, built in own])
        remarks = {name: said for _, built in own for name, said in built.remarks.items()}
        rasters = [unit.version for unit, _ in own if isinstance(unit, DescribedRaster)]
        scenes = [unit.scene for unit, _ in own if isinstance(unit, DescribedScene)]
        run.database.blobs.record_catalogued(run.source, rasters, run_id=run.run_id, remarks=remarks)
        run.database.scenes.record_catalogued(run.source, scenes, run_id=run.run_id, remarks=remarks)
        run.database.scenes.record_surplus(run.source, scenes, run_id=run.run_id)
        return [
            Outcome(unit, unit.id_taken(built.item, owners[taken]) if (taken := built.item["id"]) in owners else built)
            for unit, built in done
        ]

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


def _build(
    unit: Described, source: Source, href: Href, remarks: Mapping[str, Remarks], validator: ItemValidator
) -> Built:
    item = unit.build(source, href, remarks)
    check_item(item, validator)
    return Built(item, remarks)


def _portions(units: Sequence[Described]) -> Iterator[Sequence[Described]]:
    for start in range(0, len(units), LOAD_SIZE):
        yield units[start : start + LOAD_SIZE]
