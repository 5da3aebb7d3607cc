"""The census as asset checks of stac_items: whether blobs and items of a source agree, both ways.

Here: what Dagster shows. Not here: comparing (`geo_assets.resources.census`, `geo_assets.assets.repair`).
"""

import warnings
from collections.abc import Iterator
from typing import Any

from dagster import (
    AssetCheckExecutionContext,
    AssetCheckResult,
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
from geo_assets.resources.blob_stores import BlobStores
from geo_assets.resources.census import Census, CensusReport, Kind
from geo_assets.resources.sources_file import SourcesFile

# Checks by partition are a preview in the pinned version of Dagster; its word about that is not for users.
warnings.filterwarnings("ignore", category=PreviewWarning, message="Specifying a partitions_def")

# check: (what fails it, what is shown beside it, description)
CHECKS: dict[str, tuple[Kind, tuple[Kind, ...], str]] = {
    "blobs_have_items": ("missing", ("pending",), "Every blob has its item, a recorded reason, or its turn."),
    "items_have_blobs": (
        "orphan",
        ("going", "held", "in_grace"),
        "Every item has its blob, but those that await consent or the end of their grace.",
    ),
    "items_are_claimed": ("unclaimed", (), "Every item of the source's collection was made by a source."),
    "items_are_current": ("stale", (), "Every item is of the version of its blob that was catalogued."),
    "items_are_unique": ("duplicate", (), "No blob has two items, and no item id is there twice."),
}


class HeaderSample(Config):
    """How many blobs to open again."""

    blobs: int = Field(default=SAMPLE, ge=1, le=100_000, description="Number of blobs, drawn at random.")


@multi_asset_check(
    name="census",
    specs=[
        AssetCheckSpec(name, asset="stac_items", description=description, partitions_def=sources_partitions)
        for name, (_, _, description) in CHECKS.items()
    ],
)
def census_checks(
    context: AssetCheckExecutionContext, sources_file: SourcesFile, census: Census
) -> Iterator[AssetCheckResult]:
    """Compare the source's blobs and items in the database; the blobs themselves are not asked."""
    with clear_failures():
        source = sources_file.get(context.partition_key)
        report = census.take(source.name, collection_id=source.collection.id)
    for name, (wrong, shown, _) in CHECKS.items():
        yield _result(report, name, wrong, shown)


def _result(report: CensusReport, check: str, wrong: Kind, shown: tuple[Kind, ...]) -> AssetCheckResult:
    counts = {str(kind): report.counts[kind] for kind in (wrong, *shown)}
    waiting = counts.get("pending", 0) + counts.get("going", 0)
    blobs: Any = report.unclaimed() if wrong == "unclaimed" else report.names(wrong, *shown)
    return AssetCheckResult(
        asset_key="stac_items",
        check_name=check,
        passed=not counts[wrong] and not waiting,
        severity=AssetCheckSeverity.ERROR if counts[wrong] else AssetCheckSeverity.WARN,
        metadata={"source": report.source, **counts, **({"for_example": MetadataValue.json(blobs)} if blobs else {})},
    )


@asset_check(
    asset="stac_items",
    partitions_def=sources_partitions,
    pool="storage",
    description="Blobs drawn at random say of CRS, shape, transform and footprint what their items say.",
)
def header_agreement(
    context: AssetCheckExecutionContext,
    config: HeaderSample,
    sources_file: SourcesFile,
    blob_stores: BlobStores,
    census: Census,
) -> AssetCheckResult:
    """Open a sample of the source's blobs again and compare their headers with what PgSTAC holds."""
    with clear_failures():
        source = sources_file.get(context.partition_key)
        headers = compare_headers(source, sample=config.blobs, blob_stores=blob_stores, census=census)
    return AssetCheckResult(
        passed=not headers.disagreements,
        metadata={
            "source": source.name,
            "compared": headers.compared,
            "not_compared": headers.not_compared,
            "disagreements": MetadataValue.json({name: list(said) for name, said in headers.disagreements.items()}),
        },
    )
