"""vector_tables: a table of PostGIS with its STAC item for each layer of each vector file, or the reason why not."""

from collections.abc import Generator, Sequence
from functools import partial
from typing import Any

from dagster import MetadataValue

from geo_assets.assets.engine import build_stage_asset
from geo_assets.assets.ledger_stages import ItemStage
from geo_assets.assets.ops import SILVER
from geo_assets.assets.reports import stage_report
from geo_assets.assets.stage import BatchReport, Metadata, Outcome, Scope, StageRun, outcome_of
from geo_assets.display import MarkdownTable, one_line
from geo_assets.errors import (
    DuplicateItem,
    GeoAssetsError,
    InvalidConfiguration,
    InvalidItem,
    LoadIncomplete,
    MissingDatetime,
    ScratchFull,
)
from geo_assets.ledger.blobs import Batch, StageName
from geo_assets.models import BlobRef, Failure
from geo_assets.sources.source import Source
from geo_assets.vectors.errors import TableInUse
from geo_assets.vectors.load import Loaded
from geo_assets.vectors.tables import VectorTable

MOST_TABLES_SHOWN = 100
WAITING = (TableInUse, ScratchFull, LoadIncomplete)
"""Why one file has to wait, where nothing keeps the others."""
REASONS_OF_ITEMS = (MissingDatetime, InvalidItem, DuplicateItem)
"""Why a file whose tables are right can have no items: another rule of items may change that."""


class VectorTablesStage(ItemStage[BlobRef, Loaded]):
    """Loads the layers of a file into tables with items, in one transaction."""

    asset = "vector_tables"
    after = ("container_listing", "stac_collections")
    ops = ("plan_vector_tables", "load_vector_file", "finish_vector_tables")
    descriptions = (
        "Remove the items and tables of files that are gone, and plan a step for each file to load.",
        "Load a file's layers into tables with items, in one transaction; the file gets them or its reason.",
        "Bring items to the present settings, remove those of files that can have none, and report.",
    )
    description = "A clean, indexed table of PostGIS for each layer of each vector file, with its STAC item."
    group = SILVER
    kinds = frozenset({"postgis", "stac"})
    pool = "vectors"
    state = "describe"
    one_file_a_step = True
    store_is_down_after = 1
    tells_each = True

    def refusal(self, source: Source) -> GeoAssetsError | None:
        """Only sources of vectors have tables."""
        if source.tables is not None:
            return None
        return InvalidConfiguration(
            f"{source.name} has no `tables` in sources.yaml.", remedy="Run ingest_rasters for it, or add the key."
        )

    def prepare(self, run: StageRun, options: Any) -> int:
        """Clear what killed runs left, then withdraw."""
        run.database.tables.clear_scratch(run.source.name, run.settings)
        return super().prepare(run, options)

    def units(self, run: StageRun, batch: Batch) -> Sequence[BlobRef]:
        """The files of the batch that are not loaded yet."""
        return run.database.blobs.to_describe(batch)

    def blobs_of(self, unit: BlobRef) -> Sequence[BlobRef]:
        """The file itself."""
        return (unit,)

    def work(self, run: StageRun, units: Sequence[BlobRef]) -> Generator[Outcome[BlobRef, Loaded], None, None]:
        """Load one file after the other; one that has to wait keeps no other from being loaded."""
        with run.blob_stores.open(run.source) as store:
            load = partial(run.database.tables.load, run.source, store=store, settings=run.settings, run_id=run.run_id)
            for blob in units:
                yield outcome_of(blob, partial(load, blob))

    def keep(self, run: StageRun, done: Sequence[tuple[BlobRef, Loaded]]) -> Sequence[Outcome[BlobRef, Loaded]]:
        """Tables, items and the ledger were written in one transaction; say of which layers."""
        for blob, loaded in done:
            for layer in loaded:
                rows = f"{layer.rows:,} rows of layer {layer.layer} in {layer.table}"
                run.log.info(one_line(f"{blob.name}: {rows}"))
        return [Outcome(blob, loaded) for blob, loaded in done]

    def tally(self, outcome: Outcome[BlobRef, Loaded]) -> BatchReport:
        """A file is read whole."""
        if isinstance(outcome.result, GeoAssetsError):
            return BatchReport(failed=1)
        return BatchReport(done=1, bytes_read=outcome.unit.size_bytes)

    def state_of(self, reason: GeoAssetsError) -> StageName:
        """A file that can have no item waits for another rule of items; what else is wrong is in the file."""
        return "catalogue" if isinstance(reason, REASONS_OF_ITEMS) else self.state

    def bring_up_to_date(self, run: StageRun) -> int:
        """Load the items again of tables whose items are not as rule and patch say now; of how many files."""
        with run.blob_stores.open(run.source) as store:
            outcomes = [
                outcome_of(
                    blob,
                    partial(
                        run.database.tables.catalogue,
                        run.source,
                        blob,
                        href=store.href(blob.name),
                        settings=run.settings,
                        run_id=run.run_id,
                    ),
                )
                for blob in run.database.tables.to_catalogue(run.source.name)
            ]
        refused = [(each.unit, each.result) for each in outcomes if isinstance(each.result, GeoAssetsError)]
        failures = [Failure.of(blob, reason) for blob, reason in refused]
        run.database.blobs.record_failures(run.source, failures, stage="catalogue", run_id=run.run_id)
        return len(outcomes) - len(refused)

    def figures(self, run: StageRun, scope: Scope, report: BatchReport) -> Metadata:
        """The tables, then counts and failures."""
        return {
            "tables": MetadataValue.md(tables_markdown(run.database.tables.all(run.source.name))),
            **stage_report(scope, report, database=run.database),
        }

    def check(self, run: StageRun, scope: Scope) -> None:
        """Raise the reason for which a file has to wait for the next run, where one has to; then as all stages."""
        for failure in run.database.blobs.failures(run.source.name):
            for reason in WAITING:
                if not failure.permanent and failure.code == reason.code:
                    remedy = "All else is done; the next run tries again."
                    raise reason(f"{failure.name}: {failure.message}", remedy=remedy)
        super().check(run, scope)


vector_tables = build_stage_asset(VectorTablesStage())


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
