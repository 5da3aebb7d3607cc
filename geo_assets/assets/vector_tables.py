"""vector_tables: a table of PostGIS with its STAC item for each layer of each vector file, or the reason why not."""

from collections.abc import Sequence
from typing import Any

from dagster import AssetIn, DynamicOut, In, MetadataValue, Nothing, OpExecutionContext, Out, graph_asset, op

from geo_assets.assets.batches import BatchReport, PlannedStage, Scope, check_complete, plan_stage, total
from geo_assets.assets.failing import clear_failures
from geo_assets.assets.labels import OWNERS, SILVER
from geo_assets.assets.partitions import register_partitions, sources_partitions
from geo_assets.assets.repair import repairs
from geo_assets.assets.reports import stage_report
from geo_assets.assets.stac_collections import refresh_collection
from geo_assets.assets.stac_items import WithdrawalOptions
from geo_assets.catalogue.collections import Collections
from geo_assets.catalogue.pgstac import PgStac
from geo_assets.display import MarkdownTable, one_line
from geo_assets.errors import InvalidConfiguration, LoadIncomplete, PermanentError, ScratchFull
from geo_assets.ledger.blobs import Batch, Ledger, Stage
from geo_assets.ledger.schema_check import check_schema
from geo_assets.models import Failure
from geo_assets.resources.sources_file import SourcesFile
from geo_assets.settings import Settings
from geo_assets.sources.source import Source
from geo_assets.stac.schemas import unchecked_extensions
from geo_assets.storage.blob_store import BlobStore
from geo_assets.storage.blob_stores import BlobStores
from geo_assets.vectors.errors import TableInUse
from geo_assets.vectors.load import ItemRefused
from geo_assets.vectors.tables import VectorTable, VectorTables

MOST_TABLES_SHOWN = 100
WAITING = (TableInUse, ScratchFull, LoadIncomplete)
"""Why one file has to wait, where nothing keeps the others."""


@op(
    ins={"container_listing": In(Nothing), "stac_collections": In(Nothing)},
    out={"batches": DynamicOut(Batch), "scope": Out(Scope, is_required=False)},
    description="Withdraw the items and tables of files that are gone, and plan a step for each file to load.",
)
def plan_vector_tables(
    context: OpExecutionContext,
    config: WithdrawalOptions,
    sources_file: SourcesFile,
    ledger: Ledger,
    pgstac: PgStac,
    vector_tables: VectorTables,
) -> PlannedStage:
    """The files to load, one a step, and the scope they make up."""
    with clear_failures():
        source = sources_file.get(context.partition_key)
        if source.tables is None:
            if repairs(context.run):
                return
            raise InvalidConfiguration(
                f"{source.name} has no `tables` in sources.yaml.", remedy="Run ingest_rasters for it, or add the key."
            )
        register_partitions(context.instance, [source.name])
        check_schema(ledger)
        ledger.register_source(source)
        ledger.group_blobs(source, run_id=context.run_id)
        ledger.judge_deletions(source)
        if config.consent_to_deletions:
            context.log.info(
                one_line(f"{source.name}: consent to {ledger.consent_to_deletions(source.name)} deletions")
            )
        vector_tables.clear_scratch(source.name, Settings())
        withdrawn = _withdraw(source, pgstac=pgstac, vector_tables=vector_tables)
        yield from plan_stage(
            context, source.name, stage="describe", ledger=ledger, withdrawn=withdrawn, one_file_a_step=True
        )


@op(
    pool="vectors",
    description="Load a file's layers into tables with items, in one transaction; the file gets them or its reason.",
)
def load_vector_file(
    context: OpExecutionContext,
    batch: Batch,
    sources_file: SourcesFile,
    blob_stores: BlobStores,
    ledger: Ledger,
    vector_tables: VectorTables,
) -> BatchReport:
    """Load the files of one batch; one that has to wait keeps no other from being loaded."""
    report = BatchReport(done=0, failed=0)
    with clear_failures():
        source, settings = sources_file.get(batch.source), Settings()
        with blob_stores.open(source) as store:
            for blob in ledger.blobs_to_describe(batch):
                try:
                    loaded = vector_tables.load(source, blob, store=store, settings=settings, run_id=context.run_id)
                except (PermanentError, ItemRefused, *WAITING) as error:
                    stage: Stage = "catalogue" if isinstance(error, ItemRefused) else "describe"
                    failure = Failure.of(blob, error.reason if isinstance(error, ItemRefused) else error)
                    ledger.record_failures(source, [failure], stage=stage, run_id=context.run_id)
                    report += BatchReport(done=0, failed=1)
                    context.log.warning(one_line(f"{blob.name}: {failure.message} ({failure.code})"))
                    continue
                for layer in loaded:
                    context.log.info(
                        one_line(f"{blob.name}: {layer.rows:,} rows of layer {layer.layer} in {layer.table}")
                    )
                report += BatchReport(done=1, failed=0, bytes_read=blob.size_bytes)
    return report


