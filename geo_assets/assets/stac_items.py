"""stac_items: one STAC item for each described raster, in PgSTAC, or the reason why not."""

from collections.abc import Mapping, Sequence
from typing import Any

from dagster import AssetIn, Config, DynamicOut, In, Nothing, OpExecutionContext, Out, graph_asset, op
from pydantic import Field

from geo_assets.assets.batches import BatchReport, PlannedStage, Scope, check_complete, plan_stage, total
from geo_assets.assets.failing import clear_failures
from geo_assets.assets.labels import CATALOGUE, OWNERS
from geo_assets.assets.partitions import register_partitions, sources_partitions
from geo_assets.assets.reports import items_report
from geo_assets.assets.scenes import catalogue_scenes
from geo_assets.assets.stac_collections import refresh_collection
from geo_assets.catalogue.collections import Collections
from geo_assets.catalogue.items import Item, id_taken
from geo_assets.catalogue.pgstac import PgStac
from geo_assets.display import one_line
from geo_assets.errors import PermanentError
from geo_assets.ledger.blobs import Batch, Ledger
from geo_assets.ledger.schema_check import check_schema
from geo_assets.models import BlobRef, Failure, RasterMetadata
from geo_assets.resources.sources_file import SourcesFile
from geo_assets.settings import Settings
from geo_assets.sources.source import Source
from geo_assets.stac.item import build_item
from geo_assets.stac.remarks import NOTHING, Remarks, check_item, with_remarks
from geo_assets.stac.schemas import ItemValidator, item_validator, unchecked_extensions
from geo_assets.storage.blob_store import BlobStore
from geo_assets.storage.blob_stores import BlobStores
from geo_assets.storage.zarr_stores import asset_name
from geo_assets.vectors.tables import VectorTables

# Items go to PgSTAC in loads of this many: few and large, but bounded in memory.
LOAD_SIZE = 1000


class WithdrawalOptions(Config):
    """How to withdraw items."""

    consent_to_deletions: bool = Field(
        default=False, description="Withdraw the items of all blobs that are gone, also of more than the source allows."
    )


@op(
    ins={"raster_metadata": In(Nothing), "cogs": In(Nothing), "stac_collections": In(Nothing)},
    out={"batches": DynamicOut(Batch), "scope": Out(Scope)},
    description="Withdraw the items of blobs that are gone or refused, and cut the rest of the work into batches.",
)
def plan_stac_items(
    context: OpExecutionContext,
    config: WithdrawalOptions,
    sources_file: SourcesFile,
    ledger: Ledger,
    pgstac: PgStac,
    vector_tables: VectorTables,
) -> PlannedStage:
    """The batches to catalogue, and the scope they make up; deletions that are held do not keep it from starting."""
    with clear_failures():
        source = sources_file.get(context.partition_key)
        register_partitions(context.instance, [source.name])
        check_schema(ledger)
        ledger.register_source(source)
        ledger.group_blobs(source, run_id=context.run_id)
        ledger.judge_deletions(source)
        if config.consent_to_deletions:
            context.log.info(
                one_line(f"{source.name}: consent to {ledger.consent_to_deletions(source.name)} deletions")
            )
        withdrawn = pgstac.withdraw_dead(source)
        vector_tables.drop_unclaimed(source.name)  # of a source that made tables before
        context.log.info(one_line(f"{source.name}: {withdrawn} items withdrawn"))
        yield from plan_stage(
            context,
            source.name,
            stage="catalogue",
            ledger=ledger,
            withdrawn=withdrawn,
            by_scene=source.group is not None,
        )


@op(
    pool="pgstac",
    description="Build, load and read back the items of one batch; each blob gets its item or its reason.",
)
def catalogue_batch(
    context: OpExecutionContext,
    batch: Batch,
    sources_file: SourcesFile,
    blob_stores: BlobStores,
    ledger: Ledger,
    pgstac: PgStac,
) -> BatchReport:
    """Catalogue the blobs of one batch."""
    report = BatchReport(done=0, failed=0)
    with clear_failures():
        source = sources_file.get(batch.source)
        validator = item_validator(Settings().schemas_folder)
        with blob_stores.open(source) as store:
            if source.group is not None:
                return catalogue_scenes(
                    source,
                    batch,
                    store=store,
                    validator=validator,
                    ledger=ledger,
                    pgstac=pgstac,
                    run_id=context.run_id,
                )
            described = ledger.blobs_to_catalogue(batch)
            for start in range(0, len(described), LOAD_SIZE):
                portion = described[start : start + LOAD_SIZE]
                remarks = ledger.remarks(source.name, [blob.name for blob, _ in portion])
                items, failures = build_items(source, portion, store=store, validator=validator, remarks=remarks)
                items, duplicates = claim_items(source, items, pgstac=pgstac)
                failures += duplicates
                pgstac.load(source, items)
                ledger.record_catalogued(source, [blob for blob, _ in items], run_id=context.run_id, remarks=remarks)
                ledger.record_failures(source, failures, stage="catalogue", run_id=context.run_id)
                report += BatchReport(done=len(items), failed=len(failures))
    context.log.info(one_line(f"{batch.first} .. {batch.last}: {report}"))
    return report


