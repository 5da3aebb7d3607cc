"""Whether a source's blobs, items and tables agree, their contents too, and putting back to work what does not.

Here: the asset checks of stac_items and vector_tables; which blobs are opened again, and how each kind is; what the job
`reconcile` and `geo-assets repair` share. Not here: SQL (`geo_assets.catalogue.census`), what a disagreement is
(`geo_assets.stac.agreement`).
"""

import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from dagster import (
    AssetCheckExecutionContext,
    AssetCheckResult,
    AssetChecksDefinition,
    AssetCheckSeverity,
    AssetCheckSpec,
    Config,
    DagsterRun,
    MetadataValue,
    PreviewWarning,
    asset_check,
    multi_asset_check,
)
from pydantic import Field

from geo_assets.assets.ops import clear_failures, sources_partitions
from geo_assets.catalogue.census import CensusReport, Kind, Sample
from geo_assets.errors import (
    BlobChanged,
    BlobMissing,
    GeoAssetsError,
    InvalidConfiguration,
    PermanentError,
    ScratchFull,
    StorageUnavailable,
    Unforeseen,
)
from geo_assets.raster.reader import read_headers
from geo_assets.resources.database import Database
from geo_assets.resources.sources_file import SourcesFile
from geo_assets.resources.stores import BlobStores
from geo_assets.settings import Settings
from geo_assets.sources.source import Source
from geo_assets.stac.agreement import header_disagreements, member_disagreements, table_disagreements
from geo_assets.stac.table_item import build_table_items
from geo_assets.storage.blob_store import BlobStore
from geo_assets.storage.related_blobs import asset_name

REPAIR_TAG = "geo_assets/repair"
"""A tag of a run that repairs after its listing; `dagster job execute` would not give a partitioned job its config."""
SAMPLE = 20
"""Number of blobs that are opened again by default."""
MOST_VECTOR_BYTES = 1024**3
"""Of the vector files that are compared at once, which are read whole; the first that is drawn is so in any case."""
# All of a source's findings are mended; so many of each kind fit into memory whatever happened.
MOST_MENDED = 1_000_000


@dataclass(frozen=True, slots=True)
class HeaderCensus:
    """What opening blobs again showed: how many were compared, how many were not, and what disagrees by blob.

    ``not_mended`` are blobs that disagree, and that processing again would not put right.
    """

    compared: int
    not_compared: int
    disagreements: Mapping[str, Sequence[str]]
    not_mended: frozenset[str] = frozenset()

    def __add__(self, other: "HeaderCensus") -> "HeaderCensus":
        return HeaderCensus(
            compared=self.compared + other.compared,
            not_compared=self.not_compared + other.not_compared,
            disagreements={**self.disagreements, **other.disagreements},
            not_mended=self.not_mended | other.not_mended,
        )


@dataclass(frozen=True, slots=True)
class Repair:
    """What was found in a source and what was done about it, in blobs and items."""

    found: CensusReport
    headers: HeaderCensus
    mended: Mapping[str, int]


def repairs(run: DagsterRun) -> bool:
    """Whether it is a run of the job `reconcile`, in which a stage that is not for a source like it does nothing."""
    return run.tags.get(REPAIR_TAG) == "true"


def compare_headers(
    source: Source,
    *,
    sample: int,
    blob_stores: BlobStores,
    database: Database,
    but: Collection[str] = (),
) -> HeaderCensus:
    """Open up to ``sample`` catalogued blobs, ``but`` these, again and compare them with their items and tables.

    A blob that changed, went, or could not be fetched meanwhile says nothing about its item; nor does a vector file
    that is more than may be read at once.
    """
    drawn = database.census.sample(source, most=sample, but=but)
    with blob_stores.open(source) as store:
        if source.tables is not None:
            agreements = list(
                _compare_tables(source, drawn, store=store, database=database, settings=blob_stores.settings)
            )
        else:
            agreements = list(_compare_rasters(source, drawn, store=store, blob_stores=blob_stores))
    return HeaderCensus(
        compared=len(agreements),
        not_compared=len(drawn) - len(agreements),
        disagreements={each.name: each.said for each in agreements if each.said},
        not_mended=frozenset(each.name for each in agreements if not each.can_be_mended),
    )


