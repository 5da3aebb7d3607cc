"""Finding what disagrees between a source's blobs and its items, headers too, and putting it back to work.

Here: what the job `reconcile` and `geo-assets repair` share. Not here: SQL (`geo_assets.resources.census`), comparing a
header with an item (`geo_assets.core.agreement`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from geo_assets.core.agreement import header_disagreements
from geo_assets.core.formats.zarr_store import asset_name
from geo_assets.errors import BlobChanged, BlobMissing, GeoAssetsError, TransientError
from geo_assets.resources.blob_stores import BlobStores
from geo_assets.resources.census import Census, CensusReport
from geo_assets.resources.raster_reader import read_headers
from geo_assets.settings import Settings
from geo_assets.sources import Source

REPAIR_TAG = "geo_assets/repair"
"""A tag of a run that repairs after its listing; `dagster job execute` would not give a partitioned job its config."""
SAMPLE = 20
"""Blobs whose headers are read again, where nobody says how many."""
# All of a source's findings are mended; so many of each kind fit into memory whatever happened.
MOST_MENDED = 1_000_000


@dataclass(frozen=True, slots=True)
class HeaderCensus:
    """What reading headers again showed: blobs compared, those that changed meanwhile, and what disagrees by blob."""

    compared: int
    not_compared: int
    disagreements: Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class Repair:
    """What was found in a source and what was done about it, in blobs and items."""

    found: CensusReport
    headers: HeaderCensus
    mended: Mapping[str, int]


def compare_headers(source: Source, *, sample: int, blob_stores: BlobStores, census: Census) -> HeaderCensus:
    """Read the headers of up to ``sample`` catalogued blobs again and compare them with their items.

    A blob that changed, went, or could not be fetched meanwhile says nothing about its item.
    """
    drawn = {each.blob.name: each for each in census.sample(source.name, most=sample)}
    compared, found = 0, {}
    header_only = source.model_copy(update={"statistics": False})
    with blob_stores.open(source) as store:
        for reading in read_headers(header_only, [each.blob for each in drawn.values()], settings=Settings()):
            name, result = reading.blob.name, reading.result
            if isinstance(result, BlobChanged | BlobMissing | TransientError):
                continue
            compared += 1
            if isinstance(result, GeoAssetsError):
                found[name] = [f"the header cannot be read: {result}"]
            elif said := header_disagreements(
                drawn[name].item, result, href=store.href(asset_name(name)), member=drawn[name].member
            ):
                found[name] = said
    return HeaderCensus(compared=compared, not_compared=len(drawn) - compared, disagreements=found)


def repair_source(
    source: Source, *, blob_stores: BlobStores, census: Census, sample: int = SAMPLE, consent: bool = False
) -> Repair:
    """Find what disagrees and put it right in ledger and catalogue; the next ingest_rasters does what is then left.

    Raises DeletionsHeld where many items that nobody owns would go without ``consent``, and what the store raises.
    """
    found = census.take(source.name, collection_id=source.collection.id, most=MOST_MENDED)
    headers = compare_headers(source, sample=sample, blob_stores=blob_stores, census=census)
    mended = census.mend(source, found, misread=headers.disagreements, consent=consent)
    return Repair(found, headers, mended)
