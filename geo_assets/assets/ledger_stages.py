"""What stages share whose work is in the ledger's rows, and what those share that end with items; stac_collections.

Here: planning by the ledger, its reasons, its word on what is left; withdrawing items; the collection of a source, with
the extent its items have, as an asset and after each stage. Not here: the engine (`engine`), and the stages themselves.
"""

from abc import abstractmethod
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from math import ceil
from typing import Any, ClassVar, TypeVar

from dagster import AssetExecutionContext, Config, MaterializeResult, MetadataValue, asset
from pydantic import Field

from geo_assets.assets.ops import CATALOGUE, OWNERS, clear_failures, register_partitions, sources_partitions
from geo_assets.assets.plan import STEP_BUDGET, batch_size
from geo_assets.assets.stage import BatchReport, Metadata, Outcome, Plan, Scope, Stage, StageRun, Unit
from geo_assets.catalogue.pgstac import CollectionExtent
from geo_assets.display import one_line
from geo_assets.errors import GeoAssetsError, LoadIncomplete, StorageUnavailable, Unforeseen
from geo_assets.ledger.blobs import Batch, StageName
from geo_assets.models import BlobRef, Failure
from geo_assets.resources.database import Database
from geo_assets.resources.sources_file import SourcesFile
from geo_assets.sources.source import Source
from geo_assets.stac.item import build_collection
from geo_assets.stac.schemas import unchecked_extensions


@asset(
    partitions_def=sources_partitions,
    deps=["container_listing"],
    pool="pgstac",
    description="The STAC collection the source's items belong to, as its owner states it in sources.yaml.",
    group_name=CATALOGUE,
    kinds={"stac", "postgis"},
    owners=OWNERS,
)
def stac_collections(
    context: AssetExecutionContext,
    sources_file: SourcesFile,
    database: Database,
) -> MaterializeResult[None]:
    """Create the collection, or bring its statement and extent up to date."""
    with clear_failures():
        source = sources_file.get(context.partition_key)
        register_partitions(context.instance, [source.name])
        database.take_turn(source.name, run_id=context.run.run_id)
        extent = refresh_collection(
            source,
            database=database,
        )
    return MaterializeResult(
        metadata={
            "collection": source.collection.id,
            "items": extent.items,
            "bbox": MetadataValue.json(extent.bbox or ()),
            "interval": MetadataValue.json([moment.isoformat() for moment in extent.interval or ()]),
        }
    )


def refresh_collection(source: Source, *, database: Database, summarize: bool = False) -> CollectionExtent:
    """Store the collection as declared with the extent of the items it has now; that extent.

    Its summaries are those of its items now where asked to ``summarize``, for that reads all of them; else they stay.
    """
    collection_id = source.collection.id
    extent = database.catalogue.collection_extent(collection_id)
    stored = database.collections.get(collection_id) or {}
    summaries = database.collections.summaries(collection_id) if summarize else stored.get("summaries")
    database.catalogue.upsert_collection(build_collection(source, extent.bbox, extent.interval, summaries=summaries))
    return extent


U = TypeVar("U", bound=Unit)
D = TypeVar("D")


