"""COGs in the ledger: which are to be made, were made, were refused, or have to go, and each file of theirs.

Here: the tables ledger.cog and ledger.silver_file. Not here: making them (`cogs.writer`), their files themselves
(`silver_store`), and what an item says of one (`geo_assets.stac.remarks`).
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb
from pydantic import TypeAdapter

from geo_assets.errors import CogNameTaken, GeoAssetsError
from geo_assets.ledger.database import Connection, Connections, read_sql
from geo_assets.models import BlobRef, Failure, RasterMetadata, SilverFile, Version
from geo_assets.postgres.locks import Lock, release, take, try_to_take
from geo_assets.sources.source import Source

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
    """A COG that nothing speaks for any more; one that could not be made is forgotten likewise."""

    name: str
    is_made: bool


@dataclass(slots=True)
class Sweep:
    """The result for the files that no COG has: removed, or left, with the reason by place."""

    removed: list[SilverFile] = field(default_factory=list)
    left: dict[str, GeoAssetsError] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StandingCog:
    """The current state of a raster's COG: ``href`` and what is said of it, or why there is none."""

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
    error_remedy: str | None
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


@dataclass(frozen=True, slots=True)
class CogLedger:
    """The COGs of the catalogue's rasters."""

    connections: Connections

    def to_make(self, source: Source, *, most: int) -> list[RasterToDo]:
        """Up to ``most`` rasters that await their COG: those first that were tried the least."""
        rows = self.connections.rows("select_cogs_to_make", source=source.name, rule_digest=_digest(source), most=most)
        return [RasterToDo(**row) for row in rows] if source.cogs else []

    def raster(self, source: str, name: str, etag: str) -> tuple[BlobRef, RasterMetadata] | None:
        """The blob and its metadata; None where this is not its present version any more."""
        for row in self.connections.rows("select_raster_of_cog", source=source, name=name, etag=etag):
            metadata = row.pop("metadata")
            return BlobRef(**row), _METADATA.validate_json(metadata)
        return None

    @contextmanager
    def publishing(
        self, source: Source, blob: BlobRef, *, place: str, names_in_place: Sequence[str], run_id: str | None
    ) -> Iterator[None]:
        """Let the ledger know the files that the block is to publish and record; until it ends, no sweep removes them.

        Raises CogNameTaken where one of them is of another raster.
        """
        files = {"place": place, "names_in_place": list(names_in_place)}
        bound = {**files, "source": source.name, "name": blob.name, "run_id": run_id}
        with self.connections.connect() as connection:  # whose end unlocks
            for name in sorted(names_in_place):
                take(connection, Lock.SILVER_FILE, place, name)
            with connection.transaction():
                announced = connection.execute(read_sql("announce_files"), bound).fetchall()
                if len(announced) < len(names_in_place):
                    raise _taken(connection, bound)
                connection.execute(read_sql("doubt_cog"), bound)
            yield

    def record(self, source: Source, blob: BlobRef, cog: PublishedCog, *, run_id: str | None) -> None:
        """Record the COG of this version, and make the item pending, in one transaction."""
        with self.connections.borrow() as connection, connection.transaction():
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

    def record_failure(self, source: Source, blob: Version, error: GeoAssetsError, *, run_id: str | None) -> None:
        """Record why this version has no COG; for good, then that of an earlier version is none any more either."""
        failure = {**asdict(Failure.of(blob, error)), "rule_digest": _digest(source), "run_id": run_id}
        with self.connections.borrow() as connection, connection.transaction():
            connection.execute(read_sql("record_cog_failure"), {"source": source.name, **failure})
            connection.execute(read_sql("unmake_cog"), {"source": source.name, "name": blob.name})

    def to_remove(self, source: Source) -> list[CogToRemove]:
        """The COGs whose raster is gone, or all of them where the source makes none."""
        rows = self.connections.rows("select_cogs_to_remove", source=source.name, is_ruled=source.cogs is not None)
        return [CogToRemove(**row) for row in rows]

    def forget(self, source: str, name: str, *, keep_files: bool) -> None:
        """Forget the COG of a blob, and make its item pending; files that are not kept are orphans then."""
        with self.connections.borrow() as connection, connection.transaction():
            if keep_files:
                connection.execute(read_sql("keep_files"), {"source": source, "name": name})
            connection.execute(read_sql("delete_cog"), {"source": source, "name": name})
            connection.execute(read_sql("reopen_for_cogs"), {"source": source, "names": [name]})

    def files(self, source: str) -> list[SilverFile]:
        """All files that the ledger knows of ``source``."""
        return [SilverFile(**row) for row in self.connections.rows("select_silver_files", source=source)]

    def orphans(self, source: str | None = None) -> list[SilverFile]:
        """The files of ``source``, or of all that ever was one, that no COG has: left by a run that died, or replaced.

        A file that is being published right now is among them.
        """
        return [SilverFile(**row) for row in self.connections.rows("select_orphaned_files", source=source)]

    def orphan_counts(self) -> dict[str, int]:
        """How many orphans each source has, of those that have any."""
        return {row["source"]: row["files"] for row in self.connections.rows("count_orphaned_files")}

    def sweep(self, remove: Callable[[SilverFile], None], *, source: str | None = None) -> Sweep:
        """Have ``remove`` remove each orphan, and forget it; a file that is being published is left alone.

        Where ``remove`` raises an error of ours, all else of that place is left to the next sweep.
        """
        done = Sweep()
        with self.connections.connect() as connection:
            for file in self.orphans(source):
                if file.place not in done.left and self._removed(connection, file, remove, done.left):
                    done.removed.append(file)
        return done

    @staticmethod
    def _removed(
        connection: Connection,
        file: SilverFile,
        remove: Callable[[SilverFile], None],
        left: dict[str, GeoAssetsError],
    ) -> bool:
        bound = {"place": file.place, "name_in_place": file.name_in_place}
        with _file_lock(connection, file) as is_free:
            if not is_free or connection.execute(read_sql("is_orphaned"), bound).fetchone() is None:
                return False
            try:
                remove(file)
            except GeoAssetsError as error:
                left[file.place] = error
                return False
            connection.execute(read_sql("delete_silver_file"), bound)
            return True

    def standing(self, source: str, *, most: int = _EVERY) -> list[StandingCog]:
        """The COGs of ``source`` and what was refused one, the latest first."""
        rows = self.connections.rows("select_cogs", source=source, most=most)
        return [StandingCog(**{**row, "facts": json.loads(row["facts"] or "null")}) for row in rows]

    def counts(self, source: Source) -> CogCounts:
        """How the source's described rasters stand by its present rule."""
        return CogCounts(**self.connections.row("count_cogs", source=source.name, rule_digest=_digest(source)))


def _digest(source: Source) -> str:
    return source.cogs.digest if source.cogs else ""


@contextmanager
def _file_lock(connection: Connection, file: SilverFile) -> Iterator[bool]:
    """Whether no process publishes the file; until the block ends none does."""
    is_free = try_to_take(connection, Lock.SILVER_FILE, file.place, file.name_in_place)
    try:
        yield is_free
    finally:
        if is_free:
            release(connection, Lock.SILVER_FILE, file.place, file.name_in_place)


def _taken(connection: Connection, bound: dict[str, Any]) -> CogNameTaken:
    owner = connection.execute(read_sql("select_file_owner"), bound).fetchone()
    said = f"{owner['name_in_place']} is of {owner['name']} of source {owner['source']}" if owner else "it is taken"
    return CogNameTaken(f"The COG of {bound['name']} would overwrite another raster's: {said}.")
