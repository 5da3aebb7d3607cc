"""COGs in the ledger: which are to be made, were made, were refused, or have to go.

Here: the table ledger.cog. Not here: making them (`cog_writer`), and what an item says of one
(`geo_assets.core.cog.item_assets`).
"""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb
from pydantic import TypeAdapter

from geo_assets.errors import GeoAssetsError, PermanentError
from geo_assets.models import BlobRef, RasterMetadata
from geo_assets.resources.database import DatabaseResource
from geo_assets.resources.statements import read_sql
from geo_assets.sources import Source

_METADATA = TypeAdapter(RasterMetadata)
_EVERY = 2**31 - 1


@dataclass(frozen=True, slots=True)
class RasterToDo:
    """A version of a raster that awaits its COG."""

    name: str
    etag: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class PublishedCog:
    """Where a COG lies and what is said of it; of a linked one only ``href``, which is its raster's."""

    href: str
    is_linked: bool
    facts: dict[str, Any]
    place: str | None = None
    name_in_place: str | None = None
    thumbnail_name: str | None = None
    thumbnail_href: str | None = None
    size_bytes: int | None = None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class CogToRemove:
    """A COG that nothing speaks for any more."""

    name: str
    place: str | None
    name_in_place: str | None
    thumbnail_name: str | None
    is_linked: bool
    is_made: bool


@dataclass(frozen=True, slots=True)
class StandingCog:
    """What stands of a raster's COG: ``href`` and what is said of it, or why there is none."""

    name: str
    etag: str | None
    is_linked: bool
    place: str | None
    name_in_place: str | None
    href: str | None
    thumbnail_href: str | None
    size_bytes: int | None
    original_bytes: int | None
    facts: dict[str, Any] | None
    seconds: float | None
    made_at: datetime | None
    error_code: str | None
    error_message: str | None
    permanent: bool
    attempts: int


@dataclass(frozen=True, slots=True)
class CogCounts:
    """How the described rasters of a source stand, and the bytes of the COGs and of what they were made of."""

    made: int
    linked: int
    refused: int
    to_make: int
    size_bytes: int
    original_bytes: int


class CogLedger(DatabaseResource):
    """The COGs of the catalogue's rasters."""

    def to_make(self, source: Source, *, most: int) -> list[RasterToDo]:
        """Up to ``most`` rasters that await their COG: those first that were tried the least."""
        rows = self.rows("select_cogs_to_make", source=source.name, rule_digest=_digest(source), most=most)
        return [RasterToDo(**row) for row in rows] if source.cogs else []

    def raster(self, source: str, name: str, etag: str) -> tuple[BlobRef, RasterMetadata] | None:
        """The blob and its metadata; None where this is not its present version any more."""
        for row in self.rows("select_raster_of_cog", source=source, name=name, etag=etag):
            metadata = row.pop("metadata")
            return BlobRef(**row), _METADATA.validate_json(metadata)
        return None

    def record(self, source: Source, blob: BlobRef, cog: PublishedCog, *, run_id: str | None) -> None:
        """Record the COG of this version, and let the item await its turn, in one transaction."""
        with self.borrow() as connection, connection.transaction():
            connection.execute(
                read_sql("record_cog"),
                {
                    "source": source.name,
                    "name": blob.name,
                    "etag": blob.etag,
                    "rule_digest": _digest(source),
                    "is_linked": cog.is_linked,
                    "place": cog.place,
                    "name_in_place": cog.name_in_place,
                    "href": cog.href,
                    "thumbnail_name": cog.thumbnail_name,
                    "thumbnail_href": cog.thumbnail_href,
                    "size_bytes": cog.size_bytes,
                    "original_bytes": blob.size_bytes,
                    "facts": Jsonb(cog.facts),
                    "seconds": cog.seconds,
                    "run_id": run_id,
                },
            )
            connection.execute(read_sql("reopen_for_cogs"), {"source": source.name, "names": [blob.name]})

    def record_failure(self, source: Source, blob: BlobRef, error: GeoAssetsError, *, run_id: str | None) -> None:
        """Record why this version has no COG."""
        with self.borrow() as connection:
            connection.execute(
                read_sql("record_cog_failure"),
                {
                    "source": source.name,
                    "name": blob.name,
                    "etag": blob.etag,
                    "rule_digest": _digest(source),
                    "code": error.code,
                    "message": f"{error.message} {error.remedy}".strip(),
                    "permanent": isinstance(error, PermanentError),
                    "run_id": run_id,
                },
            )

    def to_remove(self, source: Source) -> list[CogToRemove]:
        """The COGs whose raster is gone, or all of them where the source makes none."""
        rows = self.rows("select_cogs_to_remove", source=source.name, is_ruled=source.cogs is not None)
        return [CogToRemove(**row) for row in rows]

    def forget(self, source: str, name: str) -> None:
        """Forget the COG of a blob, and let its item await its turn."""
        with self.borrow() as connection, connection.transaction():
            connection.execute(read_sql("delete_cog"), {"source": source, "name": name})
            connection.execute(read_sql("reopen_for_cogs"), {"source": source, "names": [name]})

    def standing(self, source: str, *, most: int = _EVERY) -> list[StandingCog]:
        """The COGs of ``source`` and what was refused one, the latest first."""
        rows = self.rows("select_cogs", source=source, most=most)
        return [StandingCog(**{**row, "facts": json.loads(row["facts"] or "null")}) for row in rows]

    def counts(self, source: Source) -> CogCounts:
        """How the source's described rasters stand by its present rule."""
        return CogCounts(**self.row("count_cogs", source=source.name, rule_digest=_digest(source)))


def _digest(source: Source) -> str:
    return source.cogs.digest if source.cogs else ""