@dataclass(frozen=True, slots=True)
class _Agreement:
    """The result of comparing one blob: what disagrees, and whether processing it again puts that right."""

    name: str
    said: Sequence[str]
    can_be_mended: bool = True


def _compare_rasters(
    source: Source, drawn: Sequence[Sample], *, store: BlobStore, blob_stores: BlobStores
) -> Iterator[_Agreement]:
    """The blobs that could be compared with their items, and what disagrees; also scene members without an item."""
    rasters = {each.blob.name: each for each in drawn if each.kind == "raster"}
    header_only = source.model_copy(update={"statistics": False})
    for each in drawn:
        if each.kind != "raster":
            said = member_disagreements(each.items[0], each.blob, href=store.href(each.blob.name))
            yield _Agreement(each.blob.name, said)
    access, settings = partial(blob_stores.access, source), blob_stores.settings
    blobs = [each.blob for each in rasters.values()]
    for reading in read_headers(header_only, blobs, access=access, settings=settings):
        name, result = reading.blob.name, reading.result
        if isinstance(result, BlobChanged | BlobMissing | StorageUnavailable):
            continue
        if isinstance(result, GeoAssetsError):
            yield _Agreement(name, [f"the header cannot be read: {result}"])
            continue
        (item,), member = rasters[name].items, rasters[name].member
        yield _Agreement(name, header_disagreements(item, result, href=store.href(asset_name(name)), member=member))


def _compare_tables(
    source: Source, drawn: Sequence[Sample], *, store: BlobStore, database: Database, settings: Settings
) -> Iterator[_Agreement]:
    """The vector files that could be compared with their tables and items, and what disagrees."""
    size_bytes = 0
    for number, each in enumerate(drawn):
        size_bytes += each.blob.size_bytes
        if number and size_bytes > MOST_VECTOR_BYTES:
            return
        try:
            tables = database.tables.compare(source, each.blob, store=store, settings=settings)
            described = [table.described for table in tables]
            href = store.href(each.blob.name)
            expected = build_table_items(source=source, blob=each.blob, tables=described, href=href)
        except (BlobChanged, BlobMissing, ScratchFull):
            continue
        except InvalidConfiguration:  # such as a login that may make no temporary table: no file is at fault
            raise
        except (PermanentError, Unforeseen) as error:
            yield _Agreement(each.blob.name, [f"the file cannot be loaded: {error.code}: {error.message}"])
        else:
            said = table_disagreements(each.items, list(zip(tables, expected, strict=True)))
            yield _Agreement(each.blob.name, said, not any(table.is_misshapen for table in tables))


def repair_source(
    source: Source,
    *,
    blob_stores: BlobStores,
    database: Database,
    declared: Collection[str] | None = None,
    sample: int = SAMPLE,
    consent: bool = False,
) -> Repair:
    """Find what disagrees and put it right in ledger and catalogue; the next ingest_rasters does what is then left.

    ``declared`` are the names of the sources there are. Where a blob of a sample disagrees, another sample is drawn,
    until none of one does. Raises DeletionsHeld if many orphaned items would be removed and ``consent`` is not set, and
    what the store raises.
    """
    found = database.census.take(source.name, collection_id=source.collection.id, declared=declared, most=MOST_MENDED)
    headers, clean = HeaderCensus(compared=0, not_compared=0, disagreements={}), False
    while not clean:
        drawn = compare_headers(
            source,
            sample=sample,
            blob_stores=blob_stores,
            database=database,
            but=headers.disagreements,
        )
        headers, clean = headers + drawn, not drawn.disagreements
    misread = headers.disagreements.keys() - headers.not_mended
    mended = database.census.mend(source, found, misread=misread, consent=consent)
    return Repair(found, headers, mended)


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
