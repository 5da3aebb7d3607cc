"""The census as asset checks of stac_items and vector_tables: whether blobs and items of a source agree, both ways.

Here: what Dagster shows. Not here: comparing (`geo_assets.catalogue.census`, `geo_assets.assets.repair`).
"""

import warnings
from collections.abc import Iterator
from typing import Any

from dagster import (
    AssetCheckExecutionContext,
    AssetCheckResult,
    AssetChecksDefinition,
    AssetCheckSeverity,
    AssetCheckSpec,
    Config,
    MetadataValue,
    PreviewWarning,
    asset_check,
    multi_asset_check,
)
from pydantic import Field

from geo_assets.assets.failing import clear_failures
from geo_assets.assets.partitions import sources_partitions
from geo_assets.assets.repair import SAMPLE, compare_headers
from geo_assets.catalogue.census import CensusReport, Kind
from geo_assets.resources.database import Database
from geo_assets.resources.sources_file import SourcesFile
from geo_assets.resources.stores import BlobStores

# Checks by partition are a preview in the pinned version of Dagster; its word about that is not for users.
warnings.filterwarnings("ignore", category=PreviewWarning, message="Specifying a partitions_def")

# check: (what fails it, what is shown beside it, description)
CHECKS: dict[str, tuple[Kind, tuple[Kind, ...], str]] = {
    "blobs_have_items": (
        "missing",
        ("pending",),
        "Every blob has its item (a vector file its tables too) or a recorded reason, or is pending.",
    ),
    "items_have_blobs": (
        "orphan",
        ("going", "held", "in_grace"),
        "Every item has its blob, except held deletions and those within their grace period.",
    ),
    "items_have_sources": ("former", (), "Every item of the source's collection belongs to a declared source."),
    "items_are_claimed": ("unclaimed", (), "Every item of the source's collection was made by a source."),
    "items_are_current": ("stale", (), "Every item describes the catalogued version of its blob."),
    "items_are_unique": ("duplicate", (), "No blob has two items, and no item id exists twice."),
}
AGREEMENT = "header_agreement"


class HeaderSample(Config):
    """How many blobs to open again."""

    blobs: int = Field(default=SAMPLE, ge=1, le=100_000, description="Number of random blobs to compare.")


def _census_of(asset: str, *, name: str) -> AssetChecksDefinition:
    """The checks of one asset that ask the database alone."""

    @multi_asset_check(
        name=name,
        specs=[
            AssetCheckSpec(check, asset=asset, description=description, partitions_def=sources_partitions)
            for check, (_, _, description) in CHECKS.items()
        ],
    )
    def checks(
        context: AssetCheckExecutionContext, sources_file: SourcesFile, database: Database
    ) -> Iterator[AssetCheckResult]:
        """Compare the source's blobs and items in the database; the blobs themselves are not asked."""
        with clear_failures():
            source = sources_file.get(context.partition_key)
            report = database.census.take(
                source.name, collection_id=source.collection.id, declared=list(sources_file.all())
            )
        for check, (wrong, shown, _) in CHECKS.items():
            yield _result(report, asset, check, wrong, shown)

    return checks


def _result(report: CensusReport, asset: str, check: str, wrong: Kind, shown: tuple[Kind, ...]) -> AssetCheckResult:
    counts = {str(kind): report.counts[kind] for kind in (wrong, *shown)}
    waiting = counts.get("pending", 0) + counts.get("going", 0)
    blobs: Any = report.unclaimed() if wrong == "unclaimed" else report.names(wrong, *shown)
    return AssetCheckResult(
        asset_key=asset,
        check_name=check,
        passed=not counts[wrong] and not waiting,
        severity=AssetCheckSeverity.ERROR if counts[wrong] else AssetCheckSeverity.WARN,
        metadata={"source": report.source, **counts, **({"for_example": MetadataValue.json(blobs)} if blobs else {})},
    )


def _agreement_of(asset: str, *, pool: str, description: str) -> AssetChecksDefinition:
    """The check of one asset that opens blobs again."""

    @asset_check(asset=asset, name=AGREEMENT, partitions_def=sources_partitions, pool=pool, description=description)
    def agreement(
        context: AssetCheckExecutionContext,
        config: HeaderSample,
        sources_file: SourcesFile,
        blob_stores: BlobStores,
        database: Database,
    ) -> AssetCheckResult:
        """Open a sample of the source's blobs again and compare them with what PgSTAC and PostGIS hold."""
        with clear_failures():
            source = sources_file.get(context.partition_key)
            headers = compare_headers(
                source,
                sample=config.blobs,
                blob_stores=blob_stores,
                database=database,
            )
        return AssetCheckResult(
            passed=not headers.disagreements,
            metadata={
                "source": source.name,
                "compared": headers.compared,
                "not_compared": headers.not_compared,
                "disagreements": MetadataValue.json({name: list(said) for name, said in headers.disagreements.items()}),
            },
        )

    return agreement


census_checks = _census_of("stac_items", name="census")
table_census_checks = _census_of("vector_tables", name="table_census")
header_agreement = _agreement_of(
    "stac_items",
    pool="storage",
    description="Random blobs say of CRS, shape, transform and footprint what their items say.",
)
table_agreement = _agreement_of(
    "vector_tables",
    pool="vectors",
    description="Random files have the rows, the extent and the columns that their tables and items have.",
)
