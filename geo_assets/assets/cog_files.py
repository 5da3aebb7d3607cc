"""The files in output locations against what the ledger knows of them: those of COGs, and orphans.

Here: the check of the asset cogs, and what it shares with `geo-assets cogs`. Not here: the side of the ledger
(`ledger.cogs`), the sweep of what the ledger knows (`CogLedger.sweep`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from dagster import AssetCheckExecutionContext, AssetCheckResult, AssetCheckSeverity, asset_check

from geo_assets.assets.cog_report import orphans_metadata, published_metadata
from geo_assets.assets.failing import clear_failures
from geo_assets.assets.partitions import sources_partitions
from geo_assets.cogs.plan import files_start, may_be_of_cog
from geo_assets.models import BlobRef, SilverFile
from geo_assets.resources.database import Database
from geo_assets.resources.silver import SilverStore
from geo_assets.resources.sources_file import SourcesFile

UNRECORDED_STAYS = timedelta(days=1)
"""How old a file must be that the ledger does not know before it is removed, on request: a release from before the
ledger knew files may still be publishing."""


@dataclass(frozen=True, slots=True)
class FilesOfSource:
    """The files of a source in its output locations.

    ``found`` are those that are there, by place and name. ``orphans`` are in the ledger and no COG has them;
    ``unrecorded`` may be of COGs by their names, and the ledger does not know them.
    """

    found: Mapping[tuple[str, str], BlobRef]
    orphans: list[SilverFile]
    unrecorded: list[SilverFile]


def look_at_files(
    source: str, *, places: Iterable[str], database: Database, silver_store: SilverStore
) -> FilesOfSource:
    """List the files of ``source`` in these places and in all that the ledger knows of. Raises what listing raises."""
    recorded = {(file.place, file.name_in_place) for file in database.cogs.files(source)}
    found = {
        (place, blob.name): blob
        for place in {*places, *(place for place, _ in recorded)}
        for blob in silver_store.at(place).files(files_start(source))
    }
    unrecorded = [
        SilverFile(place, name, source, name, kept=False, announced_at=blob.last_modified)
        for (place, name), blob in found.items()
        if (place, name) not in recorded and may_be_of_cog(name)
    ]
    return FilesOfSource(found, database.cogs.orphans(source), unrecorded)


def remove_unrecorded(files: FilesOfSource, *, silver_store: SilverStore) -> list[SilverFile]:
    """Remove files that the ledger does not know and that are older than `UNRECORDED_STAYS`; those removed."""
    before = datetime.now(UTC) - UNRECORDED_STAYS
    old = [file for file in files.unrecorded if file.announced_at < before]
    for file in old:
        silver_store.remove(file)
    return old


@asset_check(
    asset="cogs",
    partitions_def=sources_partitions,
    description="Every recorded COG exists, has its recorded size and passed validation; no other file is there.",
)
def cogs_are_there(
    context: AssetCheckExecutionContext, sources_file: SourcesFile, database: Database, silver_store: SilverStore
) -> AssetCheckResult:
    """List the source's files; a row a COG, and the files that no COG has."""
    with clear_failures():
        source = sources_file.get(context.partition_key)
        standing = [cog for cog in database.cogs.standing(source.name) if cog.name_in_place]
        places = [silver_store.at(source.cogs.url).place] if source.cogs else []
        files = look_at_files(source.name, places=places, database=database, silver_store=silver_store)
    rows, wrong = published_metadata(standing, files.found)
    without_cog = [*files.orphans, *files.unrecorded]
    return AssetCheckResult(
        passed=not wrong and not without_cog,
        severity=AssetCheckSeverity.ERROR if wrong else AssetCheckSeverity.WARN,
        metadata={
            "source": source.name,
            "cogs": len(standing),
            "wrong": wrong,
            **rows,
            **orphans_metadata(files.orphans, files.unrecorded),
        },
    )