@op(description="Ask the ledger whether every blob of the plan has its item or its reason, and report.")
def finish_stac_items(
    context: OpExecutionContext,
    scope: Scope,
    reports: list[BatchReport],
    sources_file: SourcesFile,
    ledger: Ledger,
    pgstac: PgStac,
    collections: Collections,
) -> None:
    """Bring the collection's extent up to date and report; fail where blobs still wait, or deletions are held."""
    with clear_failures():
        source = sources_file.get(scope.source)
        withdrawn = scope.withdrawn + pgstac.withdraw_dead(source)
        # A run that is tried again may have died between its last blob and this.
        if scope.blobs or withdrawn or context.run.parent_run_id:
            refresh_collection(source, pgstac=pgstac, collections=collections, summarize=True)
        context.add_output_metadata(
            {
                **items_report(
                    scope,
                    total(reports),
                    source=source,
                    withdrawn=withdrawn,
                    tags=context.run.tags,
                    ledger=ledger,
                    pgstac=pgstac,
                ),
                "extensions_not_checked": unchecked_extensions(Settings().schemas_folder),
            }
        )
        check_complete(scope, stage="catalogue", ledger=ledger)
        ledger.check_no_deletions_held(source)


@graph_asset(
    ins={
        "raster_metadata": AssetIn(dagster_type=Nothing),
        "cogs": AssetIn(dagster_type=Nothing),
        "stac_collections": AssetIn(dagster_type=Nothing),
    },
    partitions_def=sources_partitions,
    description="One truthful STAC item for each raster, loaded into PgSTAC and read back.",
    group_name=CATALOGUE,
    kinds={"stac", "postgis"},
    owners=OWNERS,
)
def stac_items(raster_metadata: Any, cogs: Any, stac_collections: Any) -> Any:
    """plan -> catalogue each batch -> finish."""
    batches, scope = plan_stac_items(raster_metadata=raster_metadata, cogs=cogs, stac_collections=stac_collections)
    return finish_stac_items(scope, batches.map(catalogue_batch).collect())


def build_items(
    source: Source,
    described: Sequence[tuple[BlobRef, RasterMetadata]],
    *,
    store: BlobStore,
    validator: ItemValidator,
    remarks: Mapping[str, Remarks],
) -> tuple[list[tuple[BlobRef, Item]], list[Failure]]:
    """The item of each described blob, checked by ``validator``, and a failure for each that cannot have one.

    ``remarks`` are by blob name.
    """
    items: list[tuple[BlobRef, Item]] = []
    failures: list[Failure] = []
    for blob, metadata in described:
        try:
            item = build_item(source=source, blob=blob, metadata=metadata, href=store.href(asset_name(blob.name)))
            item = with_remarks(item, remarks.get(blob.name, NOTHING))
            check_item(item, validator)
            items.append((blob, item))
        except PermanentError as error:
            failures.append(Failure.of(blob, error))
    return items, failures


def claim_items(
    source: Source, items: Sequence[tuple[BlobRef, Item]], *, pgstac: PgStac
) -> tuple[list[tuple[BlobRef, Item]], list[Failure]]:
    """The items whose id is this blob's own, and a failure for each whose id another blob owns."""
    owners: dict[str, Any] = pgstac.claim(source, items)
    own: list[tuple[BlobRef, Item]] = []
    failures: list[Failure] = []
    for blob, item in items:
        owner = owners.get(item["id"])
        if owner is None or owner == (source.name, blob.name):
            own.append((blob, item))
        else:
            failures.append(Failure.of(blob, id_taken(item, blob, owner)))
    return own, failures