class LedgerStage(Stage[Batch, U, D]):
    """A stage of which a blob is pending where the ledger says so."""

    batch_type: ClassVar[type] = Batch
    state: ClassVar[StageName]
    """What the ledger calls it."""
    one_file_a_step: ClassVar[bool] = False
    """For work that takes longer than a step costs: batches of one blob as long as the budget of steps allows."""

    def by_scene(self, run: StageRun) -> bool:  # noqa: ARG002
        """Whether batches are of scenes, so that none is in two of them."""
        return False

    def plan(self, run: StageRun, *, as_of: datetime) -> Plan[Batch]:
        """The blobs that the ledger has pending, by name."""
        source = run.source.name
        blobs, size_bytes = run.database.blobs.count_pending(source, self.state, as_of=as_of)
        size = max(1, ceil(blobs / STEP_BUDGET)) if self.one_file_a_step else batch_size(blobs)
        batches = run.database.blobs.plan_batches(
            source, self.state, as_of=as_of, batch_size=size, by_scene=self.by_scene(run)
        )
        named = [(each.first if each.blobs == 1 else f"{each.blobs}_blobs", each) for each in batches]
        return Plan(named, blobs, size_bytes)

    @abstractmethod
    def blobs_of(self, unit: U) -> Sequence[BlobRef]:
        """The blobs that get the reason of a unit."""

    def state_of(self, reason: GeoAssetsError) -> StageName:  # noqa: ARG002
        """In which state a blob with this reason has failed."""
        return self.state

    def refuse(self, run: StageRun, refused: Sequence[Outcome[U, D]]) -> None:
        """Record the reasons in the ledger."""
        failures = defaultdict[StageName, list[Failure]](list)
        for outcome in refused:
            assert isinstance(outcome.result, GeoAssetsError)
            own = failures[self.state_of(outcome.result)]
            own += [Failure.of(blob, outcome.result) for blob in self.blobs_of(outcome.unit)]
        for state, each in failures.items():
            run.database.blobs.record_failures(run.source, each, stage=state, run_id=run.run_id)

    def check(self, run: StageRun, scope: Scope) -> None:
        """Raise unless every blob of the scope is done or has its reason.

        Alerts report a blob's unforeseen errors, which fail no run: the next one tries it again.
        """
        left, _ = run.database.blobs.count_pending(scope.source, self.state, as_of=scope.as_of, but=[Unforeseen.code])
        if left == 0:
            return
        reasons = [failure for failure in run.database.blobs.failures(scope.source) if not failure.permanent]
        example = f" For example {reasons[0].message} ({reasons[0].code})" if reasons else ""
        message = f"{left} of {scope.blobs} blobs of {scope.source} are still pending ({self.state}).{example}"
        raise (StorageUnavailable if self.state == "describe" else LoadIncomplete)(
            message, remedy="What is done is kept: the next run finishes the rest."
        )


class WithdrawalOptions(Config):
    """How to withdraw items."""

    consent_to_deletions: bool = Field(
        default=False, description="Remove the items of all blobs that are gone, also of more than the source allows."
    )


class ItemStage(LedgerStage[U, D]):
    """A stage that ends with items: they go with their blobs, and the collection says what there is."""

    options: ClassVar[type[Config] | None] = WithdrawalOptions

    def prepare(self, run: StageRun, options: Any) -> int:
        """Withdraw the items, and drop the tables, of blobs that can have none; held deletions stop nothing."""
        source = run.source
        run.database.deletions.judge(source)
        if options.consent_to_deletions:
            consented = run.database.deletions.consent(source.name)
            run.log.info(one_line(f"{source.name}: {consented} deletions approved"))
        withdrawn = self._withdraw(run)
        run.log.info(one_line(f"{source.name}: {withdrawn} items removed"))
        return withdrawn

    def finish(self, run: StageRun, scope: Scope, report: BatchReport) -> Metadata:
        """Withdraw the items of what was refused meanwhile, and bring the collection's extent up to date."""
        brought = self.bring_up_to_date(run)
        scope = replace(scope, withdrawn=scope.withdrawn + self._withdraw(run))
        # A run that is tried again may have died between its last blob and this.
        if scope.blobs or brought or scope.withdrawn or run.context.run.parent_run_id:
            refresh_collection(run.source, database=run.database, summarize=True)
        return {
            **self.figures(run, scope, report),
            "catalogued": report.done + brought,
            "withdrawn": scope.withdrawn,
            "extensions_not_checked": unchecked_extensions(run.settings.schemas_folder),
        }

    def bring_up_to_date(self, run: StageRun) -> int:  # noqa: ARG002
        """Do what items need where no blob is pending; of how many blobs."""
        return 0

    @abstractmethod
    def figures(self, run: StageRun, scope: Scope, report: BatchReport) -> Metadata:
        """What the materialization shows."""

    def check(self, run: StageRun, scope: Scope) -> None:
        """Raise where blobs are left to do, or where deletions await consent."""
        super().check(run, scope)
        run.database.deletions.check_none_held(run.source)

    @staticmethod
    def _withdraw(run: StageRun) -> int:
        """Withdraw the items of blobs that can have none, then drop their tables; how many items went."""
        withdrawn = run.database.catalogue.withdraw_dead(run.source)
        run.database.tables.drop_unclaimed(run.source.name)  # also of a source that made tables before
        return withdrawn