@op(description="Bring items to the present rule, withdraw those of files that can have none, and report.")
def finish_vector_tables(
    context: OpExecutionContext,
    scope: Scope,
    reports: list[BatchReport],
    sources_file: SourcesFile,
    blob_stores: BlobStores,
    ledger: Ledger,
    pgstac: PgStac,
    collections: Collections,
    vector_tables: VectorTables,
) -> None:
    """Items get what a rule or a patch says now; fail where files of the scope still wait, or deletions are held."""
    with clear_failures():
        source = sources_file.get(scope.source)
        with blob_stores.open(source) as store:
            catalogued = total(reports).done + _catalogue(
                source, store=store, ledger=ledger, vector_tables=vector_tables, run_id=context.run_id
            )
        withdrawn = scope.withdrawn + _withdraw(source, pgstac=pgstac, vector_tables=vector_tables)
        if catalogued or withdrawn or context.run.parent_run_id:
            refresh_collection(source, pgstac=pgstac, collections=collections, summarize=True)
        context.add_output_metadata(
            {
                "tables": MetadataValue.md(tables_markdown(vector_tables.tables(source.name))),
                **stage_report(scope, total(reports), ledger=ledger),
                "catalogued": catalogued,
                "withdrawn": withdrawn,
                "extensions_not_checked": unchecked_extensions(Settings().schemas_folder),
            }
        )
        _check_none_waits(source, ledger=ledger)
        check_complete(scope, stage="describe", ledger=ledger)
        ledger.check_no_deletions_held(source)


@graph_asset(
    ins={
        "container_listing": AssetIn(dagster_type=Nothing),
        "stac_collections": AssetIn(dagster_type=Nothing),
    },
    partitions_def=sources_partitions,
    description="A clean, indexed table of PostGIS for each layer of each vector file, with its STAC item.",
    group_name=SILVER,
    kinds={"postgis", "stac"},
    owners=OWNERS,
)
def vector_tables(container_listing: Any, stac_collections: Any) -> Any:
    """plan -> load each file -> finish."""
    batches, scope = plan_vector_tables(container_listing=container_listing, stac_collections=stac_collections)
    return finish_vector_tables(scope, batches.map(load_vector_file).collect())


def tables_markdown(tables: Sequence[VectorTable]) -> str:
    """A table of tables for people: rows, geometries, and what was repaired, left out and renamed."""
    if not tables:
        return "No tables."
    columns = "table file layer #rows geometries extent #repaired #split rejected dropped renamed"
    shown = MarkdownTable(columns.split())
    for each in tables[:MOST_TABLES_SHOWN]:
        extent = ", ".join(f"{value:.5g}" for value in each.bbox or ())
        renamed = [f"{c['original']} → {c['name']}" for c in each.columns if c["original"] != c["name"]]
        left_out = [_counts({**counts}) for counts in (each.rejected, {**each.dropped, "duplicates": each.duplicates})]
        shown.add(
            each.table, each.name, each.layer, f"{each.rows:,}", ", ".join(each.geometry_types), extent,
            f"{each.repaired:,}", f"{each.split:,}", *left_out, ", ".join(renamed),
        )  # fmt: skip
    if len(tables) > MOST_TABLES_SHOWN:
        return f"{shown}\n\n{len(tables) - MOST_TABLES_SHOWN:,} more: `geo-assets tables list`."
    return str(shown)


def _counts(counts: dict[str, int]) -> str:
    return "; ".join(f"{number:,} {reason}" for reason, number in counts.items() if number)


def _check_none_waits(source: Source, *, ledger: Ledger) -> None:
    """Raise the reason for which a file has to wait for the next run, where one has to."""
    for failure in ledger.failures(source.name):
        for reason in WAITING:
            if not failure.permanent and failure.code == reason.code:
                raise reason(f"{failure.name}: {failure.message}", remedy="All else is done; the next run tries again.")


def _withdraw(source: Source, *, pgstac: PgStac, vector_tables: VectorTables) -> int:
    """Withdraw the items of files that can have none, and drop their tables; how many items went."""
    withdrawn = pgstac.withdraw_dead(source)
    vector_tables.drop_unclaimed(source.name)
    return withdrawn


def _catalogue(source: Source, *, store: BlobStore, ledger: Ledger, vector_tables: VectorTables, run_id: str) -> int:
    """Load the items again of tables whose items are not as rule and patch say now; of how many files."""
    settings, done = Settings(), 0
    for blob in vector_tables.to_catalogue(source.name):
        try:
            vector_tables.catalogue(source, blob, href=store.href(blob.name), settings=settings, run_id=run_id)
        except (PermanentError, LoadIncomplete) as error:
            ledger.record_failures(source, [Failure.of(blob, error)], stage="catalogue", run_id=run_id)
            continue
        done += 1
    return done
